//! Any bytes are read or refused, and any text that a file holds arrives as it is.

use std::collections::BTreeMap;
use std::fs;

use place::Place;
use proptest::prelude::*;

mod place;

/// Bytes in the shape of files: what a parser sees most of must not be refused at once.
fn likely(alphabet: &'static str) -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = alphabet.split('~').collect();
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

fn read(place: &Place, name: &str, bytes: &[u8]) {
    fs::write(place.dir.path().join(name), bytes).unwrap();
    let _ = place.launch_words(&["--param-file", name, "--", "ls"]);
}

/// Keys that are no settings and become variables of their own.
fn parameters() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = "[a-z]{1,6}[0-9]{3}";
    let value = any::<String>().prop_map(|text| text.replace('\0', "0"));
    prop::collection::btree_map(key, value, 1..5)
}

fn round_trips(name: &str, text: &str, rows: &[BTreeMap<String, String>]) {
    let place = Place::with(&[(name, text)]);
    let found = place.launch_words(&["--param-file", name, "--", "ls"]);
    let found = found.unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(found.rows.len(), rows.len());
    for (row, expected) in found.rows.iter().zip(rows) {
        let params: BTreeMap<_, _> = row.params.iter().cloned().collect();
        assert_eq!(&params, expected, "{text:?}");
        for (key, value) in expected {
            for variable in [format!("PARAM_{key}"), key.to_uppercase()] {
                assert!(row.vars.contains(&(variable, value.clone())), "{key}");
            }
        }
    }
}

fn json_of(rows: &[BTreeMap<String, String>]) -> String {
    serde_json::json!({ "params": rows }).to_string()
}

/// As Python writes it: ASCII only, with surrogate pairs.
fn ascii(json: &str) -> String {
    let mut out = String::new();
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

/// Double-quoted, with everything unusual escaped.
fn yaml_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

fn yaml_of(rows: &[BTreeMap<String, String>]) -> String {
    let mut out = String::from("params:\n");
    for row in rows {
        let mut dash = "-";
        for (key, value) in row {
            out.push_str(&format!("{dash} {key}: {}\n", yaml_quoted(value)));
            dash = " ";
        }
    }
    out
}

fn csv_of(keys: &[String], rows: &[BTreeMap<String, String>]) -> String {
    let mut out = keys.join(",") + "\r\n";
    for row in rows {
        let cells = keys
            .iter()
            .map(|key| format!("\"{}\"", row[key].replace('"', "\"\"")));
        out.push_str(&cells.collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text: String) {
        let place = Place::with(&[]);
        for name in ["p.yaml", "p.json", "p.csv", "spawn.toml"] {
            read(&place, name, &bytes);
            read(&place, name, text.as_bytes());
        }
    }

    #[test]
    fn any_text_survives_json_and_yaml(rows in prop::collection::vec(parameters(), 1..4)) {
        let json = json_of(&rows);
        round_trips("p.json", &json, &rows);
        round_trips("p.json", &ascii(&json), &rows);
        round_trips("p.yaml", &yaml_of(&rows), &rows);
    }

    #[test]
    fn any_text_survives_csv(first in parameters(), values in prop::collection::vec(any::<String>(), 0..20)) {
        let keys: Vec<String> = first.keys().cloned().collect();
        let mut rows = vec![first.clone()];
        for cells in values.chunks_exact(keys.len()) {
            let cells = cells.iter().map(|cell| cell.replace('\0', "0"));
            rows.push(keys.iter().cloned().zip(cells).collect());
        }
        round_trips("p.csv", &csv_of(&keys, &rows), &rows);
    }

    #[test]
    fn json_is_what_others_take_for_json(text in likely("{~}~[~]~,~:~\"params\"~\"a\"~1~0.5~-~e~\"\\u00e9\"~null~true~ ~\n~\t~'~#")) {
        // A map or a list below `params` is read if and only if it is JSON.
        let whole = format!("{{\"params\": [{{\"k\": {text}}}]}}");
        let valid = serde_json::from_str::<serde_json::Value>(&whole).is_ok();
        let place = Place::with(&[("p.json", &whole)]);
        let found = place.launch("--param-file p.json -- ls");
        if let Err(error) = &found {
            let told = error.to_string().contains("not JSON");
            let twice = error.to_string().contains("given twice");
            prop_assert_eq!(told, !valid, "{}: {}", whole, error);
            prop_assert!(told || twice || !valid, "{}: {}", whole, error);
        } else {
            prop_assert!(valid, "{}", whole);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_likely_file_is_read_or_refused(
        yaml in likely("params:~grid:~defaults:~- ~: ~a~b~1~\n~\n  ~\n- ~  ~\t~[~]~{~}~,~&x ~*x~!!str ~!t ~|~>~\"~'~#~ttl: 2h~name: n~---~...~<<: ~%YAML 1.2~\\~\u{e9}~\u{feff}~? "),
        csv in likely("a~,~\n~\r~\"~\"\"~ ~name~ttl~\u{e9}"),
        toml in likely("[launch]~[~]~=~\n~\"~'~ttl~env~tags~.~{~}~,~1~true~spot~2020-01-01~#~\\~\u{e9}"),
    ) {
        let place = Place::with(&[]);
        read(&place, "p.yaml", yaml.as_bytes());
        read(&place, "p.csv", csv.as_bytes());
        fs::write(place.dir.path().join("spawn.toml"), &toml).unwrap();
        let _ = place.launch("-- ls");
    }
}
