//! What is written down can be read again.

use spawn_core::counts::Counts;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::Usage;
use spawn_core::outcome::{Cause, Ending, Report};
use spawn_core::task::{Intent, TaskState, Token};
use spawn_ports::ledger::{
    AgentId, AgentRecord, ArrayRecord, Commit, LaneCounts, LedgerError, LogSpan, Reopen, TaskQuery,
    TaskRow,
};

use super::Fresh;
use super::scene::{NONE, START, Scene, array_id, failed_calls, new_agent, new_array, outcome};

/// A submitted array reads back as submitted, with every task pending and untouched.
pub fn a_new_array_has_all_its_tasks_pending(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let expected = ArrayRecord {
        submitted: new_array(0, 3),
        created_at: UnixMicros(START + 1),
        started_at: None,
        ended_at: None,
        intent: Intent::Run,
        counts: Counts::untouched(3),
        interrupted: 0,
        workers_lost: 0,
        lanes: vec![LaneCounts {
            pending: 3,
            running: 0,
        }],
    };
    assert_eq!(scene.record(), expected);
    let untouched = TaskRow {
        position: 2,
        state: TaskState::Pending,
        attempt: 0,
        token: Token(0),
        agent: None,
        started_at: None,
        ended_at: None,
        not_before: UnixMicros(0),
        spent: Default::default(),
        ending: None,
        log: None,
        usage: None,
        failed_calls: Vec::new(),
    };
    assert_eq!(scene.task(2), untouched);
    assert_eq!(scene.ledger.task(&array_id(0), 3).unwrap(), None);
    assert_eq!(scene.ledger.task(&array_id(0), u64::MAX).unwrap(), None);
    assert!(scene.ledger.attempts(&array_id(0), 2).unwrap().is_empty());
}

/// The second array of an id is refused and changes nothing.
pub fn an_array_id_is_taken_once(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 3);
    let now = scene.tick();
    let again = scene.ledger.submit(&new_array(0, 5), now);
    assert!(matches!(again, Err(LedgerError::Duplicate(id)) if id == array_id(0)));
    assert_eq!(scene.record().submitted.total, 3);
}

/// An array has at least one task.
pub fn an_array_without_tasks_is_refused(fresh: Fresh<'_>) {
    let mut ledger = fresh();
    let refused = ledger.submit(&new_array(0, 0), UnixMicros(START));
    assert!(matches!(refused, Err(LedgerError::Storage { .. })));
    assert_eq!(ledger.array(&array_id(0)).unwrap(), None);
}

/// Arrays and agents that are not there are errors that name them.
pub fn names_that_are_not_there_are_told(fresh: Fresh<'_>) {
    let mut ledger = fresh();
    let now = UnixMicros(START);
    let nobody = AgentId(77);
    let id = array_id(9);
    let query = TaskQuery {
        from: 0,
        limit: 1,
        state: None,
    };
    assert_eq!(ledger.array(&id).unwrap(), None);
    assert_eq!(ledger.agent(nobody).unwrap(), None);
    assert_eq!(ledger.agent(AgentId(u64::MAX)).unwrap(), None);
    let of_array = [
        ledger.enroll(&new_agent(id.clone(), 0), now).err(),
        ledger.agents(&id, 1).err(),
        ledger.close(&id, Intent::Cancel, now).err(),
        ledger.task(&id, 0).err(),
        ledger.tasks(&id, query).err(),
        ledger.attempts(&id, 0).err(),
        ledger.recent_failures(&id, 1).err(),
        ledger.doubtful_successes(&id, 1).err(),
        ledger.extend(&id, now).err(),
        ledger.reopen(&id, &Reopen::Failed, now, now).err(),
    ];
    for error in of_array {
        assert!(matches!(error, Some(LedgerError::UnknownArray(name)) if name == id));
    }
    let of_agent = [
        ledger.claim(nobody, 1, now).err(),
        ledger.commit(nobody, &[], now).err(),
        ledger.release(nobody, Token(1), &[0], now).err(),
        ledger.end_agent(nobody, now).err(),
    ];
    for error in of_agent {
        assert!(matches!(error, Some(LedgerError::UnknownAgent(name)) if name == nobody));
    }
}

