//! The table itself: how it is made, and what fits.

mod world;

use serde_json::json;
use spawn_core::moment::UnixMicros;
use spawn_core::observed::FailedCall;
use spawn_core::outcome::Cause;
use spawn_dynamo::{DynamoApi, DynamoLedger, DynamoOptions, Retries};
use spawn_ports::ledger::{Ledger, LedgerError};
use world::{Fault, Faulty, Http};

const NOW: UnixMicros = UnixMicros(1_769_500_000_000_000);

#[test]
fn it_is_made_on_first_use() {
    let table = world::new_table();
    let mut api = Http::new();
    let about = json!({ "TableName": table });
    api.call("DescribeTable", about.clone()).unwrap_err();
    let mut ledger = world::ledger(&table);
    api.call("DescribeTable", about.clone()).unwrap_err();
    assert_eq!(ledger.arrays(9).unwrap(), []);
    let made = api.call("DescribeTable", about.clone()).unwrap();
    let made = &made["Table"];
    let billing = &made["BillingModeSummary"]["BillingMode"];
    assert_eq!(billing, "PAY_PER_REQUEST");
    assert_eq!(made["TableStatus"], "ACTIVE");
    let ttl = api.call("DescribeTimeToLive", about).unwrap();
    let ttl = &ttl["TimeToLiveDescription"];
    assert_eq!(ttl["AttributeName"], "ttl");
    // The next one finds it.
    world::ledger(&table)
        .submit(&world::new_array(world::array_id(0), 3), NOW)
        .unwrap();
    assert_eq!(ledger.arrays(9).unwrap().len(), 1);
}

#[test]
fn one_whose_making_was_cut_off_is_set_up_by_the_next() {
    let table = world::new_table();
    let (faulty, faults) = Faulty::over(Http::new());
    let once = DynamoOptions {
        retries: Retries::none(),
        ..world::options(&table)
    };
    let mut cut_off = DynamoLedger::new(faulty, once);
    // Looked for, made, found active and without a version; and then a call fails.
    faults.borrow_mut().next = [None, None, None, None, Some(Fault::ServerError)].into();
    cut_off.arrays(1).unwrap_err();
    assert_eq!(faults.borrow().calls.last().unwrap(), "UpdateTimeToLive");
    world::ledger(&table).arrays(1).unwrap();
    let about = json!({ "TableName": table });
    let ttl = Http::new().call("DescribeTimeToLive", about).unwrap();
    assert_eq!(ttl["TimeToLiveDescription"]["AttributeName"], "ttl");
}

#[test]
fn many_make_it_at_once() {
    let table = world::new_table();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let table = &table;
            scope.spawn(move || {
                let mut ledger = world::ledger(table);
                ledger
                    .submit(&world::new_array(world::array_id(n), 3), NOW)
                    .unwrap();
            });
        }
    });
    assert_eq!(world::ledger(&table).arrays(9).unwrap().len(), 6);
}

#[test]
fn one_of_a_newer_program_is_refused() {
    let table = world::new_table();
    world::ledger(&table).arrays(1).unwrap();
    let item =
        json!({ "pk": { "S": "schema" }, "sk": { "S": "schema" }, "version": { "N": "99" } });
    let put = json!({ "TableName": table, "Item": item });
    Http::new().call("PutItem", put).unwrap();
    let refused = world::ledger(&table).arrays(1).unwrap_err();
    assert!(matches!(refused, LedgerError::Storage { .. }));
    let said = refused.to_string();
    assert!(
        said.contains("newer program (version 99, this one knows 1)"),
        "{said}"
    );
    assert!(said.contains(&table), "{said}");
}

#[test]
fn a_large_specification_is_kept_whole_and_a_huge_one_refused() {
    let mut ledger = world::ledger(&world::new_table());
    let mut array = world::new_array(world::array_id(0), 3);
    array.spec = format!("[\"{}\"]", "ü\\n\"".repeat(200_000));
    ledger.submit(&array, NOW).unwrap();
    let record = ledger.array(&array.id).unwrap().unwrap();
    assert!(record.submitted == array);
    let mut huge = world::new_array(world::array_id(1), 3);
    huge.spec = "x".repeat(4 << 20);
    let refused = ledger.submit(&huge, NOW).unwrap_err();
    assert!(matches!(refused, LedgerError::Storage { .. }));
    assert_eq!(ledger.array(&huge.id).unwrap(), None);
}

#[test]
fn what_is_too_long_for_an_item_is_cut() {
    let mut ledger = world::ledger(&world::new_table());
    let id = world::array_id(0);
    ledger
        .submit(&world::new_array(id.clone(), 48), NOW)
        .unwrap();
    let agent = ledger.enroll(&world::new_agent(&id), NOW).unwrap();
    let token = ledger.claim(agent, 48, NOW).unwrap().token;
    let call = FailedCall {
        service: "s3".to_owned(),
        operation: "PutObject".to_owned(),
        code: "NoSuchBucket".to_owned(),
        resource: Some("\u{1}".repeat(100_000)),
        count: 1,
    };
    let outcomes: Vec<_> = (0..48)
        .map(|at| {
            let mut outcome = world::outcome(at, token, Cause::Exit, NOW);
            outcome.report.ending.message = Some("\u{1}".repeat(100_000));
            outcome.report.ending.last_stderr = Some("\u{1}".repeat(100_000));
            outcome.failed_calls = vec![call.clone(); 40];
            outcome
        })
        .collect();
    let answers = ledger.commit(agent, &outcomes, NOW).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    let row = ledger.task(&id, 47).unwrap().unwrap();
    let message = row.ending.unwrap().message.unwrap();
    assert!(message.len() <= 32 << 10 && message.ends_with("..."));
    assert_eq!(row.failed_calls.len(), 16);
    // And claimed again, with what was said put away.
    let mut claimed = 0;
    while claimed < 48 {
        let claim = ledger.claim(agent, 48, NOW).unwrap();
        assert!(!claim.tasks.is_empty());
        claimed += claim.tasks.len();
    }
    assert_eq!(ledger.attempts(&id, 47).unwrap().len(), 2);
}
