//! `spawn man`: the manual pages, made from the flags themselves.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Exit;
use crate::cli::Cli;
use crate::error::CliError;
use crate::render::Output;

/// Print a manual page, or write all of them to a directory
///
/// Examples:
///
///   spawn man launch | man -l -
///   spawn man --dir ~/.local/share/man/man1
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Command whose page to print; that of `spawn` itself if none is named
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,

    /// Write the pages of all commands to this directory, which is made
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs `spawn man`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let mut root = Cli::command();
    root.build();
    if let Some(dir) = &args.dir {
        let mut written = Vec::new();
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        write_pages(&root, "spawn", dir, &mut written)?;
        output.write(|out| {
            written
                .iter()
                .try_for_each(|path| writeln!(out, "{}", path.display()))
        })?;
        return Ok(Exit::Ok);
    }
    let mut command = &root;
    let mut name = "spawn".to_owned();
    for word in &args.command {
        command = command
            .find_subcommand(word)
            .ok_or_else(|| CliError::Usage {
                message: format!("`spawn man`: there is no command `{word}`"),
                hint: Some("`spawn --help` lists the commands".to_owned()),
            })?;
        name = format!("{name}-{word}");
    }
    let page = page(command, &name).map_err(CliError::Output)?;
    output.write(|out| out.write_all(&page))?;
    Ok(Exit::Ok)
}

fn write_pages(
    command: &clap::Command,
    name: &str,
    dir: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<(), CliError> {
    let path = dir.join(format!("{name}.1"));
    let page = page(command, name).map_err(failed("write", &path))?;
    fs::write(&path, page).map_err(failed("write", &path))?;
    written.push(path);
    command
        .get_subcommands()
        .try_for_each(|sub| write_pages(sub, &format!("{name}-{}", sub.get_name()), dir, written))
}

/// One page, in the language of `man`.
fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    clap_mangen::Man::new(command.clone())
        .title(name)
        .source(format!("spawn {version}"))
        .render(&mut page)?;
    Ok(page)
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CliError + 'a {
    move |source| CliError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}
