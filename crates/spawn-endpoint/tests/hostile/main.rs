//! Whoever can connect can send anything. None of it is stored, none of it changes or removes what
//! is there, and the endpoint goes on.
//!
//! Each case is one request, with the answer that it must meet. After each of them everything that
//! the endpoint keeps is read and compared with what it was.

#[path = "../client/mod.rs"]
mod client;
mod message;
mod names;
mod pages;
mod presigned;
mod services;
mod signatures;
mod uploads;
mod wire;
mod world;

use std::collections::BTreeSet;

use client::encode;
use world::{Case, World};

type Cases = fn(&World) -> Vec<Case>;

const TABLES: [Cases; 7] = [
    signatures::cases,
    presigned::cases,
    services::cases,
    pages::cases,
    wire::cases,
    uploads::cases,
    names::cases,
];

fn meet(cases: Cases) {
    let world = World::new();
    let faults: Vec<String> = cases(&world)
        .iter()
        .filter_map(|case| world.check(case).err())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn there_are_many_cases_and_none_is_counted_twice() {
    let world = World::new();
    let mut names = BTreeSet::new();
    let mut sent = BTreeSet::new();
    for (table, cases) in TABLES.iter().enumerate() {
        for Case { name, bytes, .. } in cases(&world) {
            assert!(
                names.insert((table, name.clone())),
                "two are called `{name}`"
            );
            assert!(sent.insert(bytes), "`{name}` sends what another has sent");
        }
    }
    assert!(sent.len() >= 150, "{} cases", sent.len());
}
#[test]
fn signatures_are_by_the_key_for_the_request() {
    meet(signatures::cases);
}

#[test]
fn presigned_urls_are_good_for_what_they_say() {
    meet(presigned::cases);
}

#[test]
fn other_services_are_as_strict() {
    meet(services::cases);
}

#[test]
fn web_pages_get_nothing_done() {
    meet(pages::cases);
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    meet(wire::cases);
}

#[test]
fn bodies_are_what_was_said_of_them() {
    meet(uploads::cases);
}

#[test]
fn names_that_are_none_are_refused() {
    meet(names::cases);
}

#[test]
fn keys_are_kept_exactly_and_make_no_files_elsewhere() {
    let world = World::new();
    let outside = || {
        let home = world.endpoint.dir.parent().unwrap();
        let entries = std::fs::read_dir(home).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let before = outside();
    for key in names::kept() {
        let path = format!("/bkt/{}", encode(&key, "/"));
        let put = world.draft("PUT", &path).body(key.as_bytes()).signed();
        let answer = world.send(&put.bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{key:?}: {}", answer.text());
        let get = world.draft("GET", &path).signed();
        let got = world.send(&get.bytes()).expect("an answer").ok();
        assert_eq!(got.text(), key);
        let list = world
            .draft("GET", "/bkt")
            .query("encoding-type", "url")
            .signed();
        let listed = world
            .send(&list.bytes())
            .expect("an answer")
            .ok()
            .elements("Key");
        let decoded: Vec<_> = listed.iter().map(|key| decode(key)).collect();
        assert_eq!(decoded.len(), 2, "{key:?}: {decoded:?}");
        assert!(
            decoded.contains(&key.as_bytes().to_vec()),
            "{key:?}: {decoded:?}"
        );
        assert_eq!(outside(), before, "{key:?}");
        let delete = world.draft("DELETE", &path).signed();
        world.send(&delete.bytes()).expect("an answer").ok();
        assert_eq!(world.changes(), None, "{key:?}");
    }
}

#[test]
fn whole_streams_are_stored() {
    let world = World::new();
    for message in uploads::whole(&world) {
        let answer = world.send(&message.bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let get = world.draft("GET", "/bkt/new").signed();
        assert_eq!(
            world.send(&get.bytes()).expect("an answer").ok().text(),
            "new"
        );
        let delete = world.draft("DELETE", "/bkt/new").signed();
        world.send(&delete.bytes()).expect("an answer").ok();
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    decoded
}
