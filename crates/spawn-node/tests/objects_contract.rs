//! What every store of objects keeps to, in memory and in the embedded S3.

mod world;

use std::collections::BTreeMap;

use spawn_node::objects::S3Objects;
use spawn_ports::objects::{ObjectError, ObjectInfo, Objects};
use world::World;

/// Objects in a map.
#[derive(Default)]
struct MemoryObjects(BTreeMap<String, Vec<u8>>);

impl Objects for MemoryObjects {
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), ObjectError> {
        self.0.insert(name.to_owned(), content.to_owned());
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        Ok(self.0.get(name).cloned())
    }

    fn list(&mut self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let found = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        let info = |(name, content): (&String, &Vec<u8>)| ObjectInfo {
            name: name.clone(),
            size: content.len() as u64,
        };
        Ok(found.map(info).collect())
    }

    fn delete(&mut self, name: &str) -> Result<(), ObjectError> {
        self.0.remove(name);
        Ok(())
    }
}

fn names(objects: &mut dyn Objects, prefix: &str) -> Vec<String> {
    let listed = objects.list(prefix).unwrap();
    listed.into_iter().map(|info| info.name).collect()
}

fn contract(objects: &mut dyn Objects) {
    assert_eq!(objects.get("a").unwrap(), None);
    assert_eq!(objects.list("").unwrap(), []);
    objects.delete("a").unwrap();

    // Bytes come back as they are, the empty ones too, and a later put wins as a whole.
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    objects.put("a", &bytes).unwrap();
    assert_eq!(objects.get("a").unwrap(), Some(bytes));
    objects.put("a", b"").unwrap();
    assert_eq!(objects.get("a").unwrap(), Some(Vec::new()));

    // Names are text, a name may be the start of another, and none is mangled.
    let odd = ["a/b", "a/b/c", "a b+c%20d&e=f", "ä/\u{1F980}", "a//b", "ab"];
    for name in odd {
        objects.put(name, name.as_bytes()).unwrap();
    }
    for name in odd {
        let content = objects.get(name).unwrap();
        assert_eq!(content.as_deref(), Some(name.as_bytes()), "{name}");
    }
    assert_eq!(
        names(objects, ""),
        [
            "a",
            "a b+c%20d&e=f",
            "a//b",
            "a/b",
            "a/b/c",
            "ab",
            "ä/\u{1F980}"
        ]
    );
    assert_eq!(names(objects, "a/"), ["a//b", "a/b", "a/b/c"]);
    assert_eq!(names(objects, "ä"), ["ä/\u{1F980}"]);
    let info = ObjectInfo {
        name: "a//b".to_owned(),
        size: 4,
    };
    assert_eq!(objects.list("a//").unwrap(), [info]);

    objects.delete("a/b").unwrap();
    assert_eq!(objects.get("a/b").unwrap(), None);
    assert_eq!(names(objects, "a/"), ["a//b", "a/b/c"]);

    // More than one page of any store.
    for n in 0..1100 {
        objects.put(&format!("many/{n:020}"), b"x").unwrap();
    }
    let many = names(objects, "many/");
    assert_eq!(many.len(), 1100);
    assert!(many.is_sorted());
}

#[test]
fn objects_in_memory() {
    contract(&mut MemoryObjects::default());
}

#[test]
fn objects_in_s3_below_a_prefix() {
    let world = World::new();
    let mut beside = S3Objects::new(world.client(), world.bucket(), "");
    beside.put("zoo", b"not ours").unwrap();
    contract(&mut S3Objects::new(world.client(), world.bucket(), "p/"));
    assert_eq!(names(&mut beside, "z"), ["zoo"]);
    assert_eq!(names(&mut beside, "p/many/").len(), 1100);
}

#[test]
fn what_may_pass_is_told_from_what_stays() {
    let world = World::new();
    let nowhere = spawn_aws::services::s3::Bucket::named("no-such-bucket");
    let error = S3Objects::new(world.client(), nowhere, "").put("a", b"");
    let error = error.unwrap_err();
    assert!(!error.is_passing, "{error}");
    assert!(
        error.to_string().contains("s3://no-such-bucket/a"),
        "{error}"
    );
    use spawn_aws::client::ErrorKind;
    assert!(spawn_node::objects::is_passing(ErrorKind::Network));
    assert!(!spawn_node::objects::is_passing(ErrorKind::Denied));
}
