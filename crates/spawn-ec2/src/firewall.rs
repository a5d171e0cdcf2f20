//! The security group of the machines: nothing comes in, anything goes out.
//!
//! One in a network, shared by all arrays. A new group has no inbound rules; one that has got some
//! since is refused.

use spawn_aws::client::{AwsError, Call, Client, EC2, ErrorKind, Safety};

/// Its name, unique in a network.
pub const NAME: &str = "spawn-machines";

/// The id of the network's group; nothing if there is none. One that lets something in is
/// [`ErrorKind::Conflict`].
///
/// # Errors
/// See [`AwsError`].
pub fn find(client: &Client, vpc: &str) -> Result<Option<String>, AwsError> {
    let operation = "DescribeSecurityGroups";
    let fields = [
        ("Filter.1.Name", "group-name"),
        ("Filter.1.Value.1", NAME),
        ("Filter.2.Name", "vpc-id"),
        ("Filter.2.Value.1", vpc),
    ];
    let call = call(operation, Safety::Read, &fields);
    let answer = client.send(&call)?;
    let text = String::from_utf8_lossy(&answer.response.body);
    let Some(id) = group_id(&text) else {
        return Ok(None);
    };
    if lets_something_in(&text) {
        let words = format!("security group {id} (`{NAME}`) has inbound rules; remove them");
        return Err(call.error(ErrorKind::Conflict, words));
    }
    Ok(Some(id))
}

/// The id of the network's group, made if there is none.
///
/// # Errors
/// As [`find`].
pub fn ensure(client: &Client, vpc: &str) -> Result<String, AwsError> {
    if let Some(id) = find(client, vpc)? {
        return Ok(id);
    }
    let fields = [
        ("GroupName", NAME),
        (
            "GroupDescription",
            "Machines started by spawn. No inbound rules.",
        ),
        ("VpcId", vpc),
    ];
    // Repeatable, since a second one of the name is refused and then found.
    let call = call("CreateSecurityGroup", Safety::Repeatable, &fields);
    match client.send(&call) {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.response.body).into_owned();
            let nothing = || call.error(ErrorKind::Malformed, "the answer has no group id");
            group_id(&text).ok_or_else(nothing)
        }
        Err(e) if e.code == "InvalidGroup.Duplicate" => find(client, vpc)?.ok_or(e),
        Err(e) => Err(e),
    }
}

/// The ids of the groups of our name in all networks of the region.
///
/// # Errors
/// See [`AwsError`].
pub fn find_all(client: &Client) -> Result<Vec<String>, AwsError> {
    let fields = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", NAME)];
    let answer = client.send(&call("DescribeSecurityGroups", Safety::Read, &fields))?;
    let text = String::from_utf8_lossy(&answer.response.body).into_owned();
    // One name is once in a network, and networks are few: there is one page.
    let mut ids: Vec<String> = text
        .split("<groupId>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</groupId>"))
        .map(|(id, _)| id.trim().to_owned())
        .filter(|id| id.starts_with("sg-"))
        .collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// Takes a group away; whether it was there. [`ErrorKind::Conflict`] while machines use it.
///
/// # Errors
/// See [`AwsError`].
pub fn remove(client: &Client, id: &str) -> Result<bool, AwsError> {
    let fields = [("GroupId", id)];
    match client.send(&call("DeleteSecurityGroup", Safety::Repeatable, &fields)) {
        Ok(_) => Ok(true),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn call(operation: &'static str, safety: Safety, fields: &[(&str, &str)]) -> Call {
    let mut form = format!("Action={operation}&Version=2016-11-15");
    for (key, value) in fields {
        form.push('&');
        form.push_str(key);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    form.push(char::from(byte));
                }
                _ => form.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    let mut call = Call::new(&EC2, operation, safety).header("content-type", kind);
    call.body = form.into_bytes().into();
    call
}

fn group_id(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<groupId>")?;
    let (id, _) = rest.split_once("</groupId>")?;
    let id = id.trim();
    id.starts_with("sg-").then(|| id.to_owned())
}

/// Whether the list of inbound rules is anything but empty.
fn lets_something_in(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("<ipPermissions>") else {
        return !text.contains("<ipPermissions/>") && !text.contains("<ipPermissions />");
    };
    let inside = rest
        .split_once("</ipPermissions>")
        .map(|(inside, _)| inside);
    inside.is_none_or(|inside| !inside.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let with =
            |rules: &str| format!("<R><i><item><groupId>sg-1</groupId>{rules}</item></i></R>");
        assert_eq!(group_id(&with("")).as_deref(), Some("sg-1"));
        assert_eq!(group_id("<securityGroupInfo/>"), None);
        for (rules, open) in [
            ("<ipPermissions/>", false),
            ("<ipPermissions />", false),
            ("<ipPermissions>\n </ipPermissions>", false),
            ("<ipPermissions><item/></ipPermissions>", true),
            // What is not said is not taken for safe.
            ("", true),
            ("<ipPermissions>", true),
        ] {
            assert_eq!(lets_something_in(&with(rules)), open, "{rules}");
        }
    }
}
