use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn array(text: &str) -> IndexSet {
    IndexSet::parse(text).unwrap().indices
}

fn message(text: &str) -> String {
    IndexSet::parse(text).unwrap_err().to_string()
}

#[test]
fn every_documented_form_is_read() {
    for (text, expected) in [
        ("3", &[0, 1, 2][..]),
        ("0-3", &[0, 1, 2, 3]),
        ("5-5", &[5]),
        ("1-10:3", &[1, 4, 7, 10]),
        ("1-9:3", &[1, 4, 7]),
        ("1-2:9", &[1]),
        ("3,5,9", &[3, 5, 9]),
        ("9,3,5", &[3, 5, 9]),
        ("0-2,20,30-34:2", &[0, 1, 2, 20, 30, 32, 34]),
        ("0-6:2,1-5:2", &[0, 2, 4, 6, 1, 3, 5]),
        ("5,0-4:2", &[0, 2, 4, 5]),
        ("007-008", &[7, 8]),
        ("4294967295-4294967295", &[4_294_967_295]),
    ] {
        let set = array(text);
        assert_eq!(set.iter().collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(set.len(), expected.len() as u64, "{text}");
    }
}

#[test]
fn a_percent_limits_how_many_run() {
    for (text, limit) in [("100%8", Some(8)), ("0-9,20%1", Some(1)), ("100", None)] {
        assert_eq!(IndexSet::parse(text).unwrap().max_concurrent, limit);
    }
}

#[test]
fn each_refusal_says_what_was_expected() {
    let understood = "expected `N`, `FIRST-LAST` or `FIRST-LAST:STEP`";
    for (text, expected) in [
        ("", "`--array `: expected a count such as `100` or indices such as `0-99`".into()),
        (
            "0",
            "`--array 0` asks for no tasks; `--array N` runs N tasks with indices 0 to N-1".into(),
        ),
        ("5-1", "`--array 5-1`: `5-1` runs backwards; did you mean `1-5`?".into()),
        ("1-5,3", "`--array 1-5,3`: index 3 is named twice; expected each index once".into()),
        ("7,7", "`--array 7,7`: index 7 is named twice; expected each index once".into()),
        (
            "0-9:3,1-9:4",
            "`--array 0-9:3,1-9:4`: index 9 is named twice; expected each index once".into(),
        ),
        ("0-9:0", "`--array 0-9:0`: the step of `0-9:0` is 0; expected 1 or more".into()),
        (
            "9%0",
            "`--array 9%0`: `%0` lets no task run; expected `%K` with K of 1 or more".into(),
        ),
        (
            "9%x",
            "`--array 9%x`: `%x` is not understood; expected `%K`, the most tasks to run at a time"
                .into(),
        ),
        (
            "9%",
            "`--array 9%`: `%` is not understood; expected `%K`, the most tasks to run at a time"
                .into(),
        ),
        (
            "1,,2",
            "`--array 1,,2`: a piece between commas is empty; expected pieces such as `0-9` or `20`"
                .into(),
        ),
        (
            "1,",
            "`--array 1,`: a piece between commas is empty; expected pieces such as `0-9` or `20`"
                .into(),
        ),
        ("x", format!("`--array x`: `x` is not understood; {understood}")),
        ("-5", format!("`--array -5`: `-5` is not understood; {understood}")),
        ("1-", format!("`--array 1-`: `1-` is not understood; {understood}")),
        ("5:2", format!("`--array 5:2`: `5:2` is not understood; {understood}")),
        ("1e3", format!("`--array 1e3`: `1e3` is not understood; {understood}")),
        (
            "1 - 5",
            "`--array 1 - 5`: spaces are not allowed; write `0-9,20` with none".into(),
        ),
        (
            "10000001",
            "`--array 10000001`: too many tasks; an array has at most 10000000".into(),
        ),
        (
            "0-10000000",
            "`--array 0-10000000`: too many tasks; an array has at most 10000000".into(),
        ),
        (
            "5-4294967296:4294967291",
            "`--array 5-4294967296:4294967291`: 4294967296 is too high; an index is at most \
             4294967295, and an array has at most 10000000 tasks"
                .into(),
        ),
        (
            "99999999999999999999999",
            "`--array 99999999999999999999999`: 99999999999999999999999 is too high; an index is \
             at most 4294967295, and an array has at most 10000000 tasks"
                .into(),
        ),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
    assert!(message(&"1,".repeat(9999)).len() < 200);
}

#[test]
fn tasks_picks_indices_from_the_array() {
    let whole = array("0-9,20");
    let picked = IndexSet::parse_subset("5,20", &whole).unwrap();
    assert_eq!(picked.iter().collect::<Vec<_>>(), [5, 20]);
    // A lone number is an index here, 0 too.
    for lone in [0, 5] {
        let picked = IndexSet::parse_subset(&lone.to_string(), &whole).unwrap();
        assert_eq!(picked.iter().collect::<Vec<_>>(), [lone]);
    }
    for (text, expected) in [
        (
            "8-12",
            "`--tasks 8-12`: the array has no index 10; its indices are 0-9,20",
        ),
        ("5%2", "`--tasks 5%2`: `%K` is not expected here"),
        (
            "5-1",
            "`--tasks 5-1`: `5-1` runs backwards; did you mean `1-5`?",
        ),
    ] {
        let error = IndexSet::parse_subset(text, &whole).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_largest_array_takes_one_range() {
    let set = array("10000000");
    assert_eq!(set.ranges.len(), 1);
    assert_eq!(set.get(9_999_999), Some(9_999_999));
    assert_eq!(set.get(10_000_000), None);
}

#[test]
fn sets_are_also_made_from_numbers() {
    assert_eq!(IndexSet::first(3).unwrap(), array("0-2"));
    assert_eq!(IndexSet::single(7).unwrap(), array("7-7"));
    assert_eq!(
        IndexSet::from_indices([3, 1, 2, 9, 3]).unwrap(),
        array("1-3,9")
    );
    assert_eq!(IndexSet::first(0), None);
    assert_eq!(IndexSet::first(MAX_TASKS + 1), None);
    assert_eq!(IndexSet::single(MAX_INDEX + 1), None);
    assert_eq!(IndexSet::from_indices([]), None);
}

#[test]
fn stored_as_its_text() {
    let set = array("30-40:2,0-9");
    let json = serde_json::to_string(&set).unwrap();
    assert_eq!(json, r#""0-9,30-40:2""#);
    assert_eq!(serde_json::from_str::<IndexSet>(&json).unwrap(), set);
    assert!(serde_json::from_str::<IndexSet>(r#""5-1""#).is_err());
}

/// Texts of the right form; some overlap and are refused.
fn array_text() -> impl Strategy<Value = String> {
    let piece =
        (0_u64..60, 0_u64..40, 1_u64..9, 0..3_u8).prop_map(
            |(first, more, step, form)| match form {
                0 => format!("{first}"),
                1 => format!("{first}-{}", first + more),
                _ => format!("{first}-{}:{step}", first + more),
            },
        );
    prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.join(","))
}

/// What the text says, read the slow way; `None` if it names an index twice.
fn slowly(text: &str) -> Option<BTreeSet<u64>> {
    let mut set = BTreeSet::new();
    if let Ok(count) = text.parse::<u64>() {
        return Some((0..count).collect());
    }
    for piece in text.split(',') {
        let (range, step) = piece.split_once(':').unwrap_or((piece, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        for index in (first..=last).step_by(step.parse().ok()?) {
            set.insert(index).then_some(())?;
        }
    }
    Some(set)
}

proptest! {
    #[test]
    fn agrees_with_a_plain_set(text in array_text()) {
        let expected = slowly(&text).filter(|set| !set.is_empty());
        let found = IndexSet::parse(&text).ok().map(|request| request.indices);
        let indices = found.as_ref().map(|set| set.iter().collect::<BTreeSet<_>>());
        prop_assert_eq!(indices, expected);
        if let Some(set) = found {
            prop_assert_eq!(set.iter().count() as u64, set.len());
            for (position, index) in set.iter().enumerate() {
                prop_assert_eq!(set.get(position as u64), Some(index));
                prop_assert_eq!(set.position_of(index), Some(position as u64));
            }
            prop_assert_eq!(set.get(set.len()), None);
            for index in 0..110 {
                prop_assert_eq!(set.contains(index), set.iter().any(|i| i == index));
            }
        }
    }

    #[test]
    fn what_is_shown_reads_back(text in array_text()) {
        if let Ok(request) = IndexSet::parse(&text) {
            let shown = request.indices.to_string();
            prop_assert_eq!(&array(&shown), &request.indices, "{}", &shown);
            let subset = IndexSet::parse_subset(&shown, &request.indices);
            prop_assert_eq!(subset, Ok(request.indices));
        }
    }

    #[test]
    fn large_steps_meet_where_they_should(
        first in 0_u64..1 << 31,
        step in 1_u64..1 << 20,
        other in 1_u64..1 << 20,
        moves in 0_u64..900,
    ) {
        // Both pass through `first + step * moves`, so they overlap.
        let meeting = first + step * moves;
        let a = Stepped::new(first, first + step * 1000, step);
        let b = Stepped::new(meeting % other, meeting + other * 5, other);
        let found = a.meets(b);
        prop_assert!(found.is_some_and(|index| index <= meeting));
        prop_assert_eq!(found, b.meets(a));
        let found = found.unwrap();
        prop_assert!(a.position_of(found).is_some() && b.position_of(found).is_some());
    }

    #[test]
    fn any_indices_are_kept(indices in prop::collection::btree_set(0_u64..200, 1..50)) {
        let set = IndexSet::from_indices(indices.iter().copied()).unwrap();
        prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), indices);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = IndexSet::parse(&text);
    }

    #[test]
    fn any_likely_text_is_read_or_refused(text in "[0-9,:%-]{0,30}") {
        if let Ok(request) = IndexSet::parse(&text) {
            prop_assert!(request.indices.len() <= MAX_TASKS);
        }
    }

    #[test]
    fn any_text_picks_a_subset_or_is_refused(text in any::<String>(), count in 1_u64..50) {
        let whole = IndexSet::first(count).unwrap();
        let _ = IndexSet::parse_subset(&text, &whole);
    }

    #[test]
    fn any_likely_text_picks_a_subset_or_is_refused(text in "[0-9,:%-]{0,12}", whole in array_text()) {
        let Ok(whole) = IndexSet::parse(&whole) else {
            return Ok(());
        };
        if let Ok(subset) = IndexSet::parse_subset(&text, &whole.indices) {
            prop_assert!(subset.len() <= whole.indices.len());
            prop_assert!(subset.iter().all(|index| whole.indices.contains(index)));
        }
    }
}
