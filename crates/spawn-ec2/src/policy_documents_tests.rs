use super::*;

/// A role with these templates: its name, and its inline policies.
fn role(place: Place<'_>, templates: &[PolicyTemplate]) -> (String, Vec<(String, String)>) {
    let spec = crate::plan::tests::spec(serde_json::json!({ "iam_policies": templates }));
    let role = crate::role_plan::of(place, &spec);
    (role.name, role.policies)
}
use spawn_spec::SERVICES;

const PLACE: Place<'_> = Place {
    partition: "aws",
    account: "123456789012",
    region: "eu-west-1",
};

fn templates(text: &str) -> Vec<PolicyTemplate> {
    text.split(',').map(|t| t.parse().unwrap()).collect()
}

#[test]
fn templates_are_exact_documents() {
    assert_eq!(
        tasks(&templates("sqs:WriteOnly,s3:FullAccess")),
        Some(json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Sid": "s3FullAccess", "Effect": "Allow", "Action": ["s3:*"], "Resource": "*" },
                {
                    "Sid": "sqsWriteOnly",
                    "Effect": "Allow",
                    "Action": [
                        "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl",
                        "sqs:SendMessage"
                    ],
                    "Resource": "*"
                }
            ]
        }))
    );
    assert_eq!(tasks(&[]), None);
}

#[test]
fn every_template_grants_actions_of_its_service_only() {
    for service in SERVICES {
        for access in ["FullAccess", "ReadOnly", "WriteOnly"] {
            let template: PolicyTemplate = format!("{service}:{access}").parse().unwrap();
            let actions = actions(template);
            assert!(!actions.is_empty(), "{template}");
            for action in &actions {
                assert!(action.starts_with(&format!("{service}:")), "{action}");
                let is_all = action.ends_with(":*");
                assert_eq!(is_all, access == "FullAccess", "{action}");
            }
            assert!(actions.is_sorted(), "{template}: {actions:?}");
        }
    }
}

#[test]
fn reading_does_not_write() {
    for service in SERVICES {
        let template: PolicyTemplate = format!("{service}:ReadOnly").parse().unwrap();
        for action in actions(template) {
            for verb in ["Put", "Delete", "Create", "Update", "Send", "Upload"] {
                assert!(!action.contains(&format!(":{verb}")), "{action}");
            }
        }
    }
}

#[test]
fn the_trust_is_of_machines_only() {
    assert_eq!(
        trust().to_string(),
        r#"{"Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"}}],"Version":"2012-10-17"}"#
    );
}

#[test]
fn the_agent_reaches_this_tools_things_only() {
    let document = agent(PLACE);
    for statement in document["Statement"].as_array().unwrap() {
        let resource = statement["Resource"].to_string();
        let sid = statement["Sid"].as_str().unwrap();
        match sid {
            // Auto Scaling's descriptions cannot be limited to resources.
            "Look" => {
                assert_eq!(resource, "\"*\"");
                for action in statement["Action"].as_array().unwrap() {
                    assert!(action.as_str().unwrap().contains(":Describe"));
                }
            }
            // Neither have the calls by which Session Manager reaches a machine.
            "Sessions" => {
                for action in statement["Action"].as_array().unwrap() {
                    let action = action.as_str().unwrap();
                    assert!(
                        action.starts_with("ssmmessages:")
                            || action == "ssm:UpdateInstanceInformation"
                    );
                }
            }
            "Groups" | "Templates" => assert_eq!(
                statement["Condition"],
                json!({ "StringLike": { "aws:ResourceTag/spawn:array": "array-*" } })
            ),
            _ => assert!(resource.contains("spawn-"), "{sid}: {resource}"),
        }
    }
    assert_eq!(
        document["Statement"][0],
        json!({
            "Sid": "Ledger",
            "Effect": "Allow",
            "Action": [
                "dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem",
                "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"
            ],
            "Resource": [
                "arn:aws:dynamodb:eu-west-1:123456789012:table/spawn-ledger",
                "arn:aws:dynamodb:eu-west-1:123456789012:table/spawn-ledger/index/*"
            ]
        })
    );
    assert_eq!(
        document["Statement"][4]["Resource"],
        "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:*:autoScalingGroupName/spawn-array-*"
    );
}

#[test]
fn one_role_for_one_set() {
    let name = |text: &str| role(PLACE, &templates(text)).0;
    assert_eq!(
        name("s3:FullAccess,sqs:ReadOnly"),
        name("sqs:ReadOnly,s3:FullAccess,s3:FullAccess")
    );
    assert_ne!(name("s3:FullAccess"), name("s3:ReadOnly"));
    assert_ne!(name("s3:FullAccess"), role(PLACE, &[]).0);
    let elsewhere = Place {
        region: "us-east-1",
        ..PLACE
    };
    assert_ne!(role(PLACE, &[]).0, role(elsewhere, &[]).0);
    let (name, policies) = role(PLACE, &[]);
    assert!(name.starts_with("spawn-eu-west-1-") && name.len() <= names::MAX_ROLE);
    assert_eq!(policies.len(), 1);
}

#[test]
fn all_grants_together_fit_a_role() {
    let all: Vec<String> = SERVICES
        .iter()
        .flat_map(|s| ["FullAccess", "ReadOnly", "WriteOnly"].map(|a| format!("{s}:{a}")))
        .collect();
    let (_, policies) = role(PLACE, &templates(&all.join(",")));
    let size: usize = policies.iter().map(|(_, text)| text.len()).sum();
    assert!(size < MAX_INLINE, "{size}");
}
