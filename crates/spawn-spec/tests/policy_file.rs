//! Policy documents of `--iam-policy-file`: what is taken, how it is kept, what is refused.

use place::Place;
use proptest::prelude::*;

mod place;

fn document(text: &str) -> Result<String, spawn_spec::SpecError> {
    let place = Place::with(&[("grants/policy.json", text)]);
    let found = place.launch("--iam-policy-file grants/policy.json -- ls")?;
    Ok(found.spec.ec2.policy_document.unwrap())
}

const READS: &str = r#"{
  "Version": "2012-10-17",
  "Id": "tasks",
  "Statement": [
    {
      "Sid": "Read",
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:List*"],
      "Resource": "arn:aws:s3:::data/*",
      "Condition": {"NumericLessThan": {"s3:max-keys": 10}, "Bool": {"aws:SecureTransport": true}}
    },
    {"Effect": "Deny", "NotAction": "*", "NotResource": ["arn:aws:s3:::a b/é", "*"]}
  ]
}
"#;

#[test]
fn a_policy_is_kept_without_white_space() {
    let kept = document(READS).unwrap();
    assert_eq!(
        kept,
        concat!(
            r#"{"Version":"2012-10-17","Id":"tasks","Statement":[{"Sid":"Read","Effect":"Allow","#,
            r#""Action":["s3:GetObject","s3:List*"],"Resource":"arn:aws:s3:::data/*","#,
            r#""Condition":{"NumericLessThan":{"s3:max-keys":10},"Bool":{"aws:SecureTransport":true}}},"#,
            r#"{"Effect":"Deny","NotAction":"*","NotResource":["arn:aws:s3:::a b/é","*"]}]}"#,
        )
    );
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(read(&kept), read(READS));
    // As some editors write it, and with a lone statement.
    let marked =
        "\u{feff}{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}";
    assert_eq!(document(marked).unwrap(), marked[3..]);
}

