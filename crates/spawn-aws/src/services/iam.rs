//! IAM: the role of the machines, and what the caller may do.

use serde::Deserialize;
use serde_json::json;

use crate::client::{
    AwsError, Client, ErrorKind, IAM, Lists, Safety, Service, items, percent_decode,
    query_result_call,
};
use crate::services::{Tag, pages, repeated};

const API: (&Service, &str, Lists) = (&IAM, "2010-05-08", Lists::Member);

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Role {
    /// Its name.
    pub role_name: String,
    /// Its ARN.
    pub arn: String,
    /// `/` or a path.
    #[serde(default)]
    pub path: String,
    /// Who may assume it: a policy document, percent-encoded as AWS sends it.
    #[serde(default)]
    pub assume_role_policy_document: String,
}

impl Role {
    /// Who may assume it, as JSON text.
    #[must_use]
    pub fn trust(&self) -> String {
        percent_decode(&self.assume_role_policy_document)
    }
}

/// An instance profile: what carries a role to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceProfile {
    /// Its name.
    pub instance_profile_name: String,
    /// Its ARN.
    pub arn: String,
    /// Its role: none or one.
    #[serde(default, deserialize_with = "items")]
    pub roles: Vec<Role>,
}

/// A condition that IAM's answers have no result for.
fn done(
    client: &Client,
    operation: &'static str,
    safety: Safety,
    request: &serde_json::Value,
) -> Result<(), AwsError> {
    /// The metadata is there whether or not a result is.
    #[derive(Deserialize)]
    struct Empty {}
    crate::client::query_call::<Empty>(client, API, operation, safety, request).map(|_| ())
}

/// `CreateRole`. [`ErrorKind::AlreadyExists`]: `EntityAlreadyExists`, perhaps by one's own first
/// attempt. A new role cannot be used everywhere at once: some seconds pass.
///
/// # Errors
/// See [`AwsError`].
pub fn create_role(
    client: &Client,
    name: &str,
    trust: &str,
    description: &str,
    tags: &[Tag],
) -> Result<Role, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        role: Role,
    }
    let request = json!({
        "RoleName": name,
        "AssumeRolePolicyDocument": trust,
        "Description": Some(description).filter(|d| !d.is_empty()),
        "Tags": tags,
    });
    query_result_call::<Answer>(client, API, "CreateRole", Safety::Repeatable, &request)
        .map(|a| a.role)
}

/// `GetRole`; nothing if there is none (`NoSuchEntity`).
///
/// # Errors
/// See [`AwsError`].
pub fn get_role(client: &Client, name: &str) -> Result<Option<Role>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        role: Role,
    }
    let request = json!({ "RoleName": name });
    absent_is_none(
        query_result_call::<Answer>(client, API, "GetRole", Safety::Read, &request).map(|a| a.role),
    )
}

fn absent_is_none<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `PutRolePolicy`: makes or replaces an inline policy.
/// [`ErrorKind::Validation`]: `MalformedPolicyDocument`.
///
/// # Errors
/// See [`AwsError`].
pub fn put_role_policy(
    client: &Client,
    role: &str,
    policy: &str,
    document: &str,
) -> Result<(), AwsError> {
    let request = json!({ "RoleName": role, "PolicyName": policy, "PolicyDocument": document });
    done(client, "PutRolePolicy", Safety::Repeatable, &request)
}

/// `GetRolePolicy`: the JSON text of an inline policy; nothing if there is none.
///
/// # Errors
/// See [`AwsError`].
pub fn get_role_policy(
    client: &Client,
    role: &str,
    policy: &str,
) -> Result<Option<String>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        policy_document: String,
    }
    let request = json!({ "RoleName": role, "PolicyName": policy });
    absent_is_none(
        query_result_call::<Answer>(client, API, "GetRolePolicy", Safety::Read, &request)
            .map(|a| percent_decode(&a.policy_document)),
    )
}

