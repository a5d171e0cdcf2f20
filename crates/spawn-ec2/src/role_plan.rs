//! The role of a launch's machines: made for its grants, or one of the user's own.

use sha2::{Digest, Sha256};
use spawn_spec::{LaunchSpec, OnComplete};

use crate::facts::Facts;
use crate::plan::RolePlan;
use crate::policy_documents::{self, Place};
use crate::{names, standing};

/// The role that a launch asks for. Whether it has to be made is for the facts to say.
pub fn of(place: Place<'_>, spec: &LaunchSpec) -> RolePlan {
    let trust = policy_documents::trust().to_string();
    if let Some(name) = &spec.ec2.role {
        return RolePlan {
            profile: name.clone(),
            name: name.clone(),
            trust,
            policies: Vec::new(),
            managed: Vec::new(),
            is_given: true,
            is_new: false,
        };
    }
    let agent = policy_documents::agent(place).to_string();
    let mut policies = vec![(names::AGENT_POLICY.to_owned(), agent)];
    let tasks = policy_documents::tasks(&spec.iam_policies);
    policies.extend(tasks.map(|tasks| (names::TASK_POLICY.to_owned(), tasks.to_string())));
    let custom = spec.ec2.policy_document.clone();
    policies.extend(custom.map(|custom| (names::CUSTOM_POLICY.to_owned(), custom)));
    if spec.on_complete != OnComplete::Terminate {
        let grants = standing::machine_grants(place).to_string();
        policies.push((names::STANDING_POLICY.to_owned(), grants));
    }
    let mut managed: Vec<String> = spec
        .ec2
        .managed_policies
        .iter()
        .map(|policy| arn(place, policy))
        .collect();
    managed.sort_unstable();
    managed.dedup();
    let name = names::role(place.region, &digest(&policies, &managed));
    RolePlan {
        profile: name.clone(),
        name,
        trust,
        policies,
        managed,
        is_given: false,
        is_new: false,
    }
}

/// The same with what is known of it.
pub(crate) fn with(facts: &Facts, mut role: RolePlan) -> RolePlan {
    role.is_new = !role.is_given && !facts.has_role;
    if let Some(profile) = facts
        .given_role
        .as_ref()
        .and_then(|given| given.profile.as_ref())
    {
        role.profile.clone_from(profile);
    }
    role
}

/// Names of AWS's own policies are ARNs cut short.
fn arn(place: Place<'_>, policy: &str) -> String {
    match policy.starts_with("arn:") {
        true => policy.to_owned(),
        false => format!("arn:{}:iam::aws:policy/{policy}", place.partition),
    }
}

fn digest(policies: &[(String, String)], managed: &[String]) -> String {
    let mut digest = Sha256::new();
    let parts = policies
        .iter()
        .flat_map(|(name, document)| [name, document]);
    for part in parts.chain(managed) {
        digest.update(part);
        digest.update([0]);
    }
    let digest = digest.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Actions that the agent cannot do without.
pub const VITAL: [&str; 5] = [
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
    "s3:GetObject",
    "s3:PutObject",
];

/// Actions of the agent beside these; without them machines end at the TTL only, or later than
/// they could.
pub const USEFUL: [&str; 8] = [
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:SuspendProcesses",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "dynamodb:BatchGetItem",
    "dynamodb:PutItem",
    "ec2:DeleteLaunchTemplate",
    "s3:ListBucket",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::tests::spec;

    const PLACE: Place<'_> = Place {
        partition: "aws",
        account: "123456789012",
        region: "eu-west-1",
    };

    fn of(fields: serde_json::Value) -> RolePlan {
        super::of(PLACE, &spec(fields))
    }

    #[test]
    fn one_set_of_grants_is_one_role() {
        let custom = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let all = [
            json!({}),
            json!({ "iam_policies": ["s3:FullAccess"] }),
            json!({ "iam_policies": ["s3:FullAccess", "sqs:FullAccess"] }),
            json!({ "ec2": { "policy_document": custom } }),
            json!({ "ec2": { "managed_policies": ["AmazonS3ReadOnlyAccess"] } }),
            json!({ "on_complete": "stop" }),
        ];
        let mut names: Vec<String> = all.iter().map(|f| of(f.clone()).name).collect();
        assert_eq!(
            names,
            all.iter().map(|f| of(f.clone()).name).collect::<Vec<_>>()
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len(), "each has a role of its own");
    }

    #[test]
    fn managed_policies_are_arns_once_and_in_any_order() {
        let own = "arn:aws:iam::123456789012:policy/mine";
        let one = of(json!({ "ec2": { "managed_policies": [own, "service-role/X", own] } }));
        assert_eq!(
            one.managed,
            [
                "arn:aws:iam::123456789012:policy/mine",
                "arn:aws:iam::aws:policy/service-role/X"
            ]
        );
        let other = of(json!({ "ec2": { "managed_policies": ["service-role/X", own] } }));
        assert_eq!(one, other);
    }

    #[test]
    fn a_custom_document_is_a_policy_of_its_own() {
        let custom = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let role = of(json!({ "ec2": { "policy_document": custom } }));
        let last = role.policies.last().unwrap();
        assert_eq!(
            (last.0.as_str(), last.1.as_str()),
            (names::CUSTOM_POLICY, custom)
        );
    }

    #[test]
    fn a_role_of_the_users_is_used_as_it_is() {
        let role = of(json!({ "ec2": { "role": "mine" } }));
        assert!(role.is_given && role.policies.is_empty());
        assert_eq!(
            (role.name.as_str(), role.profile.as_str()),
            ("mine", "mine")
        );
        let mut facts = Facts::default();
        assert!(!with(&facts, role.clone()).is_new);
        facts.given_role = Some(crate::facts::GivenRole {
            profile: Some("carrier".to_owned()),
            ..Default::default()
        });
        assert_eq!(with(&facts, role).profile, "carrier");
    }
}
