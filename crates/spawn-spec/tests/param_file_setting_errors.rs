//! What is wrong with the settings of a parameter file is said as for flags, with the place.

use place::check_refusals;

mod place;

#[test]
fn settings_in_a_file() {
    check_refusals(&[
        (
            "p.yaml",
            "defaults:\n  spot: maybe\nparams: [{a: 1}]\n",
            "p.yaml:2:9: `spot`: found `maybe`; expected `true` or `false`",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  ttl: [1]\nparams: [{a: 1}]\n",
            "p.yaml:2:8: `ttl` is a list; expected a time such as `2h`",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  ttl: 90\nparams: [{a: 1}]\n",
            "p.yaml:2:8: `ttl`: `90` has no unit; did you mean `90s` or `90m`?",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  ttl:\n  x: 1\nparams: [{a: 1}]\n",
            "p.yaml:2:6: `ttl` has no value; expected a time such as `2h`",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  workers: 0\nparams: [{a: 1}]\n",
            "p.yaml:2:12: `workers: 0`: expected 1 or more",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  workers: many\nparams: [{a: 1}]\n",
            "p.yaml:2:12: `workers`: found `many`; expected a whole number",
            "",
        ),
        (
            "p.yaml",
            "defaults:\n  retries: -1\nparams: [{a: 1}]\n",
            "p.yaml:2:12: `retries`: found `-1`; expected a whole number",
            "",
        ),
        (
            "p.yaml",
            "defaults: {max_failures: lots}\nparams: [{a: 1}]\n",
            "p.yaml:1:26: `max_failures`: `lots` is no number of failures; expected a count such as `10`, or a share such as `5%`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {retry_on: [0], retries: 1}\nparams: [{a: 1}]\n",
            "p.yaml:1:22: `retry_on`: `0` is no exit code; expected numbers from 1 to 255, such as `75` or `1,100-110`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {retry_on: 75}\nparams: [{a: 1}]\n",
            "p.yaml:1:22: `retry_on` is only used with `retries`",
            "add `retries`, or leave out `retry_on`",
        ),
        (
            "p.yaml",
            "defaults: {backoff: 10m, backoff_max: 1m, retries: 1}\nparams: [{a: 1}]\n",
            "p.yaml:1:21: `backoff: 10m` is more than p.yaml:1:39: `backoff_max: 1m`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {instance_type: c7i.large, instance-type: c7i.xlarge}\nparams: [{a: 1}]\n",
            "p.yaml:1:38: `instance-type` and `instance_type` are the same setting; expected one of them",
            "",
        ),
        (
            "p.yaml",
            "name: a\ndefaults: {name: b}\nparams: [{a: 1}]\n",
            "p.yaml:2:12: `name` is given twice; first in line 1",
            "",
        ),
        (
            "p.yaml",
            "name: a/b\nparams: [{a: 1}]\n",
            "p.yaml:1:7: `name`: `a/b` is not a name; expected 1 to 64 letters, digits, `.`, `_` or `-`",
            "did you mean `a-b`?",
        ),
        (
            "p.yaml",
            "defaults: {env: {A: }}\nparams: [{b: 1}]\n",
            "p.yaml:1:19: `A` has no value; expected a text; `\"\"` if it is to be empty",
            "",
        ),
        (
            "p.yaml",
            "defaults: {env: {TASK_X: 1}}\nparams: [{b: 1}]\n",
            "p.yaml:1:18: `env: TASK_X`: spawn sets the variables that start so",
            "",
        ),
        (
            "p.yaml",
            "defaults: {env: {B: 1}}\nparams: [{b: 1}]\n",
            "p.yaml:2:11: `b` would be the variable `B`, which p.yaml:1:18: `env` sets",
            "rename the parameter, or leave the other out",
        ),
        (
            "p.yaml",
            "defaults: {env: [NOPE]}\nparams: [{b: 1}]\n",
            "p.yaml:1:18: `env: NOPE` takes its value from this shell, where it is not set",
            "set and export it, or write `--env NOPE=VALUE`",
        ),
        (
            "p.yaml",
            "defaults: {env: 3}\nparams: [{b: 1}]\n",
            "p.yaml:1:17: `env` is a single value; expected a map such as `MODEL: large`, or a list of `NAME=VALUE`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {tags: {a: b!}}\nparams: [{b: 1}]\n",
            "p.yaml:1:19: `tags`: `b!` has '!'; a tag takes letters, digits, spaces and `_ . : / = + - @`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {tags: [a]}\nparams: [{b: 1}]\n",
            "p.yaml:1:18: `tags` is a list; expected a map such as `project: genome`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {iam_policy: s3}\nparams: [{b: 1}]\n",
            "p.yaml:1:24: `iam_policy`: `s3` is not a template; expected `SERVICE:ACCESS`",
            "the templates are s3, dynamodb, sqs, logs, ecr, secretsmanager, ssm with `:FullAccess`, `:ReadOnly` or `:WriteOnly`",
        ),
        (
            "p.yaml",
            "defaults: {include: no}\nparams: [{b: 1}]\n",
            "p.yaml:1:21: `include: no`: no such file or directory",
            "",
        ),
        (
            "p.yaml",
            "defaults: {include: []}\nparams: [{b: 1}]\n",
            "p.yaml:1:21: `include` has no value; expected a path, or a list of them",
            "",
        ),
        (
            "p.yaml",
            "defaults: {command: ls, user_data: ls}\nparams: [{b: 1}]\n",
            "p.yaml:1:21: `command` and p.yaml:1:36: `user_data` each say what to run; expected one of them",
            "",
        ),
        (
            "p.yaml",
            "command: []\nparams: [{b: 1}]\n",
            "p.yaml:1:10: `command` has no value; expected a list of words, or one text that bash reads",
            "",
        ),
        (
            "p.yaml",
            "command: \" \"\nparams: [{b: 1}]\n",
            "p.yaml:1:10: `command` has no value; expected a list of words, or one text that bash reads",
            "",
        ),
        (
            "p.yaml",
            "provider: ec2\nparams: [{b: 1}]\n",
            "p.yaml:1:1: `provider` is not known here; expected it in `defaults`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {provider: gcp}\nparams: [{b: 1}]\n",
            "p.yaml:1:22: `provider` is `gcp`; expected `local` or `ec2`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {on_complete: explode}\nparams: [{b: 1}]\n",
            "p.yaml:1:25: `on_complete`: found `explode`; expected `terminate`, `stop`, `hibernate` or `none`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {region: mars}\nparams: [{b: 1}]\n",
            "p.yaml:1:20: `region`: `mars` is not a region; expected a name such as `us-east-1`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {spot: true, spot_max_price: -1}\nparams: [{b: 1}]\n",
            "p.yaml:1:40: `spot_max_price`: `-1` is not a price; expected USD per hour, such as `0.05`",
            "",
        ),
        (
            "p.yaml",
            "defaults: {instance_type: c7ilarge}\nparams: [{b: 1}]\n",
            "p.yaml:1:27: `instance_type`: `c7ilarge` is not an instance type; expected `FAMILY.SIZE`, such as `c7i.large` or `m7i.2xlarge`",
            "did you mean `c7i.large`?",
        ),
    ]);
}
