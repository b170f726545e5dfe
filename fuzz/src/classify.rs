//! Classification: whatever an attempt throws or resolves with, it is read in bounded time and judged without a panic.
//!
//! The values form a graph with cycles. Getters may throw, answer otherwise each time, and lead into other objects.

use std::cell::Cell;

use arbitrary::{Arbitrary, Unstructured};
use tidegate::classify::{classify, hint};
use tidegate::decision::Verdict;
use tidegate::outcome::{Code, Figure, Foreign, Outcome};
use tidegate::time::{Span, WallTime};

/// One history of this target.
pub fn run(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        case.check();
    }
}

#[derive(Arbitrary, Debug)]
struct Case {
    wall: f64,
    /// What was thrown, or resolved with.
    value: Value,
    /// The body of a refused answer, read later.
    body: Option<Value>,
    heap: Vec<Object>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    Nothing,
    Throws,
    Truth(bool),
    Number(f64),
    Status(u16),
    Word(u8),
    Words(u8, u8, u8),
    Text(String),
    /// One of the heap.
    Object(u8),
}

#[derive(Arbitrary, Debug)]
struct Object {
    kind: Kind,
    properties: Vec<(Key, Value)>,
    /// How often it was asked: a changing one answers with its properties by turns.
    #[arbitrary(default)]
    asked: Cell<usize>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Plain,
    Headers,
    Changing,
    Revoked,
}

#[derive(Arbitrary, Debug)]
enum Key {
    Known(u8),
    Own(String),
}

impl Case {
    fn check(&self) {
        let wall = WallTime::from_ms(self.wall);
        let value = Fake { value: self.value.clone(), heap: &self.heap };
        let body = self.body.clone().map(|value| Fake { value, heap: &self.heap });
        for thrown in [true, false] {
            let mut outcome = if thrown { Outcome::thrown(&value) } else { Outcome::resolved(&value) };
            if let Some(body) = &body {
                outcome.add_body(body);
            }
            check_facts(&outcome);
            check_verdict(&outcome, wall, thrown);
        }
    }
}

/// What is kept is bounded, however large the value is.
fn check_facts(outcome: &Outcome) {
    // The value, the error in it, and a body.
    assert!(outcome.places.len() <= 3 * MOST_PLACES, "{} places", outcome.places.len());
    for place in &outcome.places {
        let names = place.codes.iter().filter_map(|code| match code {
            Code::Name(name) => Some(name),
            Code::Number(_) => None,
        });
        assert!(names.chain(&place.name).all(|name| name.chars().count() <= LONGEST_CODE));
        let figures = place.figures.iter().filter_map(|(_, figure)| match figure {
            Figure::Text(text) => Some(text),
            Figure::Number(_) => None,
        });
        let mut texts = figures.chain(&place.words).chain(&place.notes);
        assert!(texts.all(|text| text.chars().count() <= LONGEST_TEXT));
    }
}

fn check_verdict(outcome: &Outcome, wall: WallTime, thrown: bool) {
    let verdict = classify(outcome, wall);
    assert_eq!(classify(outcome, wall), verdict, "the same facts are judged in the same way");
    assert!(!(thrown && verdict == Verdict::Success), "what was thrown is no success: {outcome:?}");
    assert!(outcome.failed || verdict != Verdict::Permanent, "nothing failed: {outcome:?}");
    if let Verdict::Throttled { hint: told, .. } = verdict {
        assert!(told.is_none_or(|told| told <= LONGEST), "{told:?}");
        assert!(hint(outcome, wall).is_none_or(|hint| told == Some(hint)));
    }
}

/// A value among those that it may lead to.
#[derive(Clone)]
struct Fake<'a> {
    value: Value,
    heap: &'a [Object],
}

impl<'a> Fake<'a> {
    fn object(&self) -> Option<&'a Object> {
        let Value::Object(index) = self.value else { return None };
        self.heap.get(usize::from(index)).filter(|object| !matches!(object.kind, Kind::Revoked))
    }

    fn of(&self, value: &Value) -> Option<Self> {
        let is_there = !matches!(value, Value::Nothing | Value::Throws);
        is_there.then(|| Self { value: value.clone(), heap: self.heap })
    }
}

