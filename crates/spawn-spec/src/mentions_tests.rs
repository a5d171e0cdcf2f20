use proptest::prelude::*;

use super::*;

/// A worker that uses most of what a script may.
const WORKER: &str = r#"#!/bin/bash
# reads TASK_ARRAY_IDX and s3://not-this/ and process-old.py
START=$((TASK_ARRAY_INDEX * 100))
FILE="s3://my-bucket/input/file-${START}.csv"
OUT="s3://bucket-$USER/x"
aws s3 cp "$FILE" /tmp/input.csv && python process.py --config=run.yaml
MESSAGE=$(aws sqs receive-message --query 'Messages[0]')
echo "$(jq -r '.Body' <<< "$MESSAGE")"
trap 'bash lib/cleanup.sh' EXIT
python3 << 'EOF'
data = open("data/in.csv")
EOF
"#;

#[test]
fn a_worker_is_read() {
    let found = in_shell(WORKER);
    for path in ["process.py", "run.yaml", "lib/cleanup.sh", "data/in.csv"] {
        assert!(found.words.contains(path), "{path}");
    }
    assert!(!found.words.contains("process-old.py"));
    assert_eq!(
        Vec::from_iter(found.tools),
        ["aws", "jq", "python", "python3"]
    );
    assert_eq!(Vec::from_iter(found.buckets), ["my-bucket"]);
    assert_eq!(found.unknown_variables, BTreeSet::new());
}

#[test]
fn unknown_variables_are_those_read_and_not_set() {
    for (text, expected) in [
        ("echo $TASK_ARRAY_IDX", &["TASK_ARRAY_IDX"][..]),
        ("echo \"${TASK_INDEX:-0}\"", &["TASK_INDEX"]),
        ("echo $((TASK_NUMBER * 2))", &["TASK_NUMBER"]),
        ("echo ${#JOB_NAMES}", &["JOB_NAMES"]),
        ("i=$SLURM_ARRAY_TASK_ID", &["SLURM_ARRAY_TASK_ID"]),
        ("echo $TASK_ARRAY_INDEX $JOB_ARRAY_SIZE $TASK_WORKER", &[]),
        ("TASK_FILE=a; echo $TASK_FILE", &[]),
        ("export TASK_FILE=a; echo $TASK_FILE", &[]),
        (
            "while IFS= read -r TASK_LINE; do echo $TASK_LINE; done",
            &[],
        ),
        ("for TASK_X in 1 2; do echo $TASK_X; done", &[]),
        ("# $TASK_OLD", &[]),
        ("echo TASK_PLAIN MY_TASK_ID $MY_TASK_ID", &[]),
        ("echo $TASKS", &[]),
    ] {
        let found = in_shell(text).unknown_variables;
        assert_eq!(Vec::from_iter(found), expected, "{text}");
    }
    for (text, expected) in [
        ("import os\ni = os.environ[\"TASK_ID\"]", &["TASK_ID"][..]),
        ("os.environ.get('TASK_ARRAY_IDX')", &["TASK_ARRAY_IDX"]),
        ("os.getenv(\"TASK_ARRAY_INDEX\")", &[]),
        ("process.env.TASK_ID", &["TASK_ID"]),
        ("ENV['JOB_IDX']", &["JOB_IDX"]),
        ("# os.environ['TASK_ID']", &[]),
        ("TASK_NAMES = [\"a\"]", &[]),
    ] {
        let found = in_other_language(text).unknown_variables;
        assert_eq!(Vec::from_iter(found), expected, "{text}");
    }
}

#[test]
fn a_warning_says_what_was_meant() {
    for (name, meant) in [
        ("TASK_ARRAY_IDX", Some("TASK_ARRAY_INDEX")),
        ("TASK_INDEX", Some("TASK_ARRAY_INDEX")),
        ("TASK_ID", Some("TASK_ARRAY_ID")),
        ("JOB_ARRAY_INDX", Some("JOB_ARRAY_INDEX")),
        ("SLURM_ARRAY_TASK_ID", Some("TASK_ARRAY_INDEX")),
        ("TASK_TEMPERATURE", None),
    ] {
        let hint = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
        assert_eq!(
            variable_warning(name, "`x.sh`", &[]),
            format!("`x.sh` reads `{name}`, which no task has{hint}")
        );
    }
}

#[test]
fn only_literal_buckets_are_named() {
    for (text, expected) in [
        ("aws s3 ls s3://data", &["data"][..]),
        ("aws s3 cp s3://a-b.c/d 's3://other/'", &["a-b.c", "other"]),
        ("x=s3://$BUCKET/a", &[]),
        ("x=s3://data-${USER}/a", &[]),
        ("x=s3://ab", &[]),
        ("x=s3://Data/", &[]),
        ("aws s3 mb s3://made; aws s3 cp x s3://made/", &[]),
        ("# s3://comment/", &[]),
    ] {
        assert_eq!(Vec::from_iter(in_shell(text).buckets), expected, "{text}");
    }
}

#[test]
fn tools_are_what_is_run() {
    for (text, expected) in [
        ("echo aws jq", &[][..]),
        ("if aws s3 ls; then :; fi", &["aws"]),
        ("A=1 B=2 python x.py", &["python"]),
        ("timeout 30 python3 x.py", &["python3"]),
        ("cat x | jq .", &["jq"]),
        ("x=\"$(cat y | jq .)\"", &["jq"]),
        ("/usr/bin/aws s3 ls", &[]),
    ] {
        assert_eq!(Vec::from_iter(in_shell(text).tools), expected, "{text}");
    }
    let argv = ["bash", "-c", "python run.py $TASK_ID; jq ."].map(String::from);
    let found = in_argv(&argv);
    assert_eq!(Vec::from_iter(found.tools), ["jq", "python"]);
    assert_eq!(Vec::from_iter(found.unknown_variables), ["TASK_ID"]);
    assert!(found.words.contains("run.py"));
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        in_shell(&text);
        in_other_language(&text);
        in_argv(&[text, "-c".into(), "é".into()]);
    }

    #[test]
    fn any_likely_text_is_read(
        pieces in prop::collection::vec(
            prop::sample::select(&[
                "TASK_X", "$", "${", "((", "))", "s3://", "abc", "é", "\"", "'", "$(", ")", "`",
                "\n", "<<E", " ", "#", "environ[", "=", "mb", "read",
            ][..]),
            0..40,
        )
    ) {
        let text = pieces.concat();
        in_shell(&text);
        in_other_language(&text);
    }
}
