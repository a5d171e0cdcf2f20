//! Help teaches, and nothing that only prints starts anything.

use crate::support::World;

const COMMANDS: [&[&str]; 12] = [
    &["launch"],
    &["status"],
    &["list"],
    &["tasks"],
    &["logs"],
    &["cancel"],
    &["env"],
    &["local"],
    &["local", "status"],
    &["local", "stop"],
    &["completion"],
    &["version"],
];

#[test]
fn every_command_shows_an_example() {
    let world = World::new();
    for command in COMMANDS {
        let help = world.ok(command.iter().chain(&["--help"]));
        let example = format!("spawn {}", command.join(" "));
        let (before_usage, _) = help.split_once("Usage:").unwrap();
        assert!(before_usage.contains(&example), "no `{example}` in\n{help}");
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "lines too long in\n{help}");
    }
    assert!(!world.home.exists());
}

#[test]
fn the_help_lists_every_command_and_exit_code() {
    let world = World::new();
    let help = world.ok(["--help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("  {}", command[0])), "{help}");
    }
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "124 "] {
        assert!(help.contains(&format!("\n  {code}")), "{help}");
    }
    // Without a command: the same, but not as a success.
    let output = world.run::<&str>([]).expect_code(2);
    assert!(output.err().contains("launch"), "{output}");
}

#[test]
fn versions_are_shown() {
    let world = World::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(world.ok(["--version"]).trim(), format!("spawn {version}"));
    assert_eq!(world.ok(["version"]).trim(), format!("spawn {version}"));
    assert_eq!(world.json(["version"])["version"], version);
    assert!(!world.home.exists());
}

#[test]
fn completions_are_generated_and_bash_reads_them() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(["completion", shell]);
        assert!(
            script.contains("launch") && script.contains("user-data"),
            "{shell}"
        );
    }
    world.write("completion.bash", world.ok(["completion", "bash"]));
    let read = world
        .program("bash")
        .args(["-n", "completion.bash"])
        .status();
    assert!(read.unwrap().success());
    assert!(!world.home.exists());
}
