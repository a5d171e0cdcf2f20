//! What people do to arrays on EC2, against the test bed; cut off at every call there is.

mod bed;

use bed::launched::{HOUR, Launched, now, refusal, seconds};
use serde_json::json;
use spawn_aws::services::autoscaling::{self, Group};
use spawn_aws::services::s3;
use spawn_aws::services::scheduler::{self, OneTimeSchedule};
use spawn_aws::services::{ec2, iam};
use spawn_core::moment::UnixMicros;
use spawn_core::outcome::Cause;
use spawn_core::task::{Intent, TaskState};
use spawn_ec2::{cleanup, names};
use spawn_local::wire::client::{Answer, Refusal, Request};
use spawn_ports::ledger::Ledger;

const KINDS: [&str; 2] = ["error-before", "lost-after"];

fn launches_nothing(group: &Group) -> bool {
    let mut suspended = group.suspended_processes.iter();
    suspended.any(|process| process.process_name == "Launch")
}

fn templates(world: &Launched) -> usize {
    let filter = format!("tag:{}", names::TAG_ARRAY);
    let filters = [ec2::Filter::new(&filter, [world.id.as_str()])];
    ec2::describe_launch_templates(&world.client, &filters)
        .unwrap()
        .len()
}

#[test]
fn a_cancelled_array_launches_nothing_more_and_goes_with_its_last_task() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    world.settled();
    let agent = world.enroll(0, 0);
    let claim = world.claim(agent, 1);
    assert_eq!(world.ask(world.close(30_000)), Answer::Done);
    let status = world.status();
    assert_eq!(status.record.intent, Intent::Cancel);
    assert_eq!(
        (status.record.counts.running, status.record.counts.cancelled),
        (1, 5)
    );
    assert_eq!(status.held_up, None);
    let groups = world.groups();
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(launches_nothing), "{groups:?}");
    // Its script is given time; the machines are still there.
    assert!(groups.iter().all(|g| !g.instances.is_empty()));

    world.commit(
        agent,
        claim.token,
        claim.tasks[0].position,
        Cause::Cancelled,
    );
    assert_eq!(world.ask(world.close(30_000)), Answer::Done);
    world.until_gone();
    assert_eq!(templates(&world), 0);
    // Other arrays may use the role.
    let role = &world.plan.role.name;
    assert!(iam::get_role(&world.client, role).unwrap().is_some());
    world.bed.assert_clean();
}

#[test]
fn terminating_leaves_nothing_wherever_it_is_cut_off() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    for (n, kind) in KINDS.into_iter().enumerate() {
        if n > 0 {
            world.again("array-20260128-abc123");
        }
        world.settled();
        let agent = world.enroll(0, 0);
        world.claim(agent, 2);
        let mut failures = 0;
        for k in 1.. {
            world.bed.fail(k, kind);
            let answer = world.frail().answer(world.close(0));
            let was_spared = world.bed.forget_faults();
            failures += u32::from(answer.is_err());
            let record = world.desk.ledger().array(&world.id).unwrap().unwrap();
            if record.intent == Intent::Run {
                assert!(world.groups().iter().all(|g| g.status.is_none()));
            }
            if was_spared {
                assert_eq!(answer.unwrap(), Answer::Done);
                break;
            }
        }
        assert!(failures >= 5, "{failures}");
        world.until_gone();
        assert_eq!(templates(&world), 0);
        assert_eq!(world.rows(Some(TaskState::Running)), []);
        let agents = world.desk.ledger().agents(&world.id, 100).unwrap();
        assert!(agents.iter().all(|agent| agent.ended_at.is_some()));
        let record = world.status().record;
        assert!(record.counts.all_ended(), "{:?}", record.counts);
        // Once more changes nothing.
        assert_eq!(world.ask(world.close(0)), Answer::Done);
    }
    assert_eq!(world.bed.get("/bed/violations"), json!([]));
}

fn extend(world: &Launched, by_ms: u64) -> Request {
    Request::Extend {
        id: world.id.clone(),
        by_ms,
    }
}

#[test]
fn extending_moves_every_end_once_wherever_it_is_cut_off() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    let mut deadline = world.deadline();
    let lanes = |deadline: UnixMicros| (seconds(deadline), seconds(deadline) - 3600);
    assert_eq!((world.end_of(0), world.end_of(1)), lanes(deadline));
    for kind in KINDS {
        let mut failures = 0;
        for k in 1.. {
            world.bed.fail(k, kind);
            let answer = world.frail().answer(extend(&world, 3_600_000));
            let was_spared = world.bed.forget_faults();
            let longer = UnixMicros(deadline.0 + HOUR);
            match answer {
                Ok(Answer::Extended { record, too_late }) => {
                    assert_eq!((record.submitted.deadline, too_late), (longer, 0));
                    deadline = longer;
                    assert_eq!((world.end_of(0), world.end_of(1)), lanes(deadline));
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => {
                    failures += 1;
                    assert!([lanes(deadline).0, lanes(longer).0].contains(&world.end_of(0)));
                    assert!([lanes(deadline).1, lanes(longer).1].contains(&world.end_of(1)));
                }
            }
            assert_eq!(world.deadline(), deadline, "{kind} {k}");
            if was_spared {
                break;
            }
        }
        assert!(failures > 3, "{failures}");
    }
    // What has ended is not extended.
    world.ask(world.close(0));
    let (kind, message) = refusal(world.ask(extend(&world, 1000)));
    assert_eq!(kind, Refusal::Failed);
    assert!(message.contains("spawn retry"), "{message}");
    assert_eq!(world.bed.get("/bed/violations"), json!([]));
}

