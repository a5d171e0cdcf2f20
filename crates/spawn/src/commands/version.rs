//! `spawn version`: what this is.

use std::io::Write;

use serde::Serialize;
use spawn_local::wire::PROTOCOL;

use super::Exit;
use crate::error::CliError;
use crate::render::Output;

/// Show the version
///
/// Examples:
///
///   spawn version
///   spawn version -o json
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    host_protocol: u32,
}

/// Runs `spawn version`.
pub fn run(_args: &Args, output: &Output) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match output.json {
        true => output.write_json(&Version {
            version,
            host_protocol: PROTOCOL,
        })?,
        false => output.write(|out| writeln!(out, "spawn {version}"))?,
    }
    Ok(Exit::Ok)
}