/// `AttachRolePolicy`: a managed policy, by ARN. [`ErrorKind::NotFound`]: there is no such policy.
///
/// # Errors
/// See [`AwsError`].
pub fn attach_role_policy(client: &Client, role: &str, policy_arn: &str) -> Result<(), AwsError> {
    let request = json!({ "RoleName": role, "PolicyArn": policy_arn });
    done(client, "AttachRolePolicy", Safety::Repeatable, &request)
}

/// `GetPolicy`: whether there is a managed policy of this ARN.
///
/// # Errors
/// See [`AwsError`].
pub fn has_policy(client: &Client, policy_arn: &str) -> Result<bool, AwsError> {
    #[derive(Deserialize)]
    struct Answer {}
    let request = json!({ "PolicyArn": policy_arn });
    let answer = query_result_call::<Answer>(client, API, "GetPolicy", Safety::Read, &request);
    absent_is_none(answer).map(|found| found.is_some())
}

/// `DetachRolePolicy`: of a managed policy; one that is not attached is fine.
///
/// # Errors
/// See [`AwsError`].
pub fn detach_role_policy(client: &Client, role: &str, policy_arn: &str) -> Result<(), AwsError> {
    let request = json!({ "RoleName": role, "PolicyArn": policy_arn });
    let operation = "DetachRolePolicy";
    absent_is_none(done(client, operation, Safety::Repeatable, &request)).map(|_| ())
}

/// `ListAttachedRolePolicies`, all pages: the ARNs of the managed policies of a role; none of a role
/// that is not there.
///
/// # Errors
/// See [`AwsError`].
pub fn list_attached_role_policies(client: &Client, role: &str) -> Result<Vec<String>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Attached {
        policy_arn: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        attached_policies: Vec<Attached>,
        #[serde(default)]
        is_truncated: bool,
        marker: Option<String>,
    }
    let operation = "ListAttachedRolePolicies";
    let mut found = Vec::new();
    let listed = pages(
        |marker| {
            let request = json!({ "RoleName": role, "Marker": marker });
            let answer: Answer = query_result_call(client, API, operation, Safety::Read, &request)?;
            found.extend(answer.attached_policies.into_iter().map(|p| p.policy_arn));
            Ok(answer.marker.filter(|_| answer.is_truncated))
        },
        || repeated(&IAM, operation),
    );
    absent_is_none(listed)?;
    Ok(found)
}

/// `ListInstanceProfilesForRole`, the first page: the names of the profiles that carry a role.
///
/// # Errors
/// See [`AwsError`].
pub fn list_profiles_of_role(client: &Client, role: &str) -> Result<Vec<String>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        instance_profiles: Vec<InstanceProfile>,
    }
    let request = json!({ "RoleName": role });
    let operation = "ListInstanceProfilesForRole";
    let answer: Answer = query_result_call(client, API, operation, Safety::Read, &request)?;
    let profiles = answer.instance_profiles.into_iter();
    Ok(profiles.map(|p| p.instance_profile_name).collect())
}

/// `CreateInstanceProfile`. [`ErrorKind::AlreadyExists`]: `EntityAlreadyExists`.
///
/// # Errors
/// See [`AwsError`].
pub fn create_instance_profile(
    client: &Client,
    name: &str,
    tags: &[Tag],
) -> Result<InstanceProfile, AwsError> {
    let request = json!({ "InstanceProfileName": name, "Tags": tags });
    profile(
        client,
        "CreateInstanceProfile",
        Safety::Repeatable,
        &request,
    )
}

fn profile(
    client: &Client,
    operation: &'static str,
    safety: Safety,
    request: &serde_json::Value,
) -> Result<InstanceProfile, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        instance_profile: InstanceProfile,
    }
    query_result_call::<Answer>(client, API, operation, safety, request).map(|a| a.instance_profile)
}

/// `GetInstanceProfile`; nothing if there is none.
///
/// # Errors
/// See [`AwsError`].
pub fn get_instance_profile(
    client: &Client,
    name: &str,
) -> Result<Option<InstanceProfile>, AwsError> {
    let request = json!({ "InstanceProfileName": name });
    absent_is_none(profile(
        client,
        "GetInstanceProfile",
        Safety::Read,
        &request,
    ))
}

