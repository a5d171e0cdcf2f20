//! `spawn explain`: the whole story of one task.

use super::Exit;
use crate::error::CliError;
use crate::read_model::StoryView;
use crate::render::{Output, write_story};
use crate::session::Session;

/// Tell everything that is known of a task
///
/// What it was given, every attempt with its worker, its end and what it used,
/// the AWS calls that failed in it, and why it waits if it does.
///
/// Examples:
///
///   spawn explain last --task 7
///   spawn explain last --task 7 -o json | jq .attempts
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Array: its id, the start of one, its name, or `last`
    #[arg(value_name = "ID")]
    array: String,

    /// The task with this index
    #[arg(short, long, value_name = "INDEX")]
    task: Option<u64>,
}

/// Runs `spawn explain`.
pub fn run(args: &Args, output: &Output) -> Result<Exit, CliError> {
    let (mut session, id) = Session::find(&args.array)?;
    let position = match args.task {
        Some(index) => session.position(&id, index)?,
        None if session.status(&id)?.record.submitted.total == 1 => 0,
        None => {
            return Err(CliError::Usage {
                message: format!("`{id}` has several tasks; which one?"),
                hint: Some(format!("name it: `spawn explain {id} --task INDEX`")),
            });
        }
    };
    let story = StoryView::new(session.explain(&id, position)?, session.home());
    if output.json {
        output.write_json(&story)?;
        return Ok(Exit::Ok);
    }
    output.write(|out| write_story(out, &story, output.style))?;
    Ok(Exit::Ok)
}
