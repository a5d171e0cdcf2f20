//! Arrays whose tasks need workers of several shapes.

use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_ports::ledger::{AgentId, LaneCounts, LedgerError, Reopen, TaskQuery};

use super::Fresh;
use super::scene::{NONE, Scene, array_id, new_agent, new_array};

/// Ten tasks: positions 0 to 3, 4, and 5 to 9.
fn three_lanes(fresh: Fresh<'_>) -> (Scene, [AgentId; 3]) {
    let mut array = new_array(0, 10);
    array.lanes = vec![4, 1, 5];
    let mut scene = Scene::with(fresh, array);
    let agents = [0, 1, 2].map(|lane| {
        let mut agent = new_agent(array_id(0), lane);
        agent.lane = lane;
        let now = scene.tick();
        scene.ledger.enroll(&agent, now).unwrap()
    });
    (scene, agents)
}

fn lanes(scene: &mut Scene) -> Vec<(u64, u64)> {
    let counted = |lane: &LaneCounts| (lane.pending, lane.running);
    scene.record().lanes.iter().map(counted).collect()
}

/// Fresh tasks of an agent's lane go to it, handed-back ones come to it again, others' never do.
pub fn an_agent_is_given_tasks_of_its_lane_only(fresh: Fresh<'_>) {
    let (mut scene, [a, b, c]) = three_lanes(fresh);
    assert_eq!(lanes(&mut scene), [(4, 0), (1, 0), (5, 0)]);
    assert_eq!(scene.positions(c, 2), [5, 6]);
    let token = scene.claim(a, 9).token;
    assert_eq!(lanes(&mut scene), [(0, 4), (1, 0), (3, 2)]);
    scene.commit(a, 1, token, Cause::Interrupted).unwrap();
    scene.release(a, token, &[3])[0].unwrap();
    assert_eq!(scene.positions(c, 9), [7, 8, 9]);
    assert_eq!(scene.positions(c, 9), NONE);
    assert_eq!(scene.positions(b, 9), [4]);
    assert_eq!(lanes(&mut scene), [(2, 2), (0, 1), (0, 5)]);
    assert_eq!(scene.end_agent(c), [5, 6, 7, 8, 9]);
    assert_eq!(scene.positions(a, 9), [1, 3]);
    assert_eq!(scene.positions(b, 9), NONE);
    assert_eq!(lanes(&mut scene), [(0, 4), (0, 1), (5, 0)]);
}

/// A lane's agents hear of its waits, not of others'.
pub fn an_empty_claim_says_when_a_task_of_its_lane_is_due(fresh: Fresh<'_>) {
    let mut array = new_array(0, 2);
    array.lanes = vec![1, 1];
    array.budgets.backoff_millis = 60_000;
    let mut scene = Scene::with(fresh, array);
    let a = scene.agent();
    let mut other = new_agent(array_id(0), 1);
    other.lane = 1;
    let now = scene.tick();
    let b = scene.ledger.enroll(&other, now).unwrap();
    let token = scene.claim(a, 1).token;
    scene.claim(b, 1);
    scene.commit(a, 0, token, Cause::Exit).unwrap();
    let due = scene.task(0).not_before;
    assert_eq!(scene.claim(a, 1).next_due, Some(due));
    assert_eq!(scene.claim(b, 1).next_due, None);
}

/// Tasks of several lanes are read in pages and by state as those of one.
pub fn untouched_tasks_of_every_lane_are_read(fresh: Fresh<'_>) {
    let (mut scene, [a, _, c]) = three_lanes(fresh);
    scene.positions(a, 2);
    scene.positions(c, 3);
    let mut read = |from, limit, state| -> Vec<u64> {
        let query = TaskQuery { from, limit, state };
        let rows = scene.ledger.tasks(&array_id(0), query).unwrap();
        rows.iter().map(|row| row.position).collect()
    };
    assert_eq!(read(0, 99, None), (0..10).collect::<Vec<_>>());
    assert_eq!(read(1, 3, None), [1, 2, 3]);
    assert_eq!(read(4, 3, None), [4, 5, 6]);
    assert_eq!(read(0, 99, Some(TaskState::Pending)), [2, 3, 4, 8, 9]);
    assert_eq!(read(3, 2, Some(TaskState::Pending)), [3, 4]);
    assert_eq!(read(5, 9, Some(TaskState::Pending)), [8, 9]);
    assert_eq!(read(1, 2, Some(TaskState::Running)), [1, 5]);
}

/// Closing leaves nothing pending in any lane; reopening brings it back where it was.
pub fn lanes_are_closed_and_reopened(fresh: Fresh<'_>) {
    let (mut scene, [a, b, c]) = three_lanes(fresh);
    scene.positions(a, 3);
    let now = scene.tick();
    scene
        .ledger
        .close(&array_id(0), Intent::Expired, now)
        .unwrap();
    assert_eq!(lanes(&mut scene), [(0, 3), (0, 0), (0, 0)]);
    let deadline = now.plus_millis(1);
    let count = scene
        .ledger
        .reopen(&array_id(0), &Reopen::Failed, deadline, now);
    assert_eq!(count.unwrap(), 7);
    assert_eq!(lanes(&mut scene), [(1, 3), (1, 0), (5, 0)]);
    assert_eq!(scene.positions(b, 9), [4]);
    assert_eq!(scene.positions(c, 9), [5, 6, 7, 8, 9]);
    assert_eq!(scene.positions(a, 9), [3]);
}

/// Lanes that are not the array's tasks are refused, and so is an agent for one that is not there.
pub fn lanes_that_are_not_there_are_refused(fresh: Fresh<'_>) {
    let mut ledger = fresh();
    for lanes in [
        vec![3],
        vec![5],
        vec![4, 0],
        vec![2, 2, 1],
        vec![4, u64::MAX],
    ] {
        let mut array = new_array(0, 4);
        array.lanes = lanes;
        let refused = ledger.submit(&array, array.deadline);
        assert!(matches!(refused, Err(LedgerError::Storage { .. })));
    }
    assert_eq!(ledger.arrays(9).unwrap(), []);
    let mut told = new_array(1, 4);
    told.lanes = vec![4];
    let mut many = new_array(2, 4);
    many.lanes = vec![1, 3];
    for array in [told, many] {
        ledger.submit(&array, array.deadline).unwrap();
        let record = ledger.array(&array.id).unwrap().unwrap();
        assert_eq!(record.submitted, array);
        let mut agent = new_agent(array.id.clone(), 0);
        agent.lane = array.lanes.len() as u32 - 1;
        let id = ledger.enroll(&agent, array.deadline).unwrap();
        assert_eq!(ledger.agent(id).unwrap().unwrap().enrolled, agent);
        agent.lane += 1;
        let refused = ledger.enroll(&agent, array.deadline);
        assert!(
            matches!(refused, Err(LedgerError::UnknownLane { lane, .. }) if lane == agent.lane)
        );
        assert_eq!(ledger.agents(&array.id, 9).unwrap().len(), 1);
    }
}
