//! The index lags behind the table: nothing is lost or done twice by it, only later.

mod world;

use std::collections::HashMap;

use serde_json::Value;
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_dynamo::{DynamoApi, DynamoError, DynamoLedger};
use spawn_ports::ledger::{Commit, Ledger};
use world::Http;

/// Answers a search in the index with what was true when it was last searched so.
struct Lagging {
    api: Http,
    earlier: HashMap<String, Value>,
}

impl DynamoApi for Lagging {
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, DynamoError> {
        let mut search = body.clone();
        // However far it looks: what it found before.
        search["Limit"].take();
        search["ExpressionAttributeValues"][":last"].take();
        let searches = operation == "Query" && body.get("IndexName").is_some();
        let now = self.api.call(operation, body)?;
        if !searches {
            return Ok(now);
        }
        let nothing = serde_json::json!({ "Items": [] });
        let earlier = self.earlier.insert(search.to_string(), now);
        Ok(earlier.unwrap_or(nothing))
    }
}

#[test]
fn a_lagging_index_delays_and_loses_nothing() {
    const TASKS: u64 = 60;
    let table = world::new_table();
    let id = world::array_id(0);
    let mut now = UnixMicros(1_769_500_000_000_000);
    let ledger = || {
        let api = Lagging {
            api: Http::new(),
            earlier: HashMap::new(),
        };
        DynamoLedger::new(api, world::options(&table))
    };
    let mut ledgers = [ledger(), ledger(), ledger()];
    ledgers[0]
        .submit(&world::new_array(id.clone(), TASKS), now)
        .unwrap();
    let mut agents: Vec<_> = ledgers
        .iter_mut()
        .map(|ledger| ledger.enroll(&world::new_agent(&id), now).unwrap())
        .collect();
    let mut well = 0;
    for round in 0_u64.. {
        let n = round as usize % 3;
        now = now.plus_millis(20_000);
        let claim = ledgers[n].claim(agents[n], 4, now).unwrap();
        if claim.unfinished == 0 {
            break;
        }
        assert!(round < 2_000, "it comes to its end: {claim:?}");
        if round % 11 == 10 {
            // Found by its own item, not by the index.
            let lost = ledgers[(n + 1) % 3].end_agent(agents[n], now).unwrap();
            assert_eq!(lost.len(), claim.tasks.len());
            agents[n] = ledgers[n].enroll(&world::new_agent(&id), now).unwrap();
            continue;
        }
        let outcome = |task: &spawn_ports::ledger::ClaimedTask| {
            let again = round < 60 && (task.position + round).is_multiple_of(3);
            let cause = if again {
                Cause::Interrupted
            } else {
                Cause::Succeeded
            };
            world::outcome(task.position, claim.token, cause, now)
        };
        let outcomes: Vec<Commit> = claim.tasks.iter().map(outcome).collect();
        let answers = ledgers[n].commit(agents[n], &outcomes, now).unwrap();
        assert!(answers.iter().all(Result::is_ok));
        let causes = outcomes.iter().map(|o| o.report.ending.cause);
        well += causes.filter(|cause| *cause == Cause::Succeeded).count() as u64;
    }
    let record = ledgers[0].array(&id).unwrap().unwrap();
    let failed = record.counts.failed;
    assert_eq!(record.counts.succeeded + failed, TASKS);
    assert_eq!(record.counts.succeeded, well);
    assert!(record.ended_at.is_some());
}