impl Object {
    fn get(&self, wanted: impl Fn(&str) -> bool) -> Option<&Value> {
        if let Kind::Changing = self.kind {
            let turn = self.asked.replace(self.asked.get().wrapping_add(1));
            return self.properties.get(turn.checked_rem(self.properties.len())?).map(|(_, value)| value);
        }
        self.properties.iter().find(|(key, _)| wanted(key.text())).map(|(_, value)| value)
    }
}

impl Key {
    fn text(&self) -> &str {
        match self {
            Self::Known(index) => KEYS[usize::from(*index) % KEYS.len()],
            Self::Own(text) => text,
        }
    }
}

impl Foreign for Fake<'_> {
    fn get(&self, key: &str) -> Option<Self> {
        self.of(self.object()?.get(|name| name == key)?)
    }

    fn has(&self, key: &str) -> bool {
        self.object().is_some_and(|object| match object.kind {
            Kind::Headers => key == "get",
            _ => object.get(|name| name == key).is_some(),
        })
    }

    fn header(&self, name: &str) -> Option<Self> {
        self.of(self.object()?.get(|key| key.eq_ignore_ascii_case(name))?)
    }

    fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Number(number) => Some(number),
            Value::Status(status) => Some(f64::from(status % 1_000)),
            _ => None,
        }
    }

    fn as_text(&self, limit: usize) -> Option<String> {
        let word = |index: &u8| WORDS[usize::from(*index) % WORDS.len()];
        let text = match &self.value {
            Value::Word(index) => word(index).to_owned(),
            Value::Words(one, two, three) => [one, two, three].map(word).join(" "),
            Value::Text(text) => text.clone(),
            _ => return None,
        };
        Some(text.chars().take(limit).collect())
    }

    fn is_true(&self) -> bool {
        matches!(self.value, Value::Truth(true))
    }

    fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(index) if usize::from(index) < self.heap.len())
    }

    fn same(&self, other: &Self) -> bool {
        matches!((&self.value, &other.value), (Value::Object(one), Value::Object(other)) if one == other)
    }
}

/// As many objects as one walk reads.
const MOST_PLACES: usize = 32;

/// Characters of a text, and of a code or a name.
const LONGEST_TEXT: usize = 4096;
const LONGEST_CODE: usize = 64;

/// 2^53 ms: the longest that can be told.
const LONGEST: Span = Span::from_ms(1 << 53);

const KEYS: [&str; 36] = [
    "status",
    "statusCode",
    "name",
    "code",
    "error_code",
    "errorCode",
    "error",
    "message",
    "msg",
    "cause",
    "originalError",
    "response",
    "context",
    "body",
    "data",
    "details",
    "hint",
    "headers",
    "ok",
    "statusText",
    "rateLimitExceeded",
    "retry-after-ms",
    "Retry-After-Ms",
    "retry-after",
    "Retry-After",
    "ratelimit",
    "RateLimit",
    "ratelimit-reset",
    "x-ratelimit-reset",
    "retryAfterMs",
    "retryAfter",
    "retry_after",
    "date",
    "sb-error-code",
    "get",
    "constructor",
];

const WORDS: [&str; 48] = [
    "429",
    "503",
    "0",
    "too many requests",
    "rate limit",
    "rate limit exceeded",
    "over_request_rate_limit",
    "over_email_send_rate_limit",
    "try again in",
    "retry after",
    "please wait",
    "5",
    "1.5",
    "60",
    "999999999999",
    "s",
    "ms",
    "seconds",
    "minutes",
    "hours",
    "1m30s",
    "AbortError",
    "TimeoutError",
    "TypeError",
    "Failed to fetch",
    "NetworkError",
    "Load failed",
    "fetch failed",
    "ECONNRESET",
    "ETIMEDOUT",
    "UND_ERR_SOCKET",
    "ENOTFOUND",
    "quota",
    "throttled",
    "slow down",
    "PGRST003",
    "57014",
    "53300",
    "TooManyRequests",
    "ThrottlingException",
    "RATE_LIMIT_CIRCUIT_OPEN",
    "RateLimitError",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "\"burst\";r=0;t=5",
    "limit=100, remaining=0, reset=30",
    "-1",
    "\u{1F980}",
    "per user",
];
