//! The flags of `spawn launch`, as typed. Meaning is given to them in
//! [`resolve`](crate::resolve()), so every refusal has one wording and a hint.

use std::path::PathBuf;

use clap::Args;

use crate::ec2_flags::Ec2Args;
use crate::spec::{OnComplete, Provider};

const WHAT: &str = "What to run";
const COUNT: &str = "How many";
pub(crate) const MACHINES: &str = "Machines";
const LIMITS: &str = "Limits";
const RETRIES: &str = "Retries";
const LOCAL: &str = "Local";
const OUTPUT: &str = "Output";

/// Run a script, or a command, as an array of tasks
#[derive(Args, Clone, Debug, Default)]
pub struct LaunchArgs {
    /// Script to run: its text, `@FILE`, or `@-` for standard input
    ///
    /// The script runs once per task, with TASK_ARRAY_INDEX saying which one it
    /// is. Its first line may name an interpreter (`#!/usr/bin/env python3`);
    /// without one, bash runs it.
    ///
    ///   --user-data @process.sh
    ///   --user-data 'echo "hello from $TASK_ARRAY_INDEX"'
    ///   generate-script | spawn launch --array 10 --user-data @-
    #[arg(long, value_name = "TEXT|@FILE|@-", help_heading = WHAT, verbatim_doc_comment)]
    pub user_data: Option<String>,

    /// Script to run, from a file; the same as `--user-data @FILE`
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub user_data_file: Option<PathBuf>,

