//! The query protocols: requests as form fields, answers as XML.
//!
//! A request is any `Serialize` value whose names are those on the wire. EC2 flattens lists
//! (`InstanceId.1`), the other services write `Names.member.1`.

use serde::Serialize;
use serde_json::Value;

/// How lists are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// `Name.1`
    Flat,
    /// `Name.member.1`
    Member,
}

/// The form body of a call. Nulls are left out, and so are empty lists.
///
/// # Panics
/// `request` is not an object of plain data; every request type here is.
#[must_use]
pub fn form(action: &str, version: &str, lists: Lists, request: &impl Serialize) -> String {
    let mut fields = vec![
        ("Action".to_owned(), action.to_owned()),
        ("Version".to_owned(), version.to_owned()),
    ];
    let request = serde_json::to_value(request).expect("requests are plain data");
    flatten("", &request, lists, &mut fields);
    crate::client::percent::pairs(&fields)
}

fn flatten(name: &str, value: &Value, lists: Lists, out: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Bool(b) => out.push((name.to_owned(), b.to_string())),
        Value::Number(n) => out.push((name.to_owned(), n.to_string())),
        Value::String(s) => out.push((name.to_owned(), s.clone())),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let place = at + 1;
                let name = match lists {
                    Lists::Flat => format!("{name}.{place}"),
                    Lists::Member => format!("{name}.member.{place}"),
                };
                flatten(&name, item, lists, out);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, lists, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ec2_flattens_lists() {
        let request = json!({
            "InstanceId": ["i-1", "i-2"],
            "DryRun": true,
            "MaxCount": 3,
            "UserData": null,
            "SecurityGroupId": [],
            "TagSpecification": [
                { "ResourceType": "instance", "Tag": [{ "Key": "a b", "Value": "ä&=" }] }
            ]
        });
        assert_eq!(
            form("RunInstances", "2016-11-15", Lists::Flat, &request),
            "Action=RunInstances&Version=2016-11-15&DryRun=true&InstanceId.1=i-1&InstanceId.2=i-2\
             &MaxCount=3&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a%20b\
             &TagSpecification.1.Tag.1.Value=%C3%A4%26%3D"
        );
    }

    #[test]
    fn others_write_members() {
        let request = json!({ "Names": ["g"], "Policy": { "Overrides": [{ "T": "m7g.large" }] } });
        assert_eq!(
            form("X", "2011-01-01", Lists::Member, &request),
            "Action=X&Version=2011-01-01&Names.member.1=g&Policy.Overrides.member.1.T=m7g.large"
        );
    }
}
