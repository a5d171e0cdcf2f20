//! What is wrong with a parameter file is said in one line, with the place and what to do.

use std::fs;

use place::{Place, check_refusals};

mod place;

#[test]
fn yaml_and_its_rows() {
    check_refusals(&[
        (
            "p.yaml",
            "",
            "`p.yaml`: is empty",
            "write one row for each task",
        ),
        (
            "p.yaml",
            "# only\n",
            "`p.yaml`: is empty",
            "write one row for each task",
        ),
        (
            "p.yaml",
            "---\n",
            "`p.yaml`: is empty",
            "write one row for each task",
        ),
        (
            "p.yaml",
            "- a\n",
            "p.yaml:1:1: the file is a list; expected a map with `params` or `grid`",
            "write `params:` with a list of rows, one for each task",
        ),
        (
            "p.yaml",
            "hello\n",
            "p.yaml:1:1: the file is a single value; expected a map with `params` or `grid`",
            "write `params:` with a list of rows, one for each task",
        ),
        (
            "p.yaml",
            "params: []\n",
            "p.yaml:1:1: `params` is empty, so there are no tasks",
            "",
        ),
        (
            "p.yaml",
            "params:\n",
            "p.yaml:1:1: `params` is empty, so there are no tasks",
            "",
        ),
        (
            "p.yaml",
            "params: {a: 1}\n",
            "p.yaml:1:9: `params` is a map; expected a list of rows",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - 3\n",
            "p.yaml:2:5: a row is a single value; expected a map such as `lr: 0.1`",
            "",
        ),
        (
            "p.yaml",
            "params:\n  -\n",
            "p.yaml:2:4: a row is nothing; expected a map such as `lr: 0.1`",
            "",
        ),
        (
            "p.yaml",
            "defaults: 3\nparams: [{a: 1}]\n",
            "p.yaml:1:11: `defaults` is a single value; expected a map of settings",
            "",
        ),
        (
            "p.yaml",
            "defaults:\nparams: [{a: 1}]\n",
            "p.yaml:1:1: `defaults` has no value; expected a map of settings",
            "",
        ),
        (
            "p.yaml",
            "default: {}\nparams: [{a: 1}]\n",
            "p.yaml:1:1: `default` is not known here; expected `defaults`, `params`, `grid`, `name`, `user_data`, `user_data_file` or `command`",
            "did you mean `defaults`?",
        ),
        (
            "p.yaml",
            "ttl: 2h\nparams: [{a: 1}]\n",
            "p.yaml:1:1: `ttl` is not known here; expected it in `defaults`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {ttl: 2h}\n",
            "p.yaml:1:1: has neither `params` nor `grid`, so there are no tasks",
            "write `params:` with a list of rows, one for each task",
        ),
        (
            "p.yaml",
            "params:\n  - a: 1\n    a: 2\n",
            "p.yaml:3:5: `a` is given twice; first in line 2",
            "",
        ),
        (
            "p.yaml",
            "params: [{a: 1}]\nparams: [{a: 2}]\n",
            "p.yaml:2:1: `params` is given twice; first in line 1",
            "",
        ),
        (
            "p.yaml",
            "params:\n\t- a: 1\n",
            "p.yaml:2:1: a tab in the indentation, which YAML does not allow",
            "indent with spaces",
        ),
        (
            "p.yaml",
            "params:\n  - a: 1\n\tb: 2\n",
            "p.yaml:3:1: a tab in the indentation, which YAML does not allow",
            "indent with spaces",
        ),
        (
            "p.yaml",
            "params: [{a: 1}\n",
            "p.yaml:1:9: not YAML: unclosed bracket '['",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - a: 'x\n",
            "p.yaml:2:8: not YAML: unclosed quote",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - a: b: c\n",
            "p.yaml:2:9: not YAML: mapping values are not allowed in this context",
            "",
        ),
        (
            "p.yaml",
            "params:\n - a: @x\n",
            "p.yaml:2:7: not YAML: unexpected character: `@'",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - a: \"\\q\"\n",
            "p.yaml:2:8: not YAML: while parsing a quoted scalar, found unknown escape character",
            "",
        ),
        (
            "p.yaml",
            "params: [{a: 1}]\n---\nx: 1\n",
            "p.yaml:2:1: a second document; expected one",
            "put the rows of both into one `params`",
        ),
        (
            "p.yaml",
            "params: [{[a]: 1}]\n",
            "p.yaml:1:11: the key is a list or a map; expected a name",
            "",
        ),
        (
            "p.yaml",
            "params: [{<<: {a: 1}, b: 1}]\n",
            "p.yaml:1:11: `<<` merges are not read",
            "`defaults` gives a parameter to every row",
        ),
        (
            "p.yaml",
            "params: [{a: !secret x}]\n",
            "p.yaml:1:22: the tag `!secret` is not read",
            "",
        ),
        (
            "p.yaml",
            "params: [&a {a: *a}]\n",
            "p.yaml:1:17: the alias stands inside what it stands for",
            "",
        ),
        (
            "p.yaml",
            "params: [*no]\n",
            "p.yaml:1:10: not YAML: while parsing node, found unknown anchor",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  instance-typ: c7i.large\nparams: [{a: 1}]\n",
            "p.yaml:2:3: `instance-typ` is not a setting, and too close to one to be a parameter",
            "did you mean `instance_type`? A parameter needs another name",
        ),
        (
            "p.yaml",
            "params:\n  - tttl: 2h\n",
            "p.yaml:2:5: `tttl` is not a setting, and too close to one to be a parameter",
            "did you mean `ttl`? A parameter needs another name",
        ),
        (
            "p.yaml",
            "params:\n  - workers: 2\n",
            "p.yaml:2:5: `workers` is a setting of the whole array, not of a row",
            "put it into `defaults`, or give `--workers`; a parameter needs another name",
        ),
        (
            "p.yaml",
            "params:\n  - name: a\n  - name: b\n  - name: a\n",
            "p.yaml:4:11: the row's name `a` is given twice; first in line 2",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - name: \"\"\n",
            "p.yaml:2:11: the row's name is empty",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - name: [a]\n",
            "p.yaml:2:11: `name` is a list; expected the row's name",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - lr: 1\n    LR: 2\n",
            "p.yaml:3:5: `LR` and `lr` would both be the variable `LR`",
            "rename one of them",
        ),
        (
            "p.yaml",
            "params:\n  - a-b: 1\n    a_b: 2\n",
            "p.yaml:3:5: `a_b` and `a-b` would both be the variable `PARAM_a_b`",
            "rename one of them",
        ),
        (
            "p.yaml",
            "params:\n  - name: x\n    Name: 2\n",
            "p.yaml:3:5: `Name` and `name` would both be the variable `NAME`",
            "rename one of them",
        ),
        (
            "p.yaml",
            "params:\n  - \"\": 2\n",
            "p.yaml:2:5: the key is empty",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - a: \"x\\0y\"\n",
            "p.yaml:2:8: the value of `a` holds a zero byte, which no variable can",
            "",
        ),
        (
            "p.yaml",
            "params:\n  - spot_max_price: 0.1\n",
            "p.yaml:2:21: `spot_max_price` is only used with `spot`",
            "add `spot`, or leave out `spot_max_price`",
        ),
        (
            "p.yaml",
            "params: [{a: 1}]\ngrid: {a: [1]}\n",
            "p.yaml:1:11: `a` is in `params` and in `grid`; expected it in one of them",
            "",
        ),
        (
            "p.yaml",
            "grid: {a: 1}\n",
            "p.yaml:1:11: `grid.a` is a single value; expected a list of values",
            "",
        ),
        (
            "p.yaml",
            "grid: {a: []}\n",
            "p.yaml:1:8: `grid.a` is empty, so there are no tasks",
            "",
        ),
        (
            "p.yaml",
            "grid: {}\n",
            "p.yaml:1:1: `grid` is empty, so there are no tasks",
            "",
        ),
        (
            "p.yaml",
            "grid: [a]\n",
            "p.yaml:1:7: `grid` is a list; expected a map from keys to lists of values",
            "",
        ),
        (
            "p.yaml",
            "grid: {a: [1,2,3,4,5,6,7,8,9,0], b: [1,2,3,4,5,6,7,8,9,0], c: [1,2,3,4,5,6,7,8,9,0], d: [1,2,3,4,5,6,7,8,9,0], e: [1,2,3,4,5,6,7,8,9,0], f: [1,2]}\n",
            "p.yaml:1:1: there are 200000 rows, above the limit of 100000",
            "give each task several rows, or launch several arrays",
        ),
        (
            "p.yaml",
            "params: [{name: a}]\ngrid: {b: [1, 2]}\n",
            "p.yaml:1:17: the row's name `a` would be that of several tasks, since `grid` multiplies rows",
            "give them a parameter in place of a name",
        ),
    ]);
}