/// `AddRoleToInstanceProfile`. [`ErrorKind::Quota`]: `LimitExceeded`, the profile has a role,
/// perhaps this one.
///
/// # Errors
/// See [`AwsError`].
pub fn add_role_to_instance_profile(
    client: &Client,
    profile: &str,
    role: &str,
) -> Result<(), AwsError> {
    let request = json!({ "InstanceProfileName": profile, "RoleName": role });
    done(
        client,
        "AddRoleToInstanceProfile",
        Safety::Repeatable,
        &request,
    )
}

/// Takes a role and its profile away: `RemoveRoleFromInstanceProfile`, `DeleteInstanceProfile`,
/// `DeleteRolePolicy` of the named inline policies, `DeleteRole`; what is not there is passed over.
/// [`ErrorKind::Conflict`]: `DeleteConflict`, other policies are attached.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_role_and_profile(
    client: &Client,
    role: &str,
    profile: &str,
    inline_policies: &[&str],
) -> Result<(), AwsError> {
    let each = |operation, request| {
        absent_is_none(done(client, operation, Safety::Repeatable, &request)).map(|_| ())
    };
    each(
        "RemoveRoleFromInstanceProfile",
        json!({ "InstanceProfileName": profile, "RoleName": role }),
    )?;
    each(
        "DeleteInstanceProfile",
        json!({ "InstanceProfileName": profile }),
    )?;
    for policy in inline_policies {
        each(
            "DeleteRolePolicy",
            json!({ "RoleName": role, "PolicyName": policy }),
        )?;
    }
    each("DeleteRole", json!({ "RoleName": role }))
}

/// Whether one action would be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Simulated {
    /// `ec2:RunInstances`
    pub eval_action_name: String,
    /// `allowed`, `explicitDeny`, `implicitDeny`
    pub eval_decision: String,
}

/// `ListRoles`, all pages: the names of those that begin with `prefix`.
///
/// # Errors
/// See [`AwsError`].
pub fn list_role_names(client: &Client, prefix: &str) -> Result<Vec<String>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        role_name: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        roles: Vec<Listed>,
        #[serde(default)]
        is_truncated: bool,
        marker: Option<String>,
    }
    let operation = "ListRoles";
    let mut found = Vec::new();
    pages(
        |marker| {
            let request = json!({ "Marker": marker });
            let answer: Answer = query_result_call(client, API, operation, Safety::Read, &request)?;
            let names = answer.roles.into_iter().map(|role| role.role_name);
            found.extend(names.filter(|name| name.starts_with(prefix)));
            Ok(answer.marker.filter(|_| answer.is_truncated))
        },
        || repeated(&IAM, operation),
    )?;
    Ok(found)
}

/// `SimulatePrincipalPolicy` of a user or role on all resources, all pages. Policies of the
/// organization count only as far as AWS simulates them. [`ErrorKind::Denied`]: the caller may not
/// ask, which says nothing of the actions.
///
/// # Errors
/// See [`AwsError`].
pub fn simulate_principal_policy(
    client: &Client,
    principal_arn: &str,
    actions: &[&str],
) -> Result<Vec<Simulated>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default, deserialize_with = "items")]
        evaluation_results: Vec<Simulated>,
        #[serde(default)]
        is_truncated: bool,
        marker: Option<String>,
    }
    let operation = "SimulatePrincipalPolicy";
    let mut found = Vec::new();
    pages(
        |marker| {
            let request = json!({
                "PolicySourceArn": principal_arn,
                "ActionNames": actions,
                "Marker": marker,
            });
            let answer: Answer = query_result_call(client, API, operation, Safety::Read, &request)?;
            found.extend(answer.evaluation_results);
            Ok(answer.marker.filter(|_| answer.is_truncated))
        },
        || repeated(&IAM, operation),
    )?;
    Ok(found)
}