#[test]
fn each_refusal_names_the_file() {
    let statement = |inner: &str| format!("{{\"Statement\":\n [{{{inner}}}]}}");
    let good = r#""Effect": "Allow", "Action": "*", "Resource": "*""#;
    for (text, message, hint) in [
        (
            "".to_owned(),
            "`grants/policy.json`: is empty; expected a policy document in JSON",
            "",
        ),
        (
            "{\"Statement\": [\n  {\"Effect\": \"Allow\",}\n]}".into(),
            "grants/policy.json:2:22: not JSON: key must be a string",
            "",
        ),
        (
            "Statement: []".into(),
            "grants/policy.json:1:1: not JSON: expected value",
            "",
        ),
        (
            "[]".into(),
            "grants/policy.json:1:1: the policy is a list; expected an object with `Statement`",
            "",
        ),
        (
            "{}".into(),
            "grants/policy.json:1:1: the policy has no `Statement`; expected a list of statements",
            "",
        ),
        (
            "{\"Statement\": []}".into(),
            "grants/policy.json:1:15: the policy has no `Statement`; expected a list of statements",
            "",
        ),
        (
            "{\"Statement\": [\"x\"]}".into(),
            "grants/policy.json:1:16: a statement is a single value; expected an object with `Effect`, `Action` and `Resource`",
            "",
        ),
        (
            "{\"Statment\": []}".into(),
            "grants/policy.json:1:2: `Statment` is not known here; expected `Version`, `Id` or `Statement`",
            "did you mean `Statement`?",
        ),
        (
            format!("{{\"Version\": \"2012-10-18\", \"Statement\": {{{good}}}}}"),
            "grants/policy.json:1:13: `Version` is `2012-10-18`; expected `2012-10-17` or `2008-10-17`",
            "",
        ),
        (
            statement(r#""Action": "*", "Resource": "*""#),
            "grants/policy.json:2:3: the statement has no `Effect`",
            "",
        ),
        (
            statement(r#""Effect": "allow", "Action": "*", "Resource": "*""#),
            "grants/policy.json:2:14: `Effect` is `allow`; expected `Allow` or `Deny`",
            "",
        ),
        (
            statement(r#""Effect": true, "Action": "*", "Resource": "*""#),
            "grants/policy.json:2:14: `Effect` is a single value; expected `Allow` or `Deny`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Resource": "*""#),
            "grants/policy.json:2:3: the statement has no `Action` or `NotAction`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Action": "*""#),
            "grants/policy.json:2:3: the statement has no `Resource` or `NotResource`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Actions": "*", "Resource": "*""#),
            "grants/policy.json:2:23: `Actions` is not known here; expected an element of a statement",
            "did you mean `Action`?",
        ),
        (
            statement(&format!("{good}, \"NotAction\": \"*\"")),
            "grants/policy.json:2:55: `Action` and `NotAction` are in one statement; expected one of them",
            "",
        ),
        (
            statement(&format!("{good}, \"NotResource\": \"*\"")),
            "grants/policy.json:2:55: `Resource` and `NotResource` are in one statement; expected one of them",
            "",
        ),
        (
            statement(&format!("{good}, \"Principal\": \"*\"")),
            "grants/policy.json:2:55: `Principal` is not for what a role may do: it is the role that may",
            "leave `Principal` out",
        ),
        (
            statement(&format!("{good}, \"Condition\": \"x\"")),
            "grants/policy.json:2:68: `Condition` is `x`; expected an object of operators",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Action": ["s3:*", "s3"], "Resource": "*""#),
            "grants/policy.json:2:42: the action `s3` names no service; expected such as `s3:GetObject`, or `*`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Action": [], "Resource": "*""#),
            "grants/policy.json:2:33: `Action` has no value; expected actions such as `s3:GetObject`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Action": ["*", 3], "Resource": "*""#),
            "grants/policy.json:2:39: `Action` is a single value; expected actions such as `s3:GetObject`",
            "",
        ),
        (
            statement(r#""Effect": "Allow", "Action": "*", "Resource": "my-bucket""#),
            "grants/policy.json:2:50: the resource `my-bucket` is no ARN; expected such as `arn:aws:s3:::bucket/*`, or `*`",
            "",
        ),
        (
            statement(&format!("{good}, \"Effect\": \"Deny\"")),
            "grants/policy.json:2:55: `Effect` is given twice; first in line 2",
            "",
        ),
        (
            statement(&format!("{good}, \"Sid\": \"{}\"", "x".repeat(10_240))),
            "grants/policy.json:1:1: the policy has 10311 characters without white space, above the limit of 10240",
            "make it a managed policy, and give its ARN to `--iam-managed-policies`",
        ),
    ] {
        let error = document(&text).expect_err(&text);
        assert_eq!(error.to_string(), message, "{text}");
        assert_eq!(error.hint.as_deref().unwrap_or_default(), hint, "{text}");
    }
    let place = Place::with(&[("dir/x", "")]);
    for (line, message) in [
        ("--iam-policy-file no.json -- ls", "`no.json`: no such file"),
        (
            "--iam-policy-file dir -- ls",
            "`dir`: is a directory; expected a file",
        ),
    ] {
        assert_eq!(place.refusal(line), message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a condition holds is kept, white space in texts included.
    #[test]
    fn texts_are_kept(sid in any::<String>(), key in any::<String>(), number in any::<i64>()) {
        let policy = serde_json::json!({"Statement": [{
            "Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {key: [number, null, true, sid]},
        }]});
        let pretty = serde_json::to_string_pretty(&policy).unwrap();
        let kept: serde_json::Value = serde_json::from_str(&document(&pretty).unwrap()).unwrap();
        prop_assert_eq!(kept, policy);
    }

    #[test]
    fn any_text_is_a_policy_or_refused(text in any::<String>()) {
        let _ = document(&text);
    }
}
