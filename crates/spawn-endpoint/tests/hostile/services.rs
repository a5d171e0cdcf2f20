//! The other services: SQS, DynamoDB and STS.

use crate::message::Draft;
use crate::world::Expected::{Refused, Served};
use crate::world::{Case, World};

pub fn cases(world: &World) -> Vec<Case> {
    let message = || world.send_message();
    let item = || world.put_item();
    let key = |draft: Draft| Draft {
        credentials: world.other_key(),
        ..draft
    };
    let secret = |draft: Draft| Draft {
        credentials: world.other_secret(),
        ..draft
    };
    let of_service = |service: &str, draft: Draft| Draft {
        service: service.to_owned(),
        ..draft
    };
    let form = || {
        let body = b"Action=SendMessage&Version=2012-11-05&QueueUrl=queue&MessageBody=new";
        let draft = world.draft("POST", "/").body(body);
        of_service(
            "sqs",
            draft.header("content-type", "application/x-www-form-urlencoded"),
        )
    };
    let unsigned = Refused(403, "MissingAuthenticationToken");
    let unknown = Refused(403, "UnrecognizedClientException");
    let mismatch = Refused(403, "InvalidSignatureException");
    let incomplete = Refused(403, "IncompleteSignatureException");
    let denied = Refused(403, "AccessDeniedException");
    let mut cases = vec![
        Case::new("sqs unsigned", message().unsigned(), unsigned),
        Case::new("dynamodb unsigned", item().unsigned(), unsigned),
        Case::new("sqs unsigned, as a form", form().unsigned(), unsigned),
        Case::new("sqs by another key", key(message()).signed(), unknown),
        Case::new("dynamodb by another key", key(item()).signed(), unknown),
        Case::new(
            "sqs by another key, as a form",
            key(form()).signed(),
            Refused(403, "InvalidClientTokenId"),
        ),
        Case::new(
            "sqs by another secret",
            secret(message()).signed(),
            mismatch,
        ),
        Case::new(
            "dynamodb by another secret",
            secret(item()).signed(),
            mismatch,
        ),
        Case::new(
            "sqs by another secret, as a form",
            secret(form()).signed(),
            Refused(403, "SignatureDoesNotMatch"),
        ),
        Case::new(
            "sqs, another body",
            message().signed().body(b"{}"),
            mismatch,
        ),
        Case::new(
            "dynamodb, another body",
            item().signed().body(b"{}"),
            mismatch,
        ),
        Case::new("sqs, no body", message().signed().body(b""), mismatch),
        Case::new(
            "sqs, another path",
            message().signed().target(|_| "/queue".into()),
            mismatch,
        ),
        Case::new(
            "sqs, more query",
            message().signed().target(|_| "/?Action=PurgeQueue".into()),
            mismatch,
        ),
        Case::new(
            "sqs, another operation",
            message()
                .signed()
                .set("x-amz-target", |_| "AmazonSQS.PurgeQueue".into()),
            mismatch,
        ),
        Case::new(
            "dynamodb, another operation",
            item()
                .signed()
                .set("x-amz-target", |_| "DynamoDB_20120810.DeleteTable".into()),
            mismatch,
        ),
        Case::new(
            "an operation that is not signed",
            form().signed().add("x-amz-target", "AmazonSQS.PurgeQueue"),
            denied,
        ),
        Case::new(
            "a token that is not signed",
            item().signed().add("x-amz-security-token", "array-1/7"),
            denied,
        ),
        Case::new(
            "two operations",
            item()
                .signed()
                .add("x-amz-target", "DynamoDB_20120810.DeleteTable"),
            mismatch,
        ),
        Case::new(
            "sqs signed for s3",
            of_service("s3", message()).signed(),
            Refused(501, "NotImplemented"),
        ),
        Case::new(
            "dynamodb signed for s3",
            of_service("s3", item()).signed(),
            Refused(501, "NotImplemented"),
        ),
        Case::new(
            "dynamodb signed for sqs",
            of_service("sqs", item()).signed(),
            Refused(400, "InvalidAction"),
        ),
        Case::new(
            "sqs signed for dynamodb",
            of_service("dynamodb", message()).signed(),
            Refused(400, "UnknownOperation"),
        ),
        Case::new(
            "sqs signed for lambda",
            of_service("lambda", message()).signed(),
            Refused(501, "NotImplemented"),
        ),
        Case::new("sqs, presigned", message().presigned("60"), unsigned),
        Case::new(
            "sqs, version 2",
            message().signed_v2("Tue, 27 Mar 2007 19:36:42 +0000"),
            incomplete,
        ),
        Case::new(
            "sqs, two Authorization headers",
            message().signed().add("authorization", "AWS a:b"),
            incomplete,
        ),
        Case::new(
            "sqs, no date",
            message().signed().without("x-amz-date"),
            incomplete,
        ),
        Case::new(
            "sqs, two hosts",
            message().signed().add("host", "a"),
            incomplete,
        ),
        Case::new(
            "sts unsigned",
            sts(world, "GetCallerIdentity").unsigned(),
            unsigned,
        ),
        Case::new(
            "sts, a role",
            sts(world, "AssumeRole").signed(),
            Refused(400, "InvalidAction"),
        ),
        Case::new(
            "sts is served",
            sts(world, "GetCallerIdentity").signed(),
            Served,
        ),
    ];
    for seconds in [16 * 60, -16 * 60, 86_400, -86_400] {
        cases.push(Case::new(
            &format!("sqs signed {seconds} seconds ago"),
            message().ago(seconds).signed(),
            mismatch,
        ));
        cases.push(Case::new(
            &format!("dynamodb signed {seconds} seconds ago"),
            item().ago(seconds).signed(),
            mismatch,
        ));
    }
    cases
}

fn sts(world: &World, action: &str) -> Draft {
    let mut draft = world
        .draft("POST", "/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("Action={action}&Version=2011-06-15").as_bytes());
    draft.service = "sts".to_owned();
    draft
}