#[test]
fn machines_without_a_group_get_the_time_too() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "scheduler.amazonaws.com" },
            "Action": "sts:AssumeRole",
        }],
    });
    let role = iam::create_role(&world.client, "ends", &trust.to_string(), "ends", &[]).unwrap();
    let name = names::schedule(&world.id, "i-0123456789abcdef0");
    let at = |at: UnixMicros| {
        let time = jiff::Timestamp::from_second(seconds(at)).unwrap();
        time.to_string().trim_end_matches('Z').to_owned()
    };
    let deadline = world.deadline();
    let schedule = OneTimeSchedule {
        name: name.clone(),
        group: None,
        at: at(deadline),
        target: "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances".to_owned(),
        role_arn: role.arn,
        input: json!({ "InstanceIds": ["i-0123456789abcdef0"] }).to_string(),
        description: Some("ends one machine".to_owned()),
    };
    scheduler::create_schedule(&world.client, &schedule).unwrap();
    world.ask(extend(&world, 3_600_000));
    let there = scheduler::get_schedule(&world.client, &name, None).unwrap();
    let there = there.unwrap();
    assert_eq!(there.at, at(UnixMicros(deadline.0 + HOUR)));
    assert_eq!(
        (there.target, there.input, there.role_arn, there.description),
        (
            schedule.target,
            schedule.input,
            schedule.role_arn,
            schedule.description
        )
    );
    world.ask(world.close(0));
    assert_eq!(
        scheduler::get_schedule(&world.client, &name, None)
            .unwrap()
            .map(|s| s.at),
        None
    );
    world.bed.assert_clean();
}

#[test]
fn a_retry_makes_machines_again_wherever_it_is_cut_off() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    world.run_all(0, Cause::Exit);
    world.run_all(1, Cause::Succeeded);
    world.ask(world.close(0));
    world.until_gone();
    // Somebody cleaned up after it, too.
    let role = world.plan.role.name.clone();
    let left = cleanup::find(&world.client, &world.id, &[&role]).unwrap();
    cleanup::remove(&world.client, &left).unwrap();

    // Without what is needed nothing is reopened.
    let bundle = world.plan.bundle_key.clone();
    let there = s3::get_object(&world.client, &world.bucket(), &bundle, None, None);
    let there = there.unwrap().unwrap();
    s3::delete_object(&world.client, &world.bucket(), &bundle).unwrap();
    let (kind, message) = refusal(world.ask(world.retry(None)));
    assert_eq!(kind, Refusal::Failed);
    assert!(message.contains("files are gone"), "{message}");
    assert!(world.status().record.counts.all_ended());
    world.put(&bundle, &there.body);

    let mut reopened = 0;
    let mut failures = 0;
    for k in 1.. {
        world.bed.fail(k, KINDS[k as usize % 2]);
        let answer = world.frail().answer(world.retry(Some(1_800_000)));
        let was_spared = world.bed.forget_faults();
        match answer {
            Ok(Answer::Reopened(n)) => reopened += n,
            Ok(other) => panic!("{other:?}"),
            Err(_) => failures += 1,
        }
        for group in world.groups().iter().filter(|g| g.max_size > 0) {
            assert_eq!(group.auto_scaling_group_name, names::lane(&world.id, 0));
            world.end_of(0);
        }
        if was_spared {
            break;
        }
    }
    assert!(failures >= 5, "{failures}");
    // A half that was done reopened them, and its answer was lost.
    assert!(reopened <= 4);
    assert_eq!(world.rows(Some(TaskState::Pending)).len(), 4);
    let groups = world.groups();
    assert_eq!(groups.len(), 1, "nothing is left to do in the other lane");
    let machines = world.plan.lanes[0].machines;
    assert_eq!(
        (groups[0].desired_capacity, groups[0].max_size),
        (machines, machines)
    );
    let deadline = world.deadline();
    assert!(deadline.0 < now().0 + HOUR / 2 && deadline.0 > now().0);
    assert_eq!(world.end_of(0), seconds(deadline));
    world.settled();
    world.run_all(0, Cause::Succeeded);
    assert_eq!(world.status().record.counts.succeeded, 6);
    assert_eq!(world.bed.get("/bed/violations"), json!([]));
}

#[test]
fn groups_that_are_there_get_room_and_an_end_again() {
    let Some(mut world) = Launched::new() else {
        return;
    };
    world.settled();
    world.run_all(0, Cause::Exit);
    // Its time was over, and nobody removed it.
    let name = names::lane(&world.id, 0);
    autoscaling::suspend_processes(&world.client, &name, &["Launch"]).unwrap();
    autoscaling::delete_scheduled_action(&world.client, &name, &names::backstop(&name)).unwrap();
    let none = autoscaling::UpdateGroup {
        auto_scaling_group_name: name.clone(),
        min_size: Some(0),
        max_size: Some(0),
        desired_capacity: Some(0),
        new_instances_protected_from_scale_in: None,
    };
    autoscaling::update_group(&world.client, &none).unwrap();
    let deadline = world.deadline();

    assert_eq!(world.ask(world.retry(None)), Answer::Reopened(4));
    assert_eq!(world.deadline(), deadline, "the array was open");
    let groups = world.groups();
    let group = groups.iter().find(|g| g.auto_scaling_group_name == name);
    let group = group.unwrap();
    assert_eq!(group.desired_capacity, world.plan.lanes[0].machines);
    assert!(!launches_nothing(group));
    assert_eq!(world.end_of(0), seconds(deadline));
    world.settled();
    world.bed.assert_clean();
}
