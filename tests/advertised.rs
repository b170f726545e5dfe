//! What headers advertise about a limit, in every dialect that is read; and what is nonsense.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

use proptest::prelude::*;
use tidegate::classify::{Advertised, advertised};
use tidegate::time::{Span, WallTime};

/// 2026-01-01T00:00:00Z.
const WALL: u64 = 1_767_225_600;

/// Quota, window, remaining and reset; times in seconds.
type Told = Option<[u64; 4]>;

fn read(fields: &[(&str, &str)]) -> Option<Advertised> {
    let field =
        |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
    advertised(&field, WallTime::from_seconds(WALL))
}

fn check(fields: &[(&str, &str)], expected: Told) {
    let told = read(fields).map(|Advertised { quota, window, remaining, reset }| {
        [u64::from(quota), window.as_ms() / 1000, u64::from(remaining), reset.as_ms() / 1000]
    });
    assert_eq!(told, expected, "{fields:?}");
}

#[test]
fn the_draft_in_the_forms_that_are_deployed() {
    const POLICY: &str = "ratelimit-policy";
    for (fields, expected) in [
        // From version 8 on: lists, joined by name.
        (&[(POLICY, r#""a";q=100;w=60"#), ("ratelimit", r#""a";r=50;t=30"#)][..], Some([100, 60, 50, 30])),
        (&[(POLICY, "a;q=100;w=60"), ("ratelimit", r#""a";r=50;t=30"#)], Some([100, 60, 50, 30])),
        (
            &[(POLICY, r#""a";q=100;w=60;pk=:dXM=:"#), ("ratelimit", r#""a";r=0;pk=:dXM=:;t=30"#)],
            Some([100, 60, 0, 30]),
        ),
        (&[(POLICY, r#""a";q=100;w=60;qu="requests""#), ("ratelimit", r#""a";r=7"#)], Some([100, 60, 7, 0])),
        (&[(POLICY, r#" "a" ; q=100"#)], None),
        (&[(POLICY, r#" "a";q=100; w=60 "#)], Some([100, 60, 100, 0])),
        // Version 7: a list of numbers, and a dictionary.
        (
            &[(POLICY, "100;w=60"), ("ratelimit", "limit=100, remaining=50, reset=30")],
            Some([100, 60, 50, 30]),
        ),
        (&[("ratelimit", "limit=100;w=60, remaining=50, reset=30")], Some([100, 60, 50, 30])),
        (
            &[(POLICY, "10;w=1, 500;w=60"), ("ratelimit", "limit=500, remaining=9, reset=30")],
            Some([500, 60, 9, 30]),
        ),
        // Versions up to 6: one field for each number.
        (
            &[
                (POLICY, "100;w=60"),
                ("ratelimit-limit", "100"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ],
            Some([100, 60, 50, 30]),
        ),
        (
            &[("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "30")],
            Some([100, 60, 50, 30]),
        ),
        (
            &[
                ("ratelimit-limit", "10, 10;w=1, 500;w=60"),
                ("ratelimit-remaining", "3"),
                ("ratelimit-reset", "1"),
            ],
            Some([10, 1, 3, 1]),
        ),
        (&[("ratelimit-limit", "100;w=60"), ("ratelimit-remaining", "50")], Some([100, 60, 50, 0])),
    ] {
        check(fields, expected);
    }
}

#[test]
fn the_older_dialects_where_they_tell_the_window() {
    let epoch = (WALL + 30).to_string();
    let epoch_ms = format!("{}000", WALL + 30);
    for (fields, expected) in [
        (
            &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "50"), ("x-ratelimit-reset", "30")][..],
            None,
        ),
        (
            &[
                ("ratelimit-policy", "100;w=60"),
                ("x-ratelimit-limit", "100"),
                ("x-ratelimit-remaining", "50"),
                ("x-ratelimit-reset", "30"),
            ],
            Some([100, 60, 50, 30]),
        ),
        (
            &[
                ("x-ratelimit-limit", "100;w=60"),
                ("x-ratelimit-remaining", "50"),
                ("x-ratelimit-reset", &epoch),
            ],
            Some([100, 60, 50, 30]),
        ),
        (
            &[
                ("x-rate-limit-limit", "100;w=60"),
                ("x-rate-limit-remaining", "50"),
                ("x-rate-limit-reset", &epoch_ms),
            ],
            Some([100, 60, 50, 30]),
        ),
        // By the name of the window.
        (
            &[("x-ratelimit-limit-minute", "60"), ("x-ratelimit-remaining-minute", "20")],
            Some([60, 60, 20, 0]),
        ),
        (
            &[
                ("x-ratelimit-limit-second", "5"),
                ("x-ratelimit-remaining-second", "4"),
                ("x-ratelimit-limit-hour", "100"),
                ("x-ratelimit-remaining-hour", "90"),
                ("x-ratelimit-limit-day", "1000"),
            ],
            Some([5, 1, 4, 0]),
        ),
    ] {
        check(fields, expected);
    }
}

#[test]
fn of_several_the_one_that_binds_first() {
    const BOTH: (&str, &str) = ("ratelimit-policy", r#""minute";q=100;w=60, "day";q=1000;w=86400"#);
    for (left, expected) in [
        (r#""minute";r=50;t=30, "day";r=900;t=3600"#, [100, 60, 50, 30]),
        // A day is no pace, whatever is left of it.
        (r#""minute";r=50;t=30, "day";r=20;t=3600"#, [100, 60, 50, 30]),
        (r#""minute";r=50;t=30, "day";r=0;t=3600"#, [100, 60, 50, 30]),
        // Only one of them is told of.
        (r#""hour";r=0;t=3600"#, [100, 60, 100, 0]),
        ("malformed;r=0;", [100, 60, 100, 0]),
    ] {
        check(&[BOTH, ("ratelimit", left)], Some(expected));
    }
    let burst = ("ratelimit-policy", r#""second";q=10;w=1, "minute";q=100;w=60"#);
    check(&[burst, ("ratelimit", r#""second";r=4;t=1, "minute";r=50;t=30"#)], Some([10, 1, 4, 1]));
    check(&[burst, ("ratelimit", r#""second";r=4;t=1, "minute";r=2;t=30"#)], Some([100, 60, 2, 30]));
    check(&[("ratelimit-policy", r#""day";q=1000;w=86400"#)], None);
    check(
        &[("ratelimit-policy", r#""rows";q=5;w=1;qu="content-bytes", "requests";q=50;w=1"#)],
        Some([50, 1, 50, 0]),
    );
}

#[test]
fn nonsense_is_ignored() {
    for policy in [
        "",
        " ",
        ",",
        "60",
        "100;w=0",
        "0;w=60",
        "100;w=60,",
        "100;w=-1",
        "-5;w=60",
        "100;w=1.5",
        "100;w=601",
        "1234567890123456;w=60",
        "a;w=60",
        r#""a";q="100";w=60"#,
        r#""a";q=100;w=60, (b)"#,
        r#""a"#,
        "100;w=60 100;w=6",
        "\u{e9};q=1;w=1",
    ] {
        check(&[("ratelimit-policy", policy), ("ratelimit", r#""a";r=1;t=1"#)], None);
    }
    for told in ["", "-1", "1.5", "soon", "99999999999999999999"] {
        check(
            &[("ratelimit-limit", "100;w=60"), ("ratelimit-remaining", told)],
            match told.len() {
                20 => Some([100, 60, u64::from(u32::MAX), 0]),
                _ => Some([100, 60, 100, 0]),
            },
        );
    }
    // A clock that is wrong by years makes no window longer.
    check(&[("ratelimit-limit", "100;w=60"), ("ratelimit-reset", "99999999999")], Some([100, 60, 100, 60]));
    check(&[("ratelimit-limit", "100;w=60"), ("ratelimit-reset", "1000000000")], Some([100, 60, 100, 0]));
    check(
        &[("ratelimit-limit", "999999999999;w=60")],
        Some([u64::from(u32::MAX), 60, u64::from(u32::MAX), 0]),
    );
}

proptest! {
    #[test]
    fn whatever_the_fields_say_it_is_a_limit_or_nothing(
        policy in r#"("a"|a|[0-9]{1,17}|:YQ==:)?(;(q|w|qu|r|t)=("?[a-z]{0,3}"?|-?[0-9]{0,17})){0,4}(, ?b;q=1;w=1)?"#,
        left in r#"("a"|a|limit|reset)(=[0-9]{1,3}|;r=[0-9]{1,3};t=[0-9]{1,6})?(,.{0,5})?"#,
        numbers in proptest::array::uniform3(r"[0-9, ;w=-]{0,12}"),
    ) {
        let [limit, remaining, reset] = &numbers;
        let fields = [
            ("ratelimit-policy", policy.as_str()),
            ("ratelimit", left.as_str()),
            ("x-ratelimit-limit", limit.as_str()),
            ("x-ratelimit-remaining", remaining.as_str()),
            ("x-ratelimit-reset", reset.as_str()),
        ];
        if let Some(told) = read(&fields) {
            prop_assert!(told.quota > 0 && told.window > Span::ZERO && told.reset <= told.window, "{told:?}");
        }
    }
}
