//! What counts as throttled, and for how long: golden vectors that TypeScript runs too, captures of real clients,
//! and properties over arbitrary values.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

#[path = "support/foreign.rs"]
mod foreign;

use std::cell::Cell;
use std::rc::Rc;

use foreign::decode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate::classify::{classify, hint};
use tidegate::decision::{Scope, Verdict};
use tidegate::outcome::{Code, Foreign, Outcome};
use tidegate::time::{Span, WallTime};

#[test]
fn golden_vectors() {
    let cases = read("classification.json");
    let failures = failures(cases.as_array().unwrap(), |case| (&case["name"], case));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every capture of a real client gets the verdict that `expected.json` gives it. Those with `noTrace` cannot be
/// told from another error, or from a success; the reason says why, and the documentation what to do instead.
#[test]
fn captures_of_real_clients() {
    let captures = read("fixtures/supabase-errors.json");
    let captures = captures["captures"].as_array().unwrap();
    let expected = read("fixtures/expected.json");
    assert_eq!(captures.len(), expected.as_object().unwrap().len());
    let failures = failures(captures, |capture| (&capture["id"], &expected[capture["id"].as_str().unwrap()]));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The list of those without a trace is complete: whatever else was sent as a refusal is met as one.
#[test]
fn every_refusal_that_left_a_trace_is_seen() {
    let captures = read("fixtures/supabase-errors.json");
    let expected = read("fixtures/expected.json");
    for capture in captures["captures"].as_array().unwrap() {
        let expectation = &expected[capture["id"].as_str().unwrap()];
        let refused = matches!(capture["sent"]["status"].as_u64(), Some(429 | 420));
        let seen = expectation["verdict"] == "throttled";
        let excused = expectation["noTrace"].is_string();
        assert_eq!(refused, seen || excused, "{}", capture["id"]);
        assert!(!(seen && excused), "{}", capture["id"]);
    }
}

#[test]
fn delays_in_headers() {
    let cases = read("hints.json");
    for case in cases.as_array().unwrap() {
        let mut headers = json!({});
        headers[case["header"].as_str().unwrap()] = case["value"].clone();
        if let Some(date) = case.get("date") {
            headers["date"] = date.clone();
        }
        let value = json!({ "status": 429, "headers": { "$class": "Headers", "entries": headers } });
        let wall = WallTime::from_ms(case["wall"].as_f64().unwrap());
        let found = hint(&Outcome::thrown(&decode(&value)), wall).map(Span::as_ms);
        assert_eq!(found, case["hintMs"].as_u64(), "{}: {}", case["name"], case["value"]);
    }
}

#[test]
fn a_body_that_was_read_later_adds_its_delay_and_its_codes() {
    let refused = json!({ "$class": "Response", "status": 429, "ok": false, "headers": {} });
    let ms = |hint, scope| Verdict::Throttled { hint: Some(Span::from_ms(hint)), scope };
    for (body, expected) in [
        (json!({ "retry_after": 30 }), ms(30_000, Scope::Service)),
        (json!("slow down, retry in 5 seconds"), ms(5000, Scope::Service)),
        (json!({ "code": "over_email_send_rate_limit", "msg": "after 9 seconds" }), ms(9000, Scope::Call)),
        (json!({ "rateLimitExceeded": true }), ms(60_000, Scope::Service)),
        (json!({ "code": "RATE_LIMIT_CIRCUIT_OPEN" }), Verdict::Ignored),
        (json!(null), Verdict::Throttled { hint: None, scope: Scope::Service }),
    ] {
        let mut outcome = Outcome::resolved(&decode(&refused));
        outcome.add_body(&decode(&body));
        assert_eq!(classify(&outcome, NOW), expected, "{body}");
    }
}

#[test]
fn the_facts_can_be_asked() {
    let error = json!({ "message": "slow", "code": "PT429", "cause": { "status": "420", "code": 7 } });
    let outcome = Outcome::thrown(&decode(&error));
    assert_eq!(outcome.status(), Some(420));
    assert_eq!(outcome.code(), Some(&Code::Name("PT429".to_string())));
    assert_eq!(outcome.message(), Some("slow"));
    let nothing = Outcome::resolved(&decode(&json!({ "id": 1 })));
    assert_eq!((nothing.status(), nothing.code(), nothing.message()), (None, None, None));
}

#[test]
fn an_ordinary_result_costs_a_few_questions_and_no_place() {
    let asked = Rc::new(Cell::new(0));
    let outcome = Outcome::resolved(&Endless { asked: Rc::clone(&asked), answers: 0 });
    assert!(outcome.places.is_empty() && !outcome.failed);
    assert!(asked.get() <= 8, "{} questions", asked.get());
}

#[test]
fn an_endless_graph_is_cheap() {
    let asked = Rc::new(Cell::new(0));
    let outcome = Outcome::thrown(&Endless { asked: Rc::clone(&asked), answers: u32::MAX });
    assert_eq!(outcome.places.len(), 32);
    assert!(asked.get() < 10_000, "{} questions", asked.get());
    assert_eq!(classify(&outcome, NOW), Verdict::Permanent);
}

#[test]
fn a_page_of_html_is_read_from_its_beginning_only() {
    let page = |filler: usize| json!({ "message": format!("{}Too many requests", " ".repeat(filler)) });
    assert!(is_throttled(&Outcome::thrown(&decode(&page(4000)))));
    assert!(!is_throttled(&Outcome::thrown(&decode(&page(4096)))));
}

proptest! {
    #[test]
    fn arbitrary_text_is_never_too_much(text in any_text(), header in header_name(), wall in any::<f64>()) {
        let value = json!({ "status": 429, "message": text, "headers": { header: text, "date": text } });
        let outcome = Outcome::thrown(&decode(&value));
        let throttled = matches!(classify(&outcome, WallTime::from_ms(wall)), Verdict::Throttled { .. });
        prop_assert!(throttled);
        let longest = Span::from_ms(1 << 53);
        prop_assert!(hint(&outcome, WallTime::from_ms(wall)).is_none_or(|hint| hint <= longest));
    }

    #[test]
    fn digits_are_seconds_and_nothing_else_is(seconds in 0..10_000_000_u64, junk in "[-+.a-z_xe ]{0,2}[-+.a-z_xe]") {
        let read = |text: String| {
            let value = json!({ "headers": { "retry-after": text } });
            hint(&Outcome::thrown(&decode(&value)), NOW)
        };
        prop_assert_eq!(read(seconds.to_string()), Some(Span::from_ms(seconds * 1000)));
        prop_assert_eq!(read([junk.clone(), seconds.to_string()].concat()), None);
        prop_assert_eq!(read([seconds.to_string(), junk].concat()), None);
    }

    #[test]
    fn an_http_date_is_as_far_away_as_it_says(seconds in 0..200_000_000_u64) {
        let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW.as_ms() / 1000 + seconds);
        let value = json!({ "headers": { "retry-after": httpdate::fmt_http_date(later) } });
        let found = hint(&Outcome::thrown(&decode(&value)), NOW);
        prop_assert_eq!(found, Some(Span::from_ms(seconds * 1000)));
    }

    /// Against the crate `httpdate`, except where that differs: years of two digits, leap seconds, and the space in
    /// the form of RFC 850, which it does not look at; dates before 1970, which it refuses.
    #[test]
    fn dates_are_read_as_an_independent_parser_reads_them(text in near_dates()) {
        let is_early = |word: &str| word.len() == 4 && word < "1970" && word.bytes().all(|byte| byte.is_ascii_digit());
        prop_assume!(!text.split(' ').any(is_early));
        let value = json!({ "headers": { "retry-after": text } });
        let found = hint(&Outcome::thrown(&decode(&value)), NOW);
        let date = httpdate::parse_http_date(&text).ok();
        let expected = date.map(|date| {
            let later = date.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            Span::from_ms(u64::try_from(later).unwrap().saturating_sub(NOW.as_ms()))
        });
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn what_shows_no_sign_is_never_throttled(value in any_json(), thrown: bool) {
        prop_assert!(!is_throttled(&outcome_of(&value, thrown)), "{value}");
    }

    #[test]
    fn a_record_is_an_ordinary_result_whatever_it_says(name in any_sign(), note in any_sign()) {
        let record = json!({ "id": 1, "status": name, "statusCode": note, "code": 429, "message": note, "name": name });
        prop_assert_eq!(classify(&Outcome::resolved(&decode(&record)), NOW), Verdict::Success);
        let list = json!({ "data": [record.clone()], "total": 429 });
        prop_assert_eq!(classify(&Outcome::resolved(&decode(&list)), NOW), Verdict::Success);
        prop_assert_eq!(classify(&Outcome::resolved(&decode(&json!({ "data": record }))), NOW), Verdict::Success);
    }

    #[test]
    fn a_status_is_seen_wherever_it_hangs(value in any_json(), path in proptest::collection::vec(link(), 0..=4)) {
        let refusal = json!({ "status": 429, "details": value });
        let wrapped = path.iter().fold(refusal, |inner, link| json!({ *link: inner, "message": "?" }));
        prop_assert!(is_throttled(&outcome_of(&wrapped, true)), "{wrapped}");
    }
}

/// An object that answers every question with another one like it, so many levels deep.
#[derive(Clone)]
struct Endless {
    asked: Rc<Cell<u32>>,
    answers: u32,
}

impl Foreign for Endless {
    fn get(&self, _: &str) -> Option<Self> {
        self.asked.set(self.asked.get() + 1);
        Some(Self { asked: Rc::clone(&self.asked), answers: self.answers.checked_sub(1)? })
    }
    fn has(&self, _: &str) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.answers > 0
    }
    fn header(&self, name: &str) -> Option<Self> {
        self.get(name)
    }
    fn as_number(&self) -> Option<f64> {
        None
    }
    fn as_text(&self, _: usize) -> Option<String> {
        None
    }
    fn is_true(&self) -> bool {
        false
    }
    fn is_object(&self) -> bool {
        true
    }
    fn same(&self, _: &Self) -> bool {
        false
    }
}

/// What each case was judged as, where that is not what it expects. `parts` gives the name and the expectation.
fn failures<'a>(cases: &'a [Value], parts: impl Fn(&'a Value) -> (&'a Value, &'a Value)) -> Vec<String> {
    let judged = cases.iter().map(|case| {
        let (name, expected) = parts(case);
        let outcome = outcome_of(&case["value"], case["settled"] == "thrown");
        (name, classify(&outcome, NOW), verdict(expected))
    });
    let wrong = judged.filter(|(_, found, expected)| found != expected);
    wrong.map(|(name, found, expected)| format!("{name}: {found:?}, expected {expected:?}")).collect()
}

fn verdict(expected: &Value) -> Verdict {
    match expected["verdict"].as_str().unwrap() {
        "success" => Verdict::Success,
        "permanent" => Verdict::Permanent,
        "ignored" => Verdict::Ignored,
        "transient" => Verdict::Transient { answered: expected["answered"].as_bool().unwrap() },
        "throttled" => Verdict::Throttled {
            hint: expected["hintMs"].as_u64().map(Span::from_ms),
            scope: if expected["scope"] == "call" { Scope::Call } else { Scope::Service },
        },
        other => panic!("unknown verdict {other}"),
    }
}

fn outcome_of(value: &Value, thrown: bool) -> Outcome {
    let value = decode(value);
    if thrown { Outcome::thrown(&value) } else { Outcome::resolved(&value) }
}

fn is_throttled(outcome: &Outcome) -> bool {
    matches!(classify(outcome, NOW), Verdict::Throttled { .. })
}

fn read(file: &str) -> Value {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Text near to what is looked for, and text far from it.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[0-9.:;=\"-]{0,40}",
        "(Sun|Sunday|Mon), [0-9]{1,2}[ -](Nov|Feb)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        "\"[a-z]{0,3}\"(;[rt]=[0-9]{0,20}){0,3}(, )?",
        "(retry|after|wait|in|try again in| |[0-9]{1,400}|\\.|s|ms|minutes){0,8}",
    ]
}

/// Dates of all three forms, of which some do not exist, or have a small mistake.
fn near_dates() -> impl Strategy<Value = String> {
    let day = 1_u64..80_000;
    let time = (0..25_u64, 0..61_u64, 0..60_u64);
    let mistake = prop_oneof![4 => Just(None), 1 => (0..24_usize, "[ 0-9A-z,:]").prop_map(Some)];
    (day, time, 0..3, mistake, -1..2_i32).prop_map(|(day, (hour, minute, second), form, mistake, shift)| {
        let midnight = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
        let date = httpdate::fmt_http_date(midnight);
        let [weekday, day, month, year, ..] =
            date.split([' ', ',']).filter(|part| !part.is_empty()).collect::<Vec<_>>()[..]
        else {
            unreachable!()
        };
        let day: i32 = day.parse::<i32>().unwrap() + shift;
        let time = format!("{hour:02}:{minute:02}:{second:02}");
        let full = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let full = full.iter().find(|full| full.starts_with(weekday)).unwrap();
        let short_year = year.get(2..).unwrap();
        let mut text = match form {
            0 => format!("{weekday}, {day:02} {month} {year} {time} GMT"),
            1 if !(70..77).contains(&short_year.parse::<i32>().unwrap()) => {
                format!("{full}, {day:02}-{month}-{short_year} {time} GMT")
            }
            _ => format!("{weekday} {month} {day:2} {time} {year}"),
        };
        if let Some((at, letter)) = mistake.filter(|_| form != 1) {
            text.replace_range(at..=at, &letter);
        }
        text
    })
}

fn header_name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "retry-after-ms",
        "retry-after",
        "ratelimit",
        "ratelimit-reset",
        "x-ratelimit-reset",
    ])
}

fn link() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["error", "cause", "originalError", "response", "context"])
}

/// What would count elsewhere.
fn any_sign() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(429),
        json!("429"),
        json!(420),
        json!(503),
        json!("rate limit"),
        json!("Too many requests"),
        json!("SlowDown"),
    ])
}

/// JSON of the shape of errors and results, without any sign of a refusal: numbers below 400, words of letters
/// that spell none.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-400..400_i32).prop_map(Value::from),
        "[b-k -]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "status",
            "statusCode",
            "statusText",
            "code",
            "error",
            "cause",
            "originalError",
            "response",
            "context",
            "data",
            "body",
            "headers",
            "message",
            "details",
            "hint",
            "name",
            "retryAfter",
            "get",
            "ok",
        ])
        .prop_map(String::from),
        "[a-z]{1,8}",
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Sun, 22 Nov 2026 08:00:00 GMT: the wall time of the vectors.
const NOW: WallTime = WallTime::from_seconds(1_795_334_400);