#[test]
fn json() {
    check_refusals(&[
        (
            "p.json",
            "",
            "`p.json`: is empty",
            "write one row for each task",
        ),
        (
            "p.json",
            "{",
            "p.json:1:1: not JSON: EOF while parsing an object",
            "",
        ),
        (
            "p.json",
            "{\"params\": [{\"a\": 1,}]}",
            "p.json:1:21: not JSON: key must be a string",
            "",
        ),
        (
            "p.json",
            "{\"params\":\n [{\"a\": 1, \"a\": 2}]}",
            "p.json:2:12: `a` is given twice; first in line 2",
            "",
        ),
        (
            "p.json",
            "[1]",
            "p.json:1:1: the file is a list; expected a map with `params` or `grid`",
            "write `params:` with a list of rows, one for each task",
        ),
        (
            "p.json",
            "{\"params\": [{\"a\": \"\\ud800\"}]}",
            "p.json:1:19: not JSON: unexpected end of hex escape",
            "",
        ),
        (
            "p.json",
            "{\"params\": [1]} x",
            "p.json:1:17: not JSON: trailing characters",
            "",
        ),
        (
            "p.json",
            "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
            "p.json:1:34: lists and maps stand more than 32 deep in each other",
            "",
        ),
    ]);
}

#[test]
fn csv() {
    check_refusals(&[
        (
            "p.csv",
            "",
            "`p.csv`: is empty",
            "write one row for each task",
        ),
        (
            "p.csv",
            "a,b\n",
            "p.csv:1:1: has a header and no rows, so there are no tasks",
            "write one row for each task",
        ),
        (
            "p.csv",
            "a,b\n1\n",
            "p.csv:2:1: the row has 1 field; the header has 2",
            "a cell with a comma in it needs quotes",
        ),
        (
            "p.csv",
            "a,b\n1,2\n1,2,3\n",
            "p.csv:3:1: the row has 3 fields; the header has 2",
            "a cell with a comma in it needs quotes",
        ),
        (
            "p.csv",
            "a,a\n1,2\n",
            "p.csv:1:3: `a` is given twice; first in line 1",
            "",
        ),
        ("p.csv", "a,\n1,2\n", "p.csv:1:3: the key is empty", ""),
        (
            "p.csv",
            "a,b\n1,\"x\n",
            "p.csv:2:3: the quote is never closed",
            "",
        ),
        (
            "p.csv",
            "a,b\n1,\"x\"y\n",
            "p.csv:2:3: text after a closing quote; a quote within quotes is written twice",
            "",
        ),
        (
            "p.csv",
            "a,workers\n1,2\n",
            "p.csv:1:3: `workers` is a setting of the whole array, not of a row",
            "put it into `defaults`, or give `--workers`; a parameter needs another name",
        ),
        (
            "p.csv",
            "a,spot\n1,2\n",
            "p.csv:2:3: `spot`: found `2`; expected `true` or `false`",
            "",
        ),
        (
            "p.csv",
            "a,name\n1,x\n2,x\n",
            "p.csv:3:3: the row's name `x` is given twice; first in line 2",
            "",
        ),
    ]);
}

