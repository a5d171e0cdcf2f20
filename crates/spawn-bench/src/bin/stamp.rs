//! Prints the wall-clock time in nanoseconds since 1970: a task whose output says when it was.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => println!("{}", since.as_nanos()),
        Err(e) => {
            eprintln!("stamp: {e}");
            std::process::exit(1);
        }
    }
}
