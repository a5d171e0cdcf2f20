//! What a worker is called: its host name, and what `TASK_WORKER` says.

/// The longest host name that Linux takes, less one to be safe with old programs.
const LONGEST: usize = 63;

/// The worker of one task, where each task has a worker of its own: `NAME-INDEX`.
pub fn of_task(array_name: &str, index: u64) -> String {
    named(array_name, &format!("-{index}"))
}

/// A worker that serves task after task: `NAME-wSLOT`.
pub fn of_slot(array_name: &str, slot: u32) -> String {
    named(array_name, &format!("-w{slot}"))
}

fn named(array_name: &str, suffix: &str) -> String {
    let letters: String = array_name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(LONGEST - suffix.len())
        .collect();
    let letters = match letters.trim_matches('-') {
        "" => "task",
        letters => letters,
    };
    format!("{letters}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names_and_distinct() {
        assert_eq!(of_task("process-chunk", 17), "process-chunk-17");
        assert_eq!(of_slot("My_Job.v2", 0), "my-job-v2-w0");
        assert_eq!(of_task("___", 3), "task-3");
        let (a, b) = (
            of_task(&"x".repeat(100), 4_294_967_295),
            of_task(&"x".repeat(100), 4_294_967_294),
        );
        assert_eq!(a.len(), LONGEST);
        assert_ne!(a, b);
    }
}
