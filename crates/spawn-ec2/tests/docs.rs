//! What the pages say of grants is what the code asks for. With `UPDATE_DOCS=1` the blocks are
//! written anew.

use std::path::PathBuf;

use spawn_ec2::grants::{CALLER_ACTIONS, ROLE_ACTIONS, SETUP_ACTIONS};
use spawn_ec2::policy_documents::{self, Place};

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

#[track_caller]
fn holds(name: &str, mark: &str, content: &str) {
    let path = page(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {mark} -->\n");
    let (before, rest) = text.split_once(&begin).expect("the block's mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("the block's end");
    let expected = format!("{before}{begin}\n{content}\n<!-- end -->{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "docs/{name} is not what the code asks for; run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn the_callers_actions_are_listed() {
    let list = |actions: &[&str]| -> String {
        actions
            .iter()
            .map(|action| format!("- `{action}`\n"))
            .collect()
    };
    let content = format!(
        "For every launch and what follows it:\n\n{}\nTo make a role, once for each set of grants (not with `--iam-role`):\n\n{}\nTo set up an account and region, once:\n\n{}",
        list(&CALLER_ACTIONS),
        list(&ROLE_ACTIONS),
        list(&SETUP_ACTIONS),
    );
    holds("ec2.md", "caller-actions", &content);
}

#[test]
fn the_agents_policy_is_shown() {
    let place = Place {
        partition: "aws",
        account: "123456789012",
        region: "eu-west-1",
    };
    let document = serde_json::to_string_pretty(&policy_documents::agent(place)).unwrap();
    let content = format!("```json\n{document}\n```\n");
    holds("security.md", "agent-policy", &content);
}
