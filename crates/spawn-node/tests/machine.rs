//! What a machine hears of its end, and what it asks of its group.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use spawn_aws::client::{Client, Config, HttpTransport, SystemClock};
use spawn_aws::environment::Environment;
use spawn_aws::imds::Imds;
use spawn_core::moment::UnixMicros;
use spawn_node::config::Made;
use spawn_node::machine::Ec2Machine;
use spawn_ports::machine::{Leave, Machine, Outlook};
use world::{REGION, Request, Server, World};

fn machine(scaling: &Server, metadata: &Server) -> Ec2Machine {
    let environment = Environment::of([
        ("AWS_ENDPOINT_URL", scaling.url.as_str()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url),
    ]);
    let config = Config::from_environment(&environment, Some(REGION), None).unwrap();
    let imds = Imds::new(
        &environment,
        Arc::new(HttpTransport::for_metadata()),
        Arc::new(SystemClock::default()),
    );
    let made = ["own", "twin"].map(|name| Made {
        group: name.to_owned(),
        template: format!("{name}-template"),
        raise: (name == "twin").then(|| "twin-raise".to_owned()),
    });
    Ec2Machine::new(imds, Client::new(config), "i-1".to_owned(), made.into())
}

fn refusal(status: u16, code: &str, message: &str) -> (u16, String) {
    let text = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    (status, text)
}

fn yes(request: &Request) -> (u16, String) {
    let action = request.form("Action").unwrap();
    (
        200,
        format!("<{action}Response><{action}Result/></{action}Response>"),
    )
}

#[test]
fn notices_are_heard_and_an_outage_is_no_notice() {
    let world = World::new();
    let metadata = world.instance("i-1");
    let mut machine = machine(&world.scaling, &metadata.server);
    assert_eq!(machine.outlook().unwrap(), Outlook::Calm);
    let notice = r#"{"noticeTime": "2026-11-25T12:00:00Z"}"#;
    metadata.set("events/recommendations/rebalance", notice);
    assert_eq!(machine.outlook().unwrap(), Outlook::AtRisk);
    let notice = r#"{"action": "terminate", "time": "2027-01-15T08:00:00Z"}"#;
    metadata.set("spot/instance-action", notice);
    let at = UnixMicros(1_800_000_000_000_000);
    assert_eq!(machine.outlook().unwrap(), Outlook::Ending { at });
    let broken = Server::start(|_| (500, String::new()));
    let mut machine = self::machine(&world.scaling, &broken);
    machine.outlook().unwrap_err();
}

#[test]
fn retiring_lowers_what_is_wanted_and_yielding_does_not() {
    let world = World::new();
    let metadata = world.instance("i-1");
    for how in [Leave::Retire, Leave::Yield] {
        machine(&world.scaling, &metadata.server)
            .leave(how)
            .unwrap();
    }
    let asked = world.scaling.actions("ShouldDecrementDesiredCapacity");
    let asked: Vec<_> = asked.iter().map(|(_, said)| said.as_deref()).collect();
    assert_eq!(asked, [Some("true"), Some("false")]);
}

#[test]
fn a_machine_that_is_gone_from_its_group_has_left() {
    let world = World::new();
    let metadata = world.instance("i-1");
    let gone = Server::start(|_| {
        refusal(
            400,
            "ValidationError",
            "Instance Id not found - No managed instance found",
        )
    });
    machine(&gone, &metadata.server)
        .leave(Leave::Retire)
        .unwrap();
}

#[test]
fn a_busy_group_is_asked_whether_it_lets_go_already() {
    let world = World::new();
    let metadata = world.instance("i-1");
    // The group knows no such instance any more.
    let busy = Server::start(|request| match request.form("Action").as_deref() {
        Some("TerminateInstanceInAutoScalingGroup") => {
            refusal(400, "ScalingActivityInProgress", "wait")
        }
        _ => yes(request),
    });
    machine(&busy, &metadata.server)
        .leave(Leave::Retire)
        .unwrap();
    let denied = Server::start(|_| refusal(403, "AccessDenied", "no"));
    let error = machine(&denied, &metadata.server).leave(Leave::Retire);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("i-1") && error.contains("AccessDenied"),
        "{error}"
    );
}

