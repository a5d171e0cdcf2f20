//! The query protocol: a form in, XML out. Clients older than 2023 speak it.
//!
//! A form is read into the shape of the JSON protocol, and an answer in that shape is written as
//! XML, so that the operations know one protocol only.

use serde_json::{Map, Value, json};

use super::request::Input;
use crate::wire::escape;
use crate::{identifiers, percent};

/// The pairs of an `application/x-www-form-urlencoded` body.
pub(crate) fn decode_form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let decoded = |part: &str| {
        String::from_utf8_lossy(&percent::decode(&part.replace('+', " "))).into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// The operation and input of a form. The queue may be named by the path alone.
pub(super) fn read(body: &[u8], path: &str) -> (String, Input) {
    let mut tree = Map::new();
    for (name, value) in decode_form(body) {
        plant(&mut tree, &name.split('.').collect::<Vec<_>>(), value);
    }
    let operation = match tree.remove("Action") {
        Some(Value::String(action)) => action,
        _ => String::new(),
    };
    let mut input = reshape(tree);
    if !input.contains_key("QueueUrl") && path.len() > 1 {
        input.insert("QueueUrl".to_owned(), json!(path));
    }
    (operation, Input::new(input))
}

/// Puts `value` at the dotted `path`; numbers along it stay names for now.
fn plant(tree: &mut Map<String, Value>, path: &[&str], value: String) {
    match path {
        [] => {}
        [name] => {
            tree.insert((*name).to_owned(), Value::String(value));
        }
        [name, rest @ ..] => {
            let branch = tree.entry((*name).to_owned()).or_insert_with(|| json!({}));
            if let Value::Object(branch) = branch {
                plant(branch, rest, value);
            }
        }
    }
}

/// The numbered members of a list, in order.
fn numbered(value: Value) -> Vec<Value> {
    let Value::Object(map) = value else {
        return Vec::new();
    };
    let mut members: Vec<(u32, Value)> = map
        .into_iter()
        .filter_map(|(number, value)| Some((number.parse().ok()?, value)))
        .collect();
    members.sort_by_key(|(number, _)| *number);
    members.into_iter().map(|(_, value)| value).collect()
}

/// A list of name-value pairs as a map.
fn paired(value: Value, name: &str) -> Value {
    let pairs = numbered(value).into_iter().filter_map(|mut pair| {
        let key = pair.get(name)?.as_str()?.to_owned();
        Some((key, pair.get_mut("Value")?.take()))
    });
    Value::Object(pairs.collect())
}

fn reshape(tree: Map<String, Value>) -> Map<String, Value> {
    let mut input = Map::new();
    for (name, value) in tree {
        let (name, value) = match name.as_str() {
            "Attribute" => ("Attributes", paired(value, "Name")),
            "MessageAttribute" => ("MessageAttributes", paired(value, "Name")),
            "MessageSystemAttribute" => ("MessageSystemAttributes", paired(value, "Name")),
            "Tag" => ("Tags", paired(value, "Key")),
            "AttributeName" => ("AttributeNames", Value::Array(numbered(value))),
            "MessageAttributeName" => ("MessageAttributeNames", Value::Array(numbered(value))),
            "MessageSystemAttributeName" => {
                ("MessageSystemAttributeNames", Value::Array(numbered(value)))
            }
            "TagKey" => ("TagKeys", Value::Array(numbered(value))),
            "SendMessageBatchRequestEntry"
            | "DeleteMessageBatchRequestEntry"
            | "ChangeMessageVisibilityBatchRequestEntry" => {
                let entries = numbered(value).into_iter().map(|entry| match entry {
                    Value::Object(entry) => Value::Object(reshape(entry)),
                    other => other,
                });
                ("Entries", Value::Array(entries.collect()))
            }
            other => (other, value),
        };
        input.insert(name.to_owned(), value);
    }
    input
}

/// The answer to `operation` as XML.
pub(super) fn write(operation: &str, output: &Value) -> String {
    let mut result = String::new();
    if let Value::Object(fields) = output {
        for (name, value) in fields {
            field(&mut result, operation, name, value);
        }
    }
    format!(
        "<?xml version=\"1.0\"?><{operation}Response xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
         <{operation}Result>{result}</{operation}Result><ResponseMetadata><RequestId>{}</RequestId>\
         </ResponseMetadata></{operation}Response>",
        identifiers::uuid()
    )
}

fn element(xml: &mut String, name: &str, content: impl FnOnce(&mut String)) {
    xml.push_str(&format!("<{name}>"));
    content(xml);
    xml.push_str(&format!("</{name}>"));
}

/// Lists have no element of their own in this protocol: each member is one, in the singular.
fn field(xml: &mut String, operation: &str, name: &str, value: &Value) {
    let member = match name {
        "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
        "Messages" => "Message".to_owned(),
        "Successful" => format!("{operation}ResultEntry"),
        "Failed" => "BatchResultErrorEntry".to_owned(),
        "Attributes" => "Attribute".to_owned(),
        "MessageAttributes" => "MessageAttribute".to_owned(),
        "Tags" => "Tag".to_owned(),
        other => other.to_owned(),
    };
    match value {
        Value::Array(members) => {
            for value in members {
                element(xml, &member, |xml| content(xml, operation, value));
            }
        }
        Value::Object(map) if member != name => {
            let key = if name == "Tags" { "Key" } else { "Name" };
            for (entry, value) in map {
                element(xml, &member, |xml| {
                    element(xml, key, |xml| xml.push_str(&escape(entry)));
                    element(xml, "Value", |xml| content(xml, operation, value));
                });
            }
        }
        _ => element(xml, name, |xml| content(xml, operation, value)),
    }
}

fn content(xml: &mut String, operation: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, value)| field(xml, operation, name, value));
        }
        Value::String(text) => xml.push_str(&escape(text)),
        Value::Null => {}
        other => xml.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_input_of_the_json_protocol() {
        let form = b"Action=SendMessageBatch&Version=2012-11-05\
            &SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.2.MessageBody=x+%26+y\
            &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=1\
            &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
            &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String\
            &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=v";
        let (operation, input) = read(form, "/123456789012/jobs");
        assert_eq!(operation, "SendMessageBatch");
        assert_eq!(input.queue_name().as_deref(), Some("jobs"));
        let entries = input.entries().unwrap();
        assert_eq!(entries[0].0, "a");
        assert_eq!(entries[1].1.text("MessageBody"), Some("x & y"));
        let attributes = entries[0].1.object("MessageAttributes").unwrap();
        assert_eq!(
            attributes["n"],
            json!({ "DataType": "String", "StringValue": "v" })
        );
    }

    #[test]
    fn lists_and_maps_become_repeated_elements() {
        let xml = write(
            "ReceiveMessage",
            &json!({ "Messages": [{ "Body": "<a>", "Attributes": { "SenderId": "me" } }] }),
        );
        assert!(xml.contains(
            "<ReceiveMessageResult><Message><Attributes>"
        ) || xml.contains(
            "<Message><Attribute><Name>SenderId</Name><Value>me</Value></Attribute><Body>&lt;a&gt;</Body></Message>"
        ), "{xml}");
    }
}
