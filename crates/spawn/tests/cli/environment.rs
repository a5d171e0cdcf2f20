//! `spawn env` in a real shell.

use crate::support::{Output, World};

/// Prints what a shell would have been changed by: PATH, and all of AWS's and ours.
const SHOW: &str =
    "show() { env -0 | LC_ALL=C sort -z | grep -z -a -E '^(PATH|AWS_|SPAWN_|NO_PROXY|no_proxy)'; }";

fn bash(world: &World, script: &str) -> Output {
    let spawn = env!("CARGO_BIN_EXE_spawn");
    let script = format!("set -e; spawn() {{ {spawn} \"$@\"; }}; {SHOW}\n{script}");
    let mut bash = world.program("bash");
    bash.args(["--norc", "-c", &script]);
    bash.env("AWS_REGION", "eu-central-1")
        .env("AWS_PROFILE", "it's \"mine\" $HOME `x` \\ \n new line\n")
        .env("AWS_ENDPOINT_URL_S3", "https://example.com")
        .env("AWS_PAGER", "")
        .env("http_proxy", "http://127.0.0.1:9");
    Output::of(&mut bash)
}

#[test]
fn off_puts_everything_back_exactly() {
    let world = World::new();
    let script = r#"
        show > before
        eval "$(spawn env)"
        show > on
        eval "$(spawn env)"
        eval "$(spawn env --off)"
        show > after
        spawn env --off 2> note
    "#;
    bash(&world, script).expect_code(0);
    let read = |name: &str| std::fs::read(world.work.join(name)).unwrap();
    assert_eq!(read("after"), read("before"));
    let on = String::from_utf8(read("on")).unwrap();
    assert!(on.contains("AWS_ENDPOINT_URL=http://127.0.0.1:"), "{on}");
    assert!(on.contains("SPAWN_ENV=1\0"), "{on}");
    assert!(
        on.contains(&format!("PATH={}:", world.home.join("bin").display())),
        "{on}"
    );
    assert!(
        !on.contains("\0AWS_PROFILE=") && !on.contains("\0AWS_ENDPOINT_URL_S3="),
        "{on}"
    );
    assert!(
        String::from_utf8(read("note"))
            .unwrap()
            .contains("nothing to put back")
    );
}

#[test]
fn programs_for_scripts_are_on_path_while_on() {
    let world = World::new();
    let script = r#"eval "$(spawn env)"; command -v spored"#;
    let output = bash(&world, script).expect_code(0);
    assert_eq!(
        output.out().trim(),
        world.home.join("bin/spored").display().to_string()
    );
}

#[test]
fn tasks_are_launched_with_the_path_from_before() {
    let world = World::new();
    let script = r#"eval "$(spawn env)"; spawn launch --wait --quiet --user-data 'echo "$PATH"'"#;
    bash(&world, script).expect_code(0);
    let path = world.ok(["logs", "last"]);
    let bin = world.home.join("bin");
    let times = path.matches(&*bin.to_string_lossy()).count();
    assert!(times <= 1, "{path}");
}

#[test]
fn json_and_fish_say_the_same() {
    let world = World::new();
    let on = world.json(["env"]);
    assert_eq!(on["SPAWN_ENV"], "1");
    let endpoint = on["AWS_ENDPOINT_URL"].as_str().unwrap();
    let fish = world.ok(["env", "--shell", "fish"]);
    assert!(
        fish.contains(&format!("set -gx AWS_ENDPOINT_URL '{endpoint}';")),
        "{fish}"
    );
}
