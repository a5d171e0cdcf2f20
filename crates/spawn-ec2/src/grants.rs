//! What the person who launches needs to be allowed to do.

use serde_json::{Value, json};

/// The actions that a launch, the commands after it and its removal need.
pub const CALLER_ACTIONS: [&str; 56] = [
    "autoscaling:CreateAutoScalingGroup",
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteAutoScalingGroup",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeScheduledActions",
    "autoscaling:PutScheduledUpdateGroupAction",
    "autoscaling:ResumeProcesses",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:SuspendProcesses",
    "autoscaling:UpdateAutoScalingGroup",
    "dynamodb:BatchGetItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
    "ec2:CreateLaunchTemplate",
    "ec2:CreateTags",
    "ec2:DeleteLaunchTemplate",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeRegions",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ec2:RunInstances",
    "ec2:TerminateInstances",
    "iam:GetInstanceProfile",
    "iam:GetPolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListInstanceProfilesForRole",
    "iam:PassRole",
    "iam:SimulatePrincipalPolicy",
    "pricing:GetProducts",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
    "scheduler:CreateSchedule",
    "scheduler:DeleteSchedule",
    "scheduler:GetSchedule",
    "scheduler:ListSchedules",
    "scheduler:UpdateSchedule",
    "servicequotas:GetServiceQuota",
    "ssm:GetParameters",
    "ssm:StartSession",
    "sts:GetCallerIdentity",
];

/// What else is needed where a role has to be made, or removed.
pub const ROLE_ACTIONS: [&str; 12] = [
    "iam:AddRoleToInstanceProfile",
    "iam:AttachRolePolicy",
    "iam:CreateInstanceProfile",
    "iam:CreateRole",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:PutRolePolicy",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:TagInstanceProfile",
    "iam:TagRole",
];

/// What else is needed to set up an account and region, or to remove all of it.
pub const SETUP_ACTIONS: [&str; 15] = [
    "dynamodb:CreateTable",
    "dynamodb:DeleteTable",
    "dynamodb:TagResource",
    "dynamodb:UpdateContinuousBackups",
    "dynamodb:UpdateTimeToLive",
    "ec2:CreateSecurityGroup",
    "ec2:DeleteSecurityGroup",
    // Auto Scaling and spot capacity have roles of their own, made at their first use in an account.
    "iam:CreateServiceLinkedRole",
    "iam:ListRoles",
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
];

/// All of it as a policy document.
pub fn policy() -> Value {
    let statement = |sid: &str, actions: &[&str]| json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": "*" });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            statement("Launch", &CALLER_ACTIONS),
            statement("Roles", &ROLE_ACTIONS),
            statement("SetUp", &SETUP_ACTIONS),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order_and_name_each_action_once() {
        let all = [&CALLER_ACTIONS[..], &ROLE_ACTIONS, &SETUP_ACTIONS];
        for list in all {
            assert!(list.is_sorted());
        }
        let mut all = all.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        // A customer-managed policy has 6,144 characters, blanks aside.
        assert!(policy().to_string().len() < 6_144);
    }
}
