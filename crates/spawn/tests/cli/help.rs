//! Help teaches, and nothing that only prints starts anything.

use crate::support::World;

const COMMANDS: [&[&str]; 21] = [
    &["launch"],
    &["status"],
    &["list"],
    &["tasks"],
    &["logs"],
    &["explain"],
    &["retry"],
    &["extend"],
    &["interrupt"],
    &["cancel"],
    &["terminate"],
    &["env"],
    &["config"],
    &["config", "show"],
    &["local"],
    &["local", "status"],
    &["local", "check"],
    &["local", "stop"],
    &["completion"],
    &["man"],
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

#[test]
fn there_is_a_man_page_for_every_command_and_man_reads_it() {
    let world = World::new();
    let listed = world.ok(["man", "--dir", "man1"]);
    for command in COMMANDS {
        let page = format!("man1/spawn-{}.1", command.join("-"));
        assert!(listed.contains(&page), "no {page} in\n{listed}");
        let text = std::fs::read_to_string(world.work.join(&page)).unwrap();
        assert!(text.contains(".TH"), "{page}:\n{text}");
    }
    let launch = world.ok(["man", "launch"]);
    for word in [".TH spawn-launch 1", "user\\-data", "OPTIONS"] {
        assert!(launch.contains(word), "no {word} in\n{launch}");
    }
    world
        .run(["man", "lanch"])
        .expect_code(2)
        .expect_err("no command `lanch`");
    assert!(!world.home.exists());
}

/// `docs/reference.md` is made of what the programs say of themselves. With `UPDATE_DOCS=1` this
/// writes it anew.
#[test]
fn the_reference_is_what_the_programs_say() {
    let world = World::new();
    let mut text = String::from(
        "# Reference\n\nWhat `spawn`, and `spored` inside a task, say with `--help`. Made from the programs; \
         a test holds it.\n",
    );
    let mut add = |name: &str, help: &str| {
        text.push_str(&format!(
            "\n## {name}\n\n```text\n{}\n```\n",
            help.trim_end()
        ));
    };
    add("spawn", &world.ok(["--help"]));
    for command in COMMANDS {
        let help = world.ok(command.iter().chain(&["--help"]));
        add(&format!("spawn {}", command.join(" ")), &help);
    }
    let spored = std::path::Path::new(env!("CARGO_BIN_EXE_spawn")).with_file_name("spored");
    let help = world.program(spored).arg("--help").output().unwrap();
    add("spored", &String::from_utf8_lossy(&help.stdout));

    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/reference.md is not what the programs say; run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn every_setting_is_on_the_page_about_parameter_files() {
    let world = World::new();
    let page =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/parameter-files.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown = world.json(["config", "show", "--all"]);
    let settings = shown["settings"].as_array().unwrap();
    assert!(settings.len() > 20, "{shown}");
    for key in settings
        .iter()
        .map(|setting| setting["key"].as_str().unwrap())
    {
        assert!(
            page.contains(&format!("`{key}`")),
            "`{key}` is not on the page"
        );
    }
}