/// The newest arrays come first; of the unfinished the oldest.
pub fn arrays_are_listed_by_age(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    for n in [5, 3, 4] {
        let now = scene.tick();
        scene.ledger.submit(&new_array(n, 1), now).unwrap();
    }
    let ids = |arrays: Vec<ArrayRecord>| -> Vec<_> {
        arrays.into_iter().map(|a| a.submitted.id).collect()
    };
    let newest = ids(scene.ledger.arrays(3).unwrap());
    assert_eq!(newest, [array_id(4), array_id(3), array_id(5)]);
    let agent = scene.agent();
    let token = scene.claim(agent, 1).token;
    let unfinished = ids(scene.ledger.unfinished().unwrap());
    assert_eq!(
        unfinished,
        [array_id(0), array_id(5), array_id(3), array_id(4)]
    );
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    let now = scene.tick();
    let cancelled = scene.ledger.close(&array_id(3), Intent::Cancel, now);
    assert_eq!(cancelled.unwrap().ended_at, Some(now));
    let unfinished = ids(scene.ledger.unfinished().unwrap());
    assert_eq!(unfinished, [array_id(5), array_id(4)]);
    assert_eq!(scene.ledger.arrays(100).unwrap().len(), 4);
}

/// An agent reads back as it enrolled, and every enrolment is another agent.
pub fn an_agent_is_recorded_as_it_enrolled(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 1);
    let mut said = new_agent(array_id(0), 3);
    said.pid_started = u64::MAX;
    said.pid = u32::MAX;
    let now = scene.tick();
    let first = scene.ledger.enroll(&said, now).unwrap();
    let second = scene.ledger.enroll(&said, now).unwrap();
    assert_ne!(first, second);
    let record = AgentRecord {
        id: first,
        enrolled: said,
        started_at: now,
        last_update: now,
        ended_at: None,
        tasks_done: 0,
    };
    assert_eq!(scene.ledger.agent(first).unwrap(), Some(record));
    let all = scene.ledger.agents(&array_id(0), 10).unwrap();
    assert_eq!(
        all.iter().map(|a| a.id).collect::<Vec<_>>(),
        [second, first]
    );
    assert_eq!(scene.ledger.agents(&array_id(0), 1).unwrap()[0].id, second);
    scene.end_agent(second);
    let live = scene.ledger.live_agents().unwrap();
    assert_eq!(live.iter().map(|a| a.id).collect::<Vec<_>>(), [first]);
    assert_eq!(scene.ledger.agents(&array_id(0), 10).unwrap().len(), 2);
}

/// Claims, commits and releases are signs of life; commits are counted. An end is no such sign.
pub fn an_agent_is_heard_when_it_claims_and_commits(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 4);
    let agent = scene.agent();
    let record = |scene: &mut Scene| scene.ledger.agent(agent).unwrap().unwrap();
    let token = scene.claim(agent, 3).token;
    assert_eq!(record(&mut scene).last_update, UnixMicros(scene.now));
    scene.commit(agent, 0, token, Cause::Succeeded).unwrap();
    scene.commit(agent, 1, token, Cause::Exit).unwrap();
    scene.commit(agent, 1, token, Cause::Exit).unwrap_err();
    let heard = record(&mut scene);
    assert_eq!(heard.last_update, UnixMicros(scene.now));
    assert_eq!(heard.tasks_done, 2);
    scene.release(agent, token, &[2])[0].unwrap();
    let heard = record(&mut scene);
    assert_eq!(
        (heard.last_update, heard.tasks_done),
        (UnixMicros(scene.now), 2)
    );
    scene.end_agent(agent);
    let ended_at = Some(UnixMicros(scene.now));
    let ended = record(&mut scene);
    assert_eq!(
        (ended.ended_at, ended.last_update),
        (ended_at, heard.last_update)
    );
    scene.commit(agent, 2, token, Cause::Exit).unwrap_err();
    scene.end_agent(agent);
    assert_eq!(record(&mut scene), ended);
}

