//! SSM's parameters, those of AWS that name current images among them.

use serde::Deserialize;
use serde_json::json;

use crate::client::{AwsError, Client, SSM, Safety, Service, json_call};

const API: (&Service, &str, &str) = (&SSM, "AmazonSSM", "1.1");

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value; encrypted ones come decrypted.
    pub value: String,
    /// Its version.
    #[serde(default)]
    pub version: i64,
}

/// `GetParameter`. [`crate::client::ErrorKind::NotFound`]: `ParameterNotFound`.
///
/// # Errors
/// See [`AwsError`].
pub fn get_parameter(client: &Client, name: &str) -> Result<Parameter, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        parameter: Parameter,
    }
    let request = json!({ "Name": name, "WithDecryption": true });
    json_call::<Answer>(client, API, "GetParameter", Safety::Read, &request).map(|a| a.parameter)
}

/// `GetParameters`: those that exist, whatever their number; ten a call.
///
/// # Errors
/// See [`AwsError`].
pub fn get_parameters(client: &Client, names: &[&str]) -> Result<Vec<Parameter>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        parameters: Vec<Parameter>,
    }
    let mut found = Vec::new();
    for names in names.chunks(10) {
        let request = json!({ "Names": names, "WithDecryption": true });
        let answer: Answer = json_call(client, API, "GetParameters", Safety::Read, &request)?;
        found.extend(answer.parameters);
    }
    Ok(found)
}
