//! `spawn config`: what launches in this directory begin with.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use spawn_spec::{ConfigState, LaunchArgs, effective};

use super::{Exit, launch};
use crate::error::CliError;
use crate::render::{Align, Output, Table};

/// Look at the configuration
///
/// A project's `spawn.toml`, in the current directory or the nearest one above
/// that has one, and the user's `~/.config/spawn/config.toml` say in a table
/// `[launch]` what launches begin with. Flags win over parameter files, those
/// over the project, the project over the user.
///
/// Examples:
///
///   spawn config show
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    Show(ShowArgs),
}

/// Show every setting of a launch here, and where its value comes from
///
/// Examples:
///
///   spawn config show
///   spawn config show --param-file sweep.yaml
///   spawn config show -o json | jq -r '.settings[] | select(.key == "ttl").value'
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
struct ShowArgs {
    /// Show what a launch with this parameter file would have
    #[arg(long, value_name = "FILE")]
    param_file: Option<PathBuf>,

    /// Show settings too that have no value
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct ConfigView {
    files: Vec<FileView>,
    settings: Vec<SettingView>,
}

#[derive(Serialize)]
struct FileView {
    path: String,
    state: &'static str,
}

#[derive(Serialize)]
struct SettingView {
    key: String,
    value: Option<String>,
    origin: String,
}

/// Runs `spawn config`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let Action::Show(args) = &args.action;
    let flags = LaunchArgs {
        param_file: args.param_file.clone(),
        ..LaunchArgs::default()
    };
    let merged = effective(&flags, &launch::context()?)?;
    let view = ConfigView {
        files: merged
            .files
            .into_iter()
            .map(|file| FileView {
                path: file.path,
                state: match file.state {
                    ConfigState::Read => "read",
                    ConfigState::Missing => "missing",
                    ConfigState::NotTrusted => "not read, since it is another user's",
                },
            })
            .collect(),
        settings: merged
            .settings
            .into_iter()
            .map(|setting| SettingView {
                key: setting.key,
                value: setting.value,
                origin: setting.origin,
            })
            .collect(),
    };
    if output.json {
        output.write_json(&view)?;
        return Ok(Exit::Ok);
    }
    let style = output.style;
    output.write(|out| {
        for file in &view.files {
            let state = match file.state {
                "read" => style.good("read"),
                other => style.faint(other),
            };
            writeln!(out, "{}: {state}", file.path)?;
        }
        writeln!(out)?;
        let columns = [
            ("setting", Align::Left),
            ("value", Align::Left),
            ("from", Align::Left),
        ];
        let mut table = Table::new(&columns, |name| style.faint(name));
        let mut left_out = 0;
        for setting in &view.settings {
            if setting.value.is_none() && !args.all {
                left_out += 1;
                continue;
            }
            let value = setting.value.clone();
            table.row([
                setting.key.clone(),
                value.unwrap_or_else(|| "-".to_owned()),
                setting.origin.clone(),
            ]);
        }
        table.write(out, "")?;
        if left_out > 0 {
            let text = format!("{left_out} more have no value; `--all` shows them");
            writeln!(out, "{}", style.faint(&text))?;
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}
