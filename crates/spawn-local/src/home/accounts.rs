//! Names of users and groups, from the files that every system has. Not from the system's library:
//! what runs on machines of EC2 is static, and that library loads others.

use std::fs;

/// A user's name.
pub(super) fn user(id: u32) -> Option<String> {
    let [name, ..] = fields("/etc/passwd", id)?;
    Some(name)
}

/// A group's name, and those whom it names as its members.
pub(super) fn group(id: u32) -> Option<(String, Vec<String>)> {
    let [name, _, _, members] = fields("/etc/group", id)?;
    let members = members.split(',').filter(|member| !member.is_empty());
    Some((name, members.map(str::to_owned).collect()))
}

/// The first four fields of the line whose third is this number.
fn fields(file: &str, id: u32) -> Option<[String; 4]> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.splitn(5, ':').map(|field| field.trim().to_owned());
        let found = [
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        ];
        (found[2].parse() == Ok(id)).then_some(found)
    })
}