#[test]
fn other_endings() {
    check_refusals(&[
        (
            "p.txt",
            "x",
            "`p.txt`: has no ending that says its format; expected `.yaml`, `.yml`, `.json` or `.csv`",
            "",
        ),
        (
            "p",
            "x",
            "`p`: has no ending that says its format; expected `.yaml`, `.yml`, `.json` or `.csv`",
            "",
        ),
    ]);
}

#[test]
fn a_script_that_a_file_names_and_that_is_not_there_is_told_with_its_line() {
    let file = "params: [{b: 1}]\nuser_data: \"@gone.sh\"\n";
    let place = Place::with(&[("below/p.yaml", file)]);
    let error = place.launch("--param-file below/p.yaml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "below/p.yaml:2:12: `user_data: below/gone.sh`: no such file"
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("a relative path in a file is looked up from the directory of that file")
    );
}

#[test]
fn what_is_no_file_of_text() {
    let place = Place::with(&[("x.sh", "echo\n")]);
    let write = |name: &str, bytes: &[u8]| fs::write(place.dir.path().join(name), bytes).unwrap();
    fs::create_dir(place.dir.path().join("dir.yaml")).unwrap();
    write("latin.yaml", b"params:\n  - a: \xe9\n");
    write("latin.csv", b"a\n\xff\n");
    write("latin.json", b"\xff");
    for (line, message) in [
        ("--param-file no.yaml -- ls", "`no.yaml`: no such file"),
        (
            "--param-file dir.yaml -- ls",
            "`dir.yaml`: is a directory; expected a file",
        ),
        (
            "--param-file latin.yaml -- ls",
            "latin.yaml:2:8: is not UTF-8",
        ),
        (
            "--param-file latin.csv -- ls",
            "latin.csv:2:1: is not UTF-8",
        ),
        (
            "--param-file latin.json -- ls",
            "latin.json:1:1: is not UTF-8",
        ),
        (
            "--param-file no.yaml --array 3 -- ls",
            "`--array` and `--param-file` each say how many tasks; expected one of them",
        ),
    ] {
        assert_eq!(place.refusal(line), message, "{line}");
    }
    let sparse = fs::File::create(place.dir.path().join("big.yaml")).unwrap();
    sparse.set_len((64 << 20) + 1).unwrap();
    assert_eq!(
        place.refusal("--param-file big.yaml -- ls"),
        "`big.yaml`: is larger than the limit of 64 MiB"
    );
}