#[test]
fn all_that_was_made_goes_once_and_again() {
    let world = World::new();
    let metadata = world.instance("i-1");
    let times = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&times);
    // The second machine to see the end finds nothing, said in the words of each service.
    let scaling = Server::start(move |request| {
        if counted.load(Ordering::SeqCst) == 0 {
            return match request.form("Action").as_deref() {
                Some("DeleteLaunchTemplate") => (200, "<A><requestId>r</requestId></A>".to_owned()),
                _ => yes(request),
            };
        }
        match request.form("Action").as_deref() {
            Some("DeleteLaunchTemplate") => (
                400,
                "<Response><Errors><Error><Code>InvalidLaunchTemplateName.NotFoundException</Code><Message>none</Message></Error></Errors><RequestID>r</RequestID></Response>".to_owned(),
            ),
            _ => refusal(400, "ValidationError", "AutoScalingGroup name not found - no such group"),
        }
    });
    let mut first = machine(&scaling, &metadata.server);
    first.array_has_ended().unwrap();
    let groups = scaling.actions("AutoScalingGroupName");
    let deleted = groups
        .iter()
        .filter(|(action, _)| action == "DeleteAutoScalingGroup");
    let deleted: Vec<_> = deleted
        .map(|(_, group)| group.as_deref().unwrap())
        .collect();
    assert_eq!(deleted, ["twin", "own"]);
    // With the group goes the machine: there is nothing more to ask for.
    let before = scaling.asked().len();
    first.leave(Leave::Retire).unwrap();
    assert_eq!(scaling.asked().len(), before);
    times.store(1, Ordering::SeqCst);
    machine(&scaling, &metadata.server)
        .array_has_ended()
        .unwrap();
}

#[test]
fn a_template_that_another_removed_does_not_keep_the_group() {
    let world = World::new();
    let metadata = world.instance("i-1");
    // Grants by tag say nothing of what is not there.
    let scaling = Server::start(|request| {
        match request.form("Action").as_deref() {
        Some("DeleteLaunchTemplate") => (
            403,
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>".to_owned(),
        ),
        _ => yes(request),
    }
    });
    machine(&scaling, &metadata.server)
        .array_has_ended()
        .unwrap();
    let asked = scaling.actions("AutoScalingGroupName");
    let deleted = asked
        .iter()
        .filter(|(action, _)| action == "DeleteAutoScalingGroup");
    assert_eq!(deleted.count(), 2);
}

#[test]
fn what_would_stand_in_is_cancelled_once_and_again() {
    let world = World::new();
    let metadata = world.instance("i-1");
    let scaling = Server::start(yes);
    let mut first = machine(&scaling, &metadata.server);
    first.needs_no_fallback().unwrap();
    let asked = scaling.actions("ScheduledActionName");
    assert_eq!(
        asked,
        [(
            "DeleteScheduledAction".to_owned(),
            Some("twin-raise".to_owned())
        )]
    );
    let gone =
        Server::start(|_| refusal(400, "ValidationError", "Scheduled action name not found"));
    machine(&gone, &metadata.server)
        .needs_no_fallback()
        .unwrap();
    let denied = Server::start(|_| refusal(403, "AccessDenied", "no"));
    machine(&denied, &metadata.server)
        .needs_no_fallback()
        .unwrap_err();
}

#[test]
fn a_machine_of_the_other_group_removes_its_own_group_last() {
    let world = World::new();
    let metadata = world.instance("i-1");
    let scaling = Server::start(|request| match request.form("Action").as_deref() {
        Some("DescribeAutoScalingGroups") => {
            let group = |name: &str, machines: &str| {
                format!(
                    "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><Instances>{machines}</Instances></member>"
                )
            };
            let own = "<member><InstanceId>i-1</InstanceId></member>";
            let all = [group("own", ""), group("twin", own)].concat();
            (
                200,
                format!(
                    "<R><DescribeAutoScalingGroupsResult><AutoScalingGroups>{all}</AutoScalingGroups></DescribeAutoScalingGroupsResult></R>"
                ),
            )
        }
        Some("DeleteLaunchTemplate") => (200, "<A><requestId>r</requestId></A>".to_owned()),
        _ => yes(request),
    });
    machine(&scaling, &metadata.server)
        .array_has_ended()
        .unwrap();
    let asked = scaling.actions("AutoScalingGroupName");
    let deleted: Vec<_> = asked
        .iter()
        .filter(|(action, _)| action == "DeleteAutoScalingGroup")
        .map(|(_, group)| group.as_deref().unwrap())
        .collect();
    assert_eq!(deleted, ["own", "twin"]);
}