/// Nothing of an outcome is dropped, cut or rounded.
pub fn every_field_of_an_outcome_is_kept(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, Cause::ALL.len() as u64);
    let agent = scene.agent();
    let token = scene.claim(agent, 100).token;
    for (position, cause) in Cause::ALL.into_iter().enumerate() {
        let commit = Commit {
            position: position as u64,
            token,
            report: Report {
                ending: Ending {
                    cause,
                    exit_code: (position % 2 == 0).then_some(i32::MIN),
                    signal: (position % 3 == 0).then_some(i32::MAX),
                    message: (position % 2 == 1).then(|| format!("ü\n{}", "x".repeat(9_000))),
                    last_stderr: (position % 2 == 0).then(|| "error: no such\tfile 'ü'".to_owned()),
                },
            },
            started_at: UnixMicros(i64::MIN),
            ended_at: UnixMicros(i64::MAX),
            log: LogSpan {
                offset: u64::MAX,
                len: u64::MAX - 1,
            },
            usage: (position % 3 < 2).then_some(Usage {
                peak_memory_bytes: u64::MAX,
                cpu_micros: position as u64,
            }),
            failed_calls: failed_calls(position % 4),
        };
        let now = scene.tick();
        let answers = scene
            .ledger
            .commit(agent, std::slice::from_ref(&commit), now);
        assert_eq!(answers.unwrap(), [Ok(())]);
        let row = scene.task(position as u64);
        assert_eq!(row.ending.as_ref(), Some(&commit.report.ending));
        assert_eq!(row.started_at, Some(commit.started_at));
        assert_eq!(row.ended_at, Some(commit.ended_at));
        assert_eq!((row.agent, row.log), (Some(agent), Some(commit.log)));
        let attempts = scene
            .ledger
            .attempts(&array_id(0), commit.position)
            .unwrap();
        assert_eq!(attempts[0].ending, row.ending);
        assert_eq!(attempts[0].log, row.log);
        assert_eq!(row.usage, commit.usage);
        assert_eq!(row.failed_calls, commit.failed_calls);
        assert_eq!(attempts[0].usage, commit.usage);
        assert_eq!(attempts[0].failed_calls, commit.failed_calls);
    }
}

/// Pages go on where the last ended, and a state picks its tasks.
pub fn tasks_are_read_in_pages_and_by_state(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 10);
    let agent = scene.agent();
    let token = scene.claim(agent, 6).token;
    for (position, cause) in [
        (0, Cause::Succeeded),
        (1, Cause::Ttl),
        (2, Cause::Skipped),
        (3, Cause::Cancelled),
        (4, Cause::Interrupted),
    ] {
        scene.commit(agent, position, token, cause).unwrap();
    }
    let mut read = |from, limit, state| -> Vec<u64> {
        let query = TaskQuery { from, limit, state };
        let rows = scene.ledger.tasks(&array_id(0), query).unwrap();
        rows.iter().map(|row| row.position).collect()
    };
    assert_eq!(read(0, 4, None), [0, 1, 2, 3]);
    assert_eq!(read(4, 4, None), [4, 5, 6, 7]);
    assert_eq!(read(8, 4, None), [8, 9]);
    assert_eq!(read(10, 4, None), NONE);
    assert_eq!(read(u64::MAX, 4, None), NONE);
    assert_eq!(read(0, 0, None), NONE);
    assert_eq!(read(0, 9, Some(TaskState::Succeeded)), [0]);
    assert_eq!(read(0, 9, Some(TaskState::Failed)), [1]);
    assert_eq!(read(0, 9, Some(TaskState::Skipped)), [2]);
    assert_eq!(read(0, 9, Some(TaskState::Cancelled)), [3]);
    assert_eq!(read(0, 9, Some(TaskState::Running)), [5]);
    assert_eq!(read(0, 9, Some(TaskState::Pending)), [4, 6, 7, 8, 9]);
    assert_eq!(read(0, 2, Some(TaskState::Pending)), [4, 6]);
    assert_eq!(read(7, 2, Some(TaskState::Pending)), [7, 8]);
    assert_eq!(read(2, 9, Some(TaskState::Failed)), NONE);
}

/// The newest failure comes first, by when its attempt ended; only failures come.
pub fn failures_are_read_newest_first(fresh: Fresh<'_>) {
    let mut scene = Scene::of(fresh, 6);
    let agent = scene.agent();
    let token = scene.claim(agent, 6).token;
    let now = scene.tick();
    for (position, cause, ended) in [
        (0, Cause::Ttl, 20),
        (1, Cause::Succeeded, 90),
        (2, Cause::Ttl, 40),
        (3, Cause::Ttl, 20),
        (4, Cause::Exit, 95),
    ] {
        let mut commit = outcome(position, token, cause, now);
        commit.ended_at = UnixMicros(ended);
        let answers = scene.ledger.commit(agent, &[commit], now).unwrap();
        assert_eq!(answers, [Ok(())]);
    }
    let rows = scene.ledger.recent_failures(&array_id(0), 10).unwrap();
    assert_eq!(
        rows.iter().map(|r| r.position).collect::<Vec<_>>(),
        [2, 3, 0]
    );
    assert_eq!(rows[0], scene.task(2));
    let rows = scene.ledger.recent_failures(&array_id(0), 1).unwrap();
    assert_eq!(rows.len(), 1);
}