#[test]
fn what_no_task_could_be_given() {
    let long = "x".repeat(100_001);
    let place = Place::with(&[
        ("value.yaml", &format!("params:\n  - a: {long}\n")),
        (
            "row.csv",
            &format!("a,b,c,d,e\n{}\n", [&long[1..]; 5].join(",")),
        ),
        ("rows.csv", &format!("a\n{}", "1\n".repeat(100_001))),
    ]);
    for (file, message) in [
        (
            "value.yaml",
            "value.yaml:2:8: the value of `a` has 100001 bytes, above the limit of 100000",
        ),
        (
            "row.csv",
            "row.csv:2:1: the values of the row have 500000 bytes in all, above the limit of 400000",
        ),
        (
            "rows.csv",
            "rows.csv:1:1: there are 100001 rows, above the limit of 100000",
        ),
    ] {
        assert_eq!(
            place.refusal(&format!("--param-file {file} -- ls")),
            message
        );
    }
}

#[test]
fn aliases_cannot_fill_the_memory() {
    let mut text = String::from("defaults:\n  x0: &x0 [a, a, a, a, a, a, a, a, a]\n");
    for n in 1..9 {
        let all = vec![format!("*x{}", n - 1); 9].join(", ");
        text.push_str(&format!("  x{n}: &x{n} [{all}]\n"));
    }
    text.push_str("params: [{a: 1}]\n");
    let place = Place::with(&[("p.yaml", &text)]);
    let refusal = place.refusal("--param-file p.yaml -- ls");
    assert!(refusal.ends_with("aliases repeat too much"), "{refusal}");
    let deep = format!("{{params: [{{a: {}{}}}]}}", "[".repeat(40), "]".repeat(40));
    for name in ["p.yaml", "p.json"] {
        let text = deep.replace("params", "\"params\"").replace("a:", "\"a\":");
        let place = Place::with(&[(name, &text)]);
        let refusal = place.refusal(&format!("--param-file {name} -- ls"));
        assert!(refusal.ends_with("deep in each other"), "{refusal}");
    }
}

#[test]
fn with_nothing_to_run_all_three_places_are_named() {
    let place = Place::with(&[("p.yaml", "params: [{a: 1}]\n")]);
    let error = place.launch("--param-file p.yaml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing to run: expected `--user-data`, `--user-data-file` or `-- COMMAND`, or `user_data`, \
         `user_data_file` or `command` in `p.yaml` or `spawn.toml`"
    );
}
