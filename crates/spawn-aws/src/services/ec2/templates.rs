//! Launch templates.

use serde::Deserialize;
use serde_json::json;

use super::{API, Filter, LaunchData, TagSpecification, describe, page};
use crate::client::{AwsError, Client, ErrorKind, Safety, items, new_token, query_call};
use crate::services::Tag;

/// A launch template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LaunchTemplate {
    /// `lt-...`
    pub launch_template_id: String,
    /// Its name.
    pub launch_template_name: String,
    /// RFC 3339.
    pub create_time: String,
    /// The newest version.
    pub latest_version_number: u64,
    /// Tags.
    #[serde(deserialize_with = "items")]
    pub tag_set: Vec<Tag>,
}

/// `CreateLaunchTemplate`; carries a client token. `tags` are the template's own, those of its
/// machines are in `data`. [`ErrorKind::AlreadyExists`]:
/// `InvalidLaunchTemplateName.AlreadyExistsException`.
///
/// # Errors
/// See [`AwsError`].
pub fn create_launch_template(
    client: &Client,
    name: &str,
    data: &LaunchData,
    tags: &[Tag],
) -> Result<LaunchTemplate, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        launch_template: LaunchTemplate,
    }
    let own: Vec<TagSpecification> = (!tags.is_empty())
        .then(|| TagSpecification::new("launch-template", tags))
        .into_iter()
        .collect();
    let request = json!({
        "LaunchTemplateName": name,
        "ClientToken": new_token(client.clock()),
        "LaunchTemplateData": data,
        "TagSpecification": own,
    });
    let operation = "CreateLaunchTemplate";
    query_call::<Answer>(client, API, operation, Safety::Repeatable, &request)
        .map(|a| a.launch_template)
}

/// `DeleteLaunchTemplate` by name; whether it was there.
///
/// # Errors
/// See [`AwsError`].
pub fn delete_launch_template(client: &Client, name: &str) -> Result<bool, AwsError> {
    let request = json!({ "LaunchTemplateName": name });
    let operation = "DeleteLaunchTemplate";
    match query_call::<super::Done>(client, API, operation, Safety::Repeatable, &request) {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// `DescribeLaunchTemplates` that fit the filters, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_launch_templates(
    client: &Client,
    filters: &[Filter],
) -> Result<Vec<LaunchTemplate>, AwsError> {
    page!(Templates, "launchTemplates", LaunchTemplate);
    let request = json!({ "Filter": filters, "MaxResults": 200 });
    describe::<Templates>(client, "DescribeLaunchTemplates", &request)
}
