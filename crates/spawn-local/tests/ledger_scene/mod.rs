//! Arrays, agents and outcomes for tests of the ledger's file.

use spawn_core::array_id::ArrayId;
use spawn_core::budgets::Budgets;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::{Cause, Report};
use spawn_core::task::Token;
use spawn_local::ledger::SqliteLedger;
use spawn_ports::ledger::{AgentId, Commit, Ledger, LogSpan, NewAgent, NewArray};

pub fn array_id(n: u8) -> ArrayId {
    ArrayId::new(2026, 1, 27, [n; 6]).expect("a day")
}

pub fn new_array(n: u8, total: u64) -> NewArray {
    NewArray {
        id: array_id(n),
        name: "genome".to_owned(),
        spec: r#"{"command":["./align.sh"]}"#.to_owned(),
        total,
        budgets: Budgets::default(),
        deadline: UnixMicros(1_769_600_000_000_000),
        lanes: Vec::new(),
    }
}

pub fn submit(ledger: &mut SqliteLedger, n: u8, total: u64) {
    let submitted = ledger.submit(&new_array(n, total), UnixMicros(1_769_400_000_000_000));
    submitted.expect("a new array");
}

pub fn enroll(ledger: &mut SqliteLedger, n: u8) -> AgentId {
    enroll_in(ledger, &array_id(n), 0)
}

pub fn enroll_in(ledger: &mut SqliteLedger, array: &ArrayId, lane: u32) -> AgentId {
    let agent = NewAgent {
        array: array.clone(),
        slot: 0,
        lane,
        pid: 4_242,
        pid_started: 81_516,
        boot: "6c3f0d8e-7a3c-4f5b-9d56-0c9a4b1f2e77".to_owned(),
        hostname: "worker-0".to_owned(),
    };
    let enrolled = ledger.enroll(&agent, UnixMicros(1_769_400_000_000_001));
    enrolled.expect("a new agent")
}

pub fn outcome(position: u64, token: Token, cause: Cause) -> Commit {
    Commit {
        position,
        token,
        report: Report::of(cause),
        started_at: UnixMicros(1_769_450_000_000_000),
        ended_at: UnixMicros(1_769_450_000_000_500),
        log: LogSpan {
            offset: position * 64,
            len: 64,
        },
        usage: None,
        failed_calls: Vec::new(),
    }
}