    /// File or directory to put into each task's working directory
    ///
    /// Files that the script names are shipped without being asked for. This
    /// adds what a script only finds at run time, at the same relative path.
    ///
    ///   --include models/ lookup.csv
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = WHAT, verbatim_doc_comment)]
    pub include: Vec<PathBuf>,

    /// Ship only what `--include` names, not what the script mentions
    #[arg(long, help_heading = WHAT)]
    pub no_auto_include: bool,

    /// Variable for each task: NAME=VALUE, or NAME to take it from this shell
    ///
    /// May be given many times.
    ///
    ///   --env MODEL=large --env API_TOKEN
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = WHAT, verbatim_doc_comment)]
    pub env: Vec<String>,

    /// What the tasks may do in AWS, such as `s3:FullAccess`
    ///
    /// SERVICE:ACCESS, several with commas between. SERVICE is s3, dynamodb,
    /// sqs, logs, ecr, secretsmanager or ssm; ACCESS is FullAccess, ReadOnly or
    /// WriteOnly.
    ///
    ///   --iam-policy sqs:FullAccess,s3:ReadOnly
    #[arg(long, value_name = "LIST", help_heading = WHAT, verbatim_doc_comment)]
    pub iam_policy: Vec<String>,

    /// What the tasks may do in AWS, from a file: an IAM policy in JSON
    ///
    /// The tasks get it beside what --iam-policy gives.
    ///
    ///   policy.json:
    ///     {"Version": "2012-10-17",
    ///      "Statement": {"Effect": "Allow", "Action": "s3:GetObject",
    ///                    "Resource": "arn:aws:s3:::my-bucket/*"}}
    #[arg(long, value_name = "FILE", help_heading = WHAT, verbatim_doc_comment)]
    pub iam_policy_file: Option<PathBuf>,

    /// Managed policies for the tasks: ARNs, or names of AWS's own
    ///
    /// Several with commas between, at most 10.
    ///
    ///   --iam-managed-policies AmazonS3ReadOnlyAccess
    ///   --iam-managed-policies arn:aws:iam::123456789012:policy/team
    #[arg(long, value_name = "LIST", help_heading = WHAT, verbatim_doc_comment)]
    pub iam_managed_policies: Vec<String>,

    /// IAM role that the tasks use, in place of one made for the launch
    ///
    /// A name, or an ARN. It has its own grants, so that no other --iam flag goes
    /// with it. EC2 has to be allowed to use it.
    #[arg(long, value_name = "ROLE", help_heading = WHAT, verbatim_doc_comment)]
    pub iam_role: Option<String>,

    /// Name of the array; by default that of the script or parameter file
    #[arg(long, visible_alias = "job-array-name", value_name = "NAME", help_heading = WHAT)]
    pub name: Option<String>,

    /// Command to run instead of a script; no shell reads it
    ///
    ///   spawn launch --array 100 -- python3 process.py --fast
    #[arg(last = true, value_name = "COMMAND", help_heading = WHAT, verbatim_doc_comment)]
    pub command: Vec<String>,

    /// Rows of parameters, one task each: a YAML, JSON or CSV file
    ///
    /// The ending says the format: .yaml, .yml, .json or .csv. A CSV file starts
    /// with a header, and each further line is a task. Elsewhere `params` is a
    /// list of rows, and `grid` gives every combination of its values, the first
    /// key varying slowest; with both, each row is run at every point of the
    /// grid. `defaults` holds settings, named as flags are, and parameters for
    /// all rows. A row may have its own instance_type, spot, spot_max_price, ttl
    /// and timeout; all else is the same for all rows.
    ///
    /// A task finds the parameter `learning_rate` in $PARAM_learning_rate and in
    /// $LEARNING_RATE, exactly as the file spells it, and the row's name in
    /// $NAME. No value is an empty text; lists and maps are JSON. A parameter
    /// that would overwrite PATH, HOME, TASK_* and the like has its PARAM_ only.
    ///
    /// The file may say what runs: `user_data` or `user_data_file` as the flags
    /// do, or `command`, a list of words, or one text that bash reads. Its paths
    /// start from its directory. Flags overrule the file, its rows included.
    ///
    ///   params.yaml:
    ///     defaults:
    ///       ttl: 2h
    ///       user_data: "@train.sh"
    ///     grid:
    ///       learning_rate: [0.1, 0.01]
    ///       model: [small, large]
    #[arg(long, value_name = "FILE", help_heading = WHAT, verbatim_doc_comment)]
    pub param_file: Option<PathBuf>,

    /// How many tasks, or which indices: `100`, `0-99`, `1-1000:5`, `3,5,9`
    ///
    /// A lone number is a count: `100` is 100 tasks with indices 0 to 99. In a
    /// list or a range, numbers are indices. `%K` at the end runs at most K
    /// tasks at a time. Without --array there is one task, with index 0.
    ///
    ///   --array 100            indices 0 to 99
    ///   --array 1-1000:5       1, 6, 11, ... 996
    ///   --array 0-9,20,30-40:2
    ///   --array 10000%50       at most 50 at a time
    #[arg(
        long,
        visible_alias = "count",
        value_name = "SPEC",
        allow_hyphen_values = true,
        help_heading = COUNT,
        verbatim_doc_comment
    )]
    pub array: Option<String>,

    /// How many workers share the tasks
    ///
    /// With fewer workers than tasks, each worker takes the next task when it
    /// has finished one, so slow tasks hold up nobody else.
    ///
    ///   --array 10000 --workers 100
    #[arg(long, value_name = "W", help_heading = COUNT, verbatim_doc_comment)]
    pub workers: Option<u32>,

    /// The most tasks to run at a time; the same as `%K` in `--array`
    #[arg(long, value_name = "K", help_heading = COUNT)]
    pub max_concurrent: Option<u32>,

    /// Where the workers come from [default: local, or SPAWN_PROVIDER]
    #[arg(long, value_enum, value_name = "PROVIDER", help_heading = MACHINES)]
    pub provider: Option<Provider>,

    /// EC2 instance types, such as `c7i.large`; the first is preferred
    ///
    /// Several with commas between. With more of them there is more spot
    /// capacity, and it is taken away less often.
    ///
    ///   --instance-type c7i.large
    ///   --spot --instance-type c7i.large,c6i.large,m7i.large
    #[arg(long, value_name = "LIST", help_heading = MACHINES, verbatim_doc_comment)]
    pub instance_type: Vec<String>,

    /// AWS region, such as `us-east-1`
    #[arg(long, value_name = "REGION", help_heading = MACHINES)]
    pub region: Option<String>,

    /// Use spot capacity: cheaper, and may be taken away
    #[arg(long, overrides_with = "no_spot", help_heading = MACHINES)]
    pub spot: bool,

    /// Use no spot capacity, whatever a file says
    #[arg(long, overrides_with = "spot", help_heading = MACHINES)]
    pub no_spot: bool,

    /// The most to pay for spot capacity, in USD per machine and hour
    #[arg(long, value_name = "USD", help_heading = MACHINES)]
    pub spot_max_price: Option<String>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are the flags")]
    pub ec2: Ec2Args,

    /// Tags on everything the launch makes: `project=genome,owner=ana`
    #[arg(long, value_name = "K=V,...", help_heading = MACHINES)]
    pub tags: Vec<String>,

    /// What becomes of a machine with no more tasks [default: terminate]
    #[arg(long, value_enum, value_name = "ACTION", help_heading = MACHINES)]
    pub on_complete: Option<OnComplete>,

    /// The longest the workers live, such as `4h` or `90m` [default: 24h]
    ///
    /// Whatever happens, nothing runs or costs longer than this. A task that is
    /// cut off by it has failed, with the cause `ttl`.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = LIMITS, verbatim_doc_comment)]
    pub ttl: Option<String>,

    /// The longest one attempt of a task runs, such as `10m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = LIMITS)]
    pub timeout: Option<String>,

    /// How often a failed task is tried again [default: 0]
    ///
    /// Counted apart for a bad exit, a timeout, running out of memory and a
    /// failed start. What a machine does to a task never counts: see
    /// --max-interruptions.
    ///
    ///   --retries 3
    ///   --retries 5 --retry-on 75 --backoff 10s
    #[arg(long, value_name = "N", help_heading = RETRIES, verbatim_doc_comment)]
    pub retries: Option<u32>,

    /// The wait before the first retry, such as `10s` or `0s` [default: 2s]
    ///
    /// It doubles with every retry of a task, up to --backoff-max. Each wait is
    /// a random part of it, so that tasks that failed together come back apart.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = RETRIES, verbatim_doc_comment)]
    pub backoff: Option<String>,

    /// The longest wait before a retry [default: 5m]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = RETRIES)]
    pub backoff_max: Option<String>,

    /// Exit codes worth a retry, such as `75` or `1,100-110` [default: all]
    ///
    /// A script that a signal ended counts as 128 plus the signal.
    ///
    ///   --retries 3 --retry-on 75,128-159
    #[arg(long, value_name = "CODES", help_heading = RETRIES, verbatim_doc_comment)]
    pub retry_on: Option<String>,

    /// Exit codes not worth a retry, even where `--retry-on` has them
    ///
    ///   --retries 3 --no-retry-on 2,64
    #[arg(long, value_name = "CODES", help_heading = RETRIES, verbatim_doc_comment)]
    pub no_retry_on: Option<String>,

    /// How often a task bears losing its machine [default: 100, or 10 if lost]
    ///
    /// Counted apart for interruptions of spot capacity and for workers that
    /// disappear. They spend none of --retries.
    #[arg(long, value_name = "N", help_heading = RETRIES, verbatim_doc_comment)]
    pub max_interruptions: Option<u32>,

    /// How many tasks may fail before no more are started: `10` or `5%`
    ///
    /// With 0, the first failure is one too many. Tasks that run then are let
    /// finish.
    #[arg(long, value_name = "N|P%", help_heading = RETRIES, verbatim_doc_comment)]
    pub max_failures: Option<String>,

    /// Run tasks side by side even where each cannot have a /tmp of its own
    #[arg(long, help_heading = LOCAL)]
    pub allow_shared_tmp: bool,

    /// Keep results safe from a loss of power, at some cost in speed
    #[arg(long, help_heading = LOCAL)]
    pub durable: bool,

    /// Stay until all tasks are done
    #[arg(long, help_heading = OUTPUT)]
    pub wait: bool,

    /// Stop waiting after this time; the tasks go on
    #[arg(long, value_name = "TIME", help_heading = OUTPUT)]
    pub wait_timeout: Option<String>,

    /// Write the array's id to this file
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output_id: Option<PathBuf>,

    /// Check everything and say what would run; start nothing
    #[arg(long, conflicts_with = "quiet", help_heading = OUTPUT)]
    pub dry_run: bool,

    /// Print only the array's id; with `-o json`, no notes beside the object
    #[arg(long, help_heading = OUTPUT)]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Launch {
        #[command(flatten)]
        args: LaunchArgs,
    }

    fn parse(line: &[&str]) -> Result<LaunchArgs, clap::Error> {
        let words = std::iter::once(&"launch").chain(line);
        Launch::try_parse_from(words).map(|launch| launch.args)
    }

    #[test]
    fn the_flags_are_consistent() {
        Launch::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_heading_and_one_line_of_short_help() {
        for arg in Launch::command().get_arguments() {
            let id = arg.get_id();
            assert!(arg.get_help_heading().is_some(), "{id} has no heading");
            let help = arg.get_help().unwrap().to_string();
            assert!(!help.contains('\n') && help.len() <= 76, "{id}: {help}");
            assert!(!help.ends_with('.'), "{id}: {help}");
        }
    }

    #[test]
    fn the_documented_launches_parse() {
        let args = parse(&[
            "--instance-type",
            "c7i.large",
            "--array",
            "50",
            "--ttl",
            "8h",
            "--iam-policy",
            "sqs:FullAccess,s3:FullAccess",
            "--on-complete",
            "terminate",
            "--user-data",
            "@worker.sh",
        ])
        .unwrap();
        assert_eq!(args.array.as_deref(), Some("50"));
        assert_eq!(args.on_complete, Some(OnComplete::Terminate));
        assert_eq!(args.user_data.as_deref(), Some("@worker.sh"));
    }

    #[test]
    fn aliases_and_the_command_parse() {
        let args = parse(&[
            "--count",
            "3",
            "--job-array-name",
            "n",
            "--include",
            "a",
            "b",
            "--",
            "echo",
            "--array",
        ])
        .unwrap();
        assert_eq!(args.array.as_deref(), Some("3"));
        assert_eq!(args.name.as_deref(), Some("n"));
        assert_eq!(args.include.len(), 2);
        assert_eq!(args.command, ["echo", "--array"]);
    }

    #[test]
    fn what_is_not_a_flag_is_refused() {
        for line in [
            &["--on-complete", "explode"][..],
            &["--provider", "gcp"],
            &["--workers", "many"],
            &["--arrray", "3"],
            &["stray"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
