//! What the machines may do: IAM documents from the templates of `--iam-policy`, and the agent's
//! own grants.
//!
//! A role is made once for each set of grants and is named by their digest, so a role that has its
//! name has its grants. Arrays that share a role trust each other.

use serde_json::{Value, json};
use spawn_spec::{Access, PolicyTemplate};

use crate::names;

/// The most characters that the inline policies of one role have, blanks aside.
pub const MAX_INLINE: usize = 10_240;

/// Who and where, as ARNs say it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`
    pub partition: &'a str,
    /// The account's twelve digits.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
}

/// Who may take the role: EC2, for its machines.
pub fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "ec2.amazonaws.com" },
            "Action": "sts:AssumeRole"
        }]
    })
}

/// The actions of a template.
pub fn actions(template: PolicyTemplate) -> Vec<String> {
    let service = template.service();
    let names: &[&str] = match (service, template.access()) {
        (_, Access::FullAccess) => &["*"],
        ("s3", Access::ReadOnly) => &["Get*", "List*"],
        ("s3", Access::WriteOnly) => &["AbortMultipartUpload", "Delete*", "Put*"],
        ("dynamodb", Access::ReadOnly) => &[
            "BatchGetItem",
            "ConditionCheckItem",
            "Describe*",
            "GetItem",
            "List*",
            "PartiQLSelect",
            "Query",
            "Scan",
        ],
        ("dynamodb", Access::WriteOnly) => &[
            "BatchWriteItem",
            "DeleteItem",
            "PartiQLDelete",
            "PartiQLInsert",
            "PartiQLUpdate",
            "PutItem",
            "UpdateItem",
        ],
        ("sqs", Access::ReadOnly) => &["Get*", "List*", "ReceiveMessage"],
        // A queue is written to by its URL, which has to be asked for.
        ("sqs", Access::WriteOnly) => &[
            "ChangeMessageVisibility",
            "DeleteMessage",
            "GetQueueUrl",
            "SendMessage",
        ],
        ("logs", Access::ReadOnly) => &[
            "Describe*",
            "FilterLogEvents",
            "Get*",
            "List*",
            "StartQuery",
            "StopQuery",
        ],
        ("logs", Access::WriteOnly) => &[
            "CreateLogGroup",
            "CreateLogStream",
            "DeleteLogGroup",
            "DeleteLogStream",
            "PutLogEvents",
            "PutRetentionPolicy",
        ],
        ("ecr", Access::ReadOnly) => &[
            "BatchCheckLayerAvailability",
            "BatchGetImage",
            "Describe*",
            "GetAuthorizationToken",
            "GetDownloadUrlForLayer",
            "List*",
        ],
        // A push signs in first, and asks which layers are there.
        ("ecr", Access::WriteOnly) => &[
            "BatchCheckLayerAvailability",
            "BatchDeleteImage",
            "CompleteLayerUpload",
            "GetAuthorizationToken",
            "InitiateLayerUpload",
            "PutImage",
            "UploadLayerPart",
        ],
        ("secretsmanager", Access::ReadOnly) => &[
            "BatchGetSecretValue",
            "DescribeSecret",
            "GetSecretValue",
            "List*",
        ],
        ("secretsmanager", Access::WriteOnly) => &[
            "CreateSecret",
            "DeleteSecret",
            "PutSecretValue",
            "TagResource",
            "UpdateSecret",
        ],
        ("ssm", Access::ReadOnly) => &["DescribeParameters", "GetParameter*"],
        ("ssm", Access::WriteOnly) => &[
            "AddTagsToResource",
            "DeleteParameter",
            "DeleteParameters",
            "LabelParameterVersion",
            "PutParameter",
        ],
        // `SERVICES` has no other; one that is new grants nothing until it is written here.
        _ => &[],
    };
    names
        .iter()
        .map(|name| format!("{service}:{name}"))
        .collect()
}

/// What the tasks may do; nothing if no template was named.
pub fn tasks(templates: &[PolicyTemplate]) -> Option<Value> {
    let mut templates = templates.to_vec();
    templates.sort();
    templates.dedup();
    let statements: Vec<Value> = templates
        .iter()
        .map(|template| {
            json!({
                "Sid": sid(*template),
                "Effect": "Allow",
                "Action": actions(*template),
                "Resource": "*"
            })
        })
        .collect();
    (!statements.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn sid(template: PolicyTemplate) -> String {
    format!("{}{:?}", template.service(), template.access())
}

/// What the agent needs: this tool's table, bucket and groups, and nothing else.
pub fn agent(place: Place<'_>) -> Value {
    let Place {
        partition,
        account,
        region,
    } = place;
    let bucket = names::bucket(account, region);
    let table = format!(
        "arn:{partition}:dynamodb:{region}:{account}:table/{}",
        names::TABLE
    );
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Ledger",
                "Effect": "Allow",
                "Action": [
                    "dynamodb:BatchGetItem",
                    "dynamodb:ConditionCheckItem",
                    "dynamodb:DeleteItem",
                    "dynamodb:GetItem",
                    "dynamodb:PutItem",
                    "dynamodb:Query",
                    "dynamodb:UpdateItem"
                ],
                "Resource": [table, format!("{table}/index/*")]
            },
            {
                "Sid": "ReadObjects",
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": format!("arn:{partition}:s3:::{bucket}/*")
            },
            {
                "Sid": "WriteObjects",
                "Effect": "Allow",
                "Action": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"],
                "Resource": format!("arn:{partition}:s3:::{bucket}/arrays/*")
            },
            {
                "Sid": "ListObjects",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": format!("arn:{partition}:s3:::{bucket}")
            },
            {
                "Sid": "Groups",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DeleteAutoScalingGroup",
                    "autoscaling:DeleteScheduledAction",
                    "autoscaling:PutScheduledUpdateGroupAction",
                    "autoscaling:SetDesiredCapacity",
                    "autoscaling:SuspendProcesses",
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                    "autoscaling:UpdateAutoScalingGroup"
                ],
                "Resource": format!(
                    "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/spawn-array-*"
                ),
                "Condition": { "StringLike": { "aws:ResourceTag/spawn:array": "array-*" } }
            },
            {
                "Sid": "Templates",
                "Effect": "Allow",
                "Action": ["ec2:DeleteLaunchTemplate"],
                "Resource": format!("arn:{partition}:ec2:{region}:{account}:launch-template/*"),
                "Condition": { "StringLike": { "aws:ResourceTag/spawn:array": "array-*" } }
            },
            {
                "Sid": "Sessions",
                "Effect": "Allow",
                "Action": [
                    "ssm:UpdateInstanceInformation",
                    "ssmmessages:CreateControlChannel",
                    "ssmmessages:CreateDataChannel",
                    "ssmmessages:OpenControlChannel",
                    "ssmmessages:OpenDataChannel"
                ],
                "Resource": "*"
            },
            {
                "Sid": "Look",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeScalingActivities",
                    "autoscaling:DescribeScheduledActions"
                ],
                "Resource": "*"
            }
        ]
    })
}

#[cfg(test)]
#[path = "policy_documents_tests.rs"]
mod tests;
