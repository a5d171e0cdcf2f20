//! What machines may do, with every call held against their role's policies.

use serde_json::json;

use crate::account::instance_type;
use crate::how_to::chunks;
use crate::world::World;

#[test]
fn a_whole_run_needs_no_more_than_it_is_granted() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.bed.enforce_policies();
    let id = chunks::launch(&world, 2, 2);
    world.wait(&id).expect_code(0);
    chunks::check_outputs(&world, 4);
    world.all_gone();
    // Not even once was somebody refused, and found another way.
    assert_eq!(refused(&world), Vec::<String>::new());
}

/// Says of each attempt whether it was refused, and nothing else.
const TRY: &str = r#"
try() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    echo "$name: allowed"
  elif [[ $out == *AccessDenied* || $out == *UnauthorizedOperation* || $out == *"not authorized"* ]]; then
    echo "$name: refused"
  else
    echo "$name: $out"
  fi
}
try list-buckets aws s3 ls
try list-queues aws sqs list-queues
try scan-other-table aws dynamodb scan --table-name other
try write-ledger aws dynamodb delete-table --table-name spawn-ledger
try end-machine aws ec2 terminate-instances --instance-ids $OTHER
try end-other aws autoscaling terminate-instance-in-auto-scaling-group --instance-id $OTHER --should-decrement-desired-capacity
try empty-other aws autoscaling set-desired-capacity --auto-scaling-group-name other --desired-capacity 0
try make-user aws iam create-user --user-name mallory
"#;

#[test]
fn a_task_can_do_what_was_asked_for_and_nothing_to_others() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.shell(&format!(
        r#"
        aws dynamodb create-table --table-name other --billing-mode PAY_PER_REQUEST \
          --attribute-definitions AttributeName=k,AttributeType=S --key-schema AttributeName=k,KeyType=HASH
        image=$(aws ssm get-parameter --query Parameter.Value --output text \
          --name /aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64)
        aws ec2 create-launch-template --launch-template-name other \
          --launch-template-data "{{\"ImageId\": \"$image\", \"InstanceType\": \"{}\"}}"
        aws autoscaling create-auto-scaling-group --auto-scaling-group-name other --min-size 0 \
          --max-size 1 --desired-capacity 1 --availability-zones us-east-1a \
          --launch-template LaunchTemplateName=other
        "#,
        instance_type()
    ));
    let other = world.until("the other machine runs", || {
        world.machines_in("running").pop()
    });
    world.bed.enforce_policies();
    world.write("try.sh", TRY);
    let flags = "--ttl 1h --iam-policy s3:ReadOnly --user-data @try.sh --instance-type";
    let env = format!("OTHER={other}");
    let id = world.launch(flags.split(' ').chain([instance_type(), "--env", &env]));
    world.wait(&id).expect_code(0);
    assert_eq!(
        world.ok(["logs", &id, "--task", "0"]),
        "list-buckets: allowed\nlist-queues: refused\nscan-other-table: refused\n\
         write-ledger: refused\nend-machine: refused\nend-other: refused\n\
         empty-other: refused\nmake-user: refused\n"
    );
    world.until("only the other group is left", || {
        let groups = world.groups();
        (groups.len() == 1 && groups[0]["name"] == "other").then_some(())
    });
    assert_eq!(world.groups()[0]["desired"], json!(1));
    assert!(world.machines_in("running").contains(&other));
}

#[test]
fn a_person_with_the_printed_policy_can_do_all_of_it() {
    let Some(world) = World::with_machines() else {
        return;
    };
    world.write("policy.json", world.ok(["doctor", "--policy"]));
    let keys = world.shell(
        "aws iam create-user --user-name ana > user.json\n\
         arn=$(aws iam create-policy --policy-name launcher --policy-document file://policy.json \
           --query Policy.Arn --output text)\n\
         aws iam attach-user-policy --user-name ana --policy-arn $arn\n\
         aws iam create-access-key --user-name ana \
           --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text",
    );
    let (id, secret) = keys.trim().split_once('\t').expect("a key and a secret");
    let ana = world
        .with("AWS_ACCESS_KEY_ID", id)
        .with("AWS_SECRET_ACCESS_KEY", secret);
    ana.bed.enforce_policies();
    // Everything from nothing to nothing.
    ana.ok(["doctor", "--instance-type", instance_type()]);
    let flags = [
        "--ttl",
        "1h",
        "--instance-type",
        instance_type(),
        "--user-data",
    ];
    let script = ["[ $TASK_ATTEMPT = 1 ] && echo tried && exit 1; echo done"];
    let array = ana.launch(flags.into_iter().chain(script));
    ana.wait(&array).expect_code(1);
    ana.all_gone();
    ana.ok(["retry", &array]);
    ana.ok(["extend", &array, "10m"]);
    ana.wait(&array).expect_code(0);
    assert_eq!(ana.ok(["logs", &array]), "done\n");
    ana.all_gone();
    let spot = ["--spot", "--spot-fallback", "10m"];
    let waits = ["sleep 86417.25"];
    let array = ana.launch(flags.into_iter().chain(waits).chain(spot));
    ana.ok(["status", &array]);
    ana.ok(["terminate", &array, "--yes"]);
    ana.all_gone();
    let stays = ["--on-complete", "stop"];
    let array = ana.launch(flags.into_iter().chain(["true"]).chain(stays));
    ana.wait(&array).expect_code(0);
    ana.ok(["cleanup", &array, "--yes"]);
    ana.until("the machine is gone", || {
        ana.machines_in("stopped").is_empty().then_some(())
    });
    ana.ok(["list", "--region", "us-east-1"]);
    ana.ok(["orphans"]);
    // One that has just ended is no reason to wait, though its machines may still be on their way.
    let array = ana.launch(flags.into_iter().chain(["true"]));
    ana.wait(&array).expect_code(0);
    ana.ok(["cleanup", "--everything", "--yes"]);
    assert!(
        ana.ok(["cleanup", "--everything"])
            .contains("nothing to remove")
    );
    assert_eq!(refused(&ana), Vec::<String>::new());
}

/// Calls that were refused to somebody. Of two machines that see the end at once, the second asks to
/// remove a template that has no tags any more.
fn refused(world: &World) -> Vec<String> {
    let outcomes = world.bed.get("counts")["outcomes"].clone();
    let is_refusal = |code: &String| code.contains("AccessDenied") || code.contains("Unauthorized");
    outcomes
        .as_object()
        .expect("outcomes by call")
        .iter()
        .filter(|(call, _)| *call != "ec2:DeleteLaunchTemplate")
        .filter(|(_, by_status)| {
            let codes = by_status.as_object().expect("numbers by status");
            codes.keys().any(is_refusal)
        })
        .map(|(call, by_status)| format!("{call}: {by_status}"))
        .collect()
}
