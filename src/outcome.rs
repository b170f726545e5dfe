//! What came back from one attempt, as facts: [`Outcome`], read off a value from outside through [`Foreign`].
//!
//! An attempt throws anything, or resolves with anything. The walk collects what a judgement may rest on, place by
//! place, and judges nothing itself; `classify` does. Nothing here knows JavaScript: `wasm` reads real values, the
//! tests read JSON.

use std::iter::once;

/// A value from outside, read property by property.
///
/// Nothing about it is trusted: a getter may throw, a proxy may be revoked, a graph may be endless. Whatever goes
/// wrong is answered with `None` or `false`.
pub trait Foreign: Clone {
    /// The property `key`, inherited ones too. `None` when this is no object or function, when the property is
    /// absent, `undefined` or `null`, and when asking threw.
    fn get(&self, key: &str) -> Option<Self>;

    /// Whether the property `key` is there, whatever its value: `null` counts. `false` when asking threw.
    fn has(&self, key: &str) -> bool;

    /// The entry `name` (in lower case) of this container of headers: something with a `get` method such as
    /// `Headers` or `Map`, an array of pairs, or any other object's own properties; in the latter three the name
    /// is matched in any case. `None` as with [`Foreign::get`].
    fn header(&self, name: &str) -> Option<Self>;

    /// The number, NaN and the infinities included, when it is one.
    fn as_number(&self) -> Option<f64>;

    /// The first `limit` characters of the string, when it is one.
    fn as_text(&self, limit: usize) -> Option<String>;

    /// Whether it is exactly `true`.
    fn is_true(&self) -> bool;

    /// Whether it is an object or a function.
    fn is_object(&self) -> bool;

    /// Whether both are the same object.
    fn same(&self, other: &Self) -> bool;
}

/// The facts of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Where something was found: the settled value first, then what hangs on it, near before far. Empty for an
    /// ordinary result.
    pub places: Vec<Place>,
    /// Whether the attempt threw, or resolved with a value that holds an `error`.
    pub failed: bool,
}

/// One object, or a bare string, and what it says. Facts of the `body` or `data` in it are here too.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `status`, when it is an integer or a string of digits.
    pub status: Option<u32>,
    /// `statusCode`, in the same manner.
    pub status_code: Option<u32>,
    /// Whether a status other than 0 stands beside the words: the server has said in numbers what it means.
    pub answered: bool,
    /// `name`.
    pub name: Option<String>,
    /// `code`, `error_code`, `errorCode`; `statusCode` and `error` when they are words.
    pub codes: Vec<Code>,
    /// The same of its body, and what its headers give as a code.
    pub body_codes: Vec<Code>,
    /// Whether `rateLimitExceeded` is `true`, here or in the body.
    pub over_limit: bool,
    /// What an error says about itself: its `message`, or the string that it is.
    pub words: Vec<String>,
    /// Other text in which a delay may be written: `details`, `hint`, and text of the body.
    pub notes: Vec<String>,
    /// Values that may be a delay, under the names that say how to read them. Not checked yet.
    pub figures: Vec<(Source, Figure)>,
    /// The `Date` of its headers: the server's clock when it answered.
    pub date: Option<String>,
}

/// An error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A number, or a string of digits.
    Number(u32),
    /// Anything else that is text.
    Name(String),
}

/// A number or a text, as it stood there.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A number; NaN and infinities are possible.
    Number(f64),
    /// A string.
    Text(String),
}

/// Under which name a figure stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `retry-after-ms`.
    RetryAfterMs,
    /// `Retry-After`: seconds or a date.
    RetryAfter,
    /// `RateLimit`: the IETF draft's structured field.
    RateLimit,
    /// `RateLimit-Reset` and `X-RateLimit-Reset`: seconds from now, or a time in seconds or milliseconds.
    Reset,
    /// `retryAfterMs` in a body or an error.
    BodyMs,
    /// `retryAfter` and `retry_after` there: seconds.
    BodySeconds,
}

impl Source {
    /// All of them, the one that is believed first at the front.
    pub const ALL: [Self; 6] =
        [Self::RetryAfterMs, Self::RetryAfter, Self::RateLimit, Self::Reset, Self::BodyMs, Self::BodySeconds];
}

impl Outcome {
    /// The facts of an attempt that threw or rejected with `value`: the value itself, and what hangs on it by
    /// `error`, `cause`, `originalError`, `response` and `context`, four levels deep, each object once.
    pub fn thrown<F: Foreign>(value: &F) -> Self {
        let mut outcome = Self { failed: true, ..Self::default() };
        outcome.walk(value);
        outcome
    }

    /// The facts of an attempt that resolved with `value`. Of the value itself only a status counts that stands in
    /// a `Response` or beside an `error`, `data` or `statusText` key, and `rateLimitExceeded`; whatever else it
    /// holds is somebody's data. Its `error` is read as if it had been thrown.
    pub fn resolved<F: Foreign>(value: &F) -> Self {
        let mut outcome = Self::default();
        if let Some(answer) = Place::answer(value) {
            outcome.places.push(answer);
        }
        let Some(error) = value.get("error").filter(is_error) else {
            return outcome;
        };
        outcome.failed = true;
        let answered = outcome.places.iter().any(|place| place.answered);
        let behind = outcome.places.len();
        outcome.walk(&error);
        // The status of a result stands beside its error: `{ status: 409, error: { message: "Key (id)=(429) …" } }`.
        if let Some(place) = outcome.places.get_mut(behind) {
            place.answered |= answered;
        }
        outcome
    }

    /// Adds the body of a refused `Response`, read after all: parsed when it is JSON, else as a string.
    pub fn add_body<F: Foreign>(&mut self, body: &F) {
        let mut place =
            Place { body_codes: codes(body), over_limit: is_over_limit(body), ..Place::default() };
        place.read_body(body);
        self.places.push(place);
    }

    /// The nearest status, `statusCode` included. 0 means that nobody answered.
    pub fn status(&self) -> Option<u32> {
        self.places.iter().find_map(|place| place.status.or(place.status_code))
    }

    /// The nearest code.
    pub fn code(&self) -> Option<&Code> {
        self.places.iter().find_map(|place| place.codes.first().or(place.body_codes.first()))
    }

    /// The nearest message.
    pub fn message(&self) -> Option<&str> {
        self.places.iter().find_map(|place| place.words.first()).map(String::as_str)
    }

    /// Reads `root` and what hangs on it, breadth first, so that a bound on the number keeps what is near.
    fn walk<F: Foreign>(&mut self, root: &F) {
        let mut seen: Vec<F> = Vec::new();
        let mut level = vec![root.clone()];
        for _ in 0..=MAX_DEPTH {
            let mut next = Vec::new();
            for value in level {
                if seen.len() == MAX_PLACES {
                    return;
                }
                if seen.iter().any(|other| other.same(&value)) {
                    continue;
                }
                self.places.push(Place::error(&value));
                next.extend(LINKS.iter().filter_map(|key| value.get(key)).filter(F::is_object));
                seen.push(value);
            }
            level = next;
        }
    }
}

impl Place {
    /// An error, or what hangs on one.
    fn error<F: Foreign>(value: &F) -> Self {
        let mut place = Self::default();
        if let Some(words) = text(value) {
            place.words.push(words);
            return place;
        }
        place.status = status(value, "status");
        place.status_code = status(value, "statusCode");
        place.answered = [place.status, place.status_code].into_iter().flatten().any(|status| status != 0);
        place.name = value.get("name").and_then(|name| name.as_text(MAX_CODE));
        place.codes = codes(value);
        place.words = texts(value, &WORDS);
        place.over_limit = is_over_limit(value);
        for body in bodies(value) {
            place.body_codes.append(&mut codes(&body));
            place.over_limit |= is_over_limit(&body);
        }
        place.read_hints(value);
        place
    }

    /// A resolved value, when it is more than data: an answer with a status, or flagged as over the limit.
    fn answer<F: Foreign>(value: &F) -> Option<Self> {
        let status = status(value, "status").filter(|_| is_answer(value));
        let over_limit = is_over_limit(value) || value.get("data").is_some_and(|data| is_over_limit(&data));
        if status.is_none() && !over_limit {
            return None;
        }
        let answered = status.is_some_and(|status| status != 0);
        let mut place = Self { status, answered, over_limit, ..Self::default() };
        // A success has no delay to tell, and is met too often to look for one.
        if over_limit || status.is_some_and(|status| status >= 400) {
            place.read_hints(value);
        }
        Some(place)
    }

    /// Everything in `value`, its headers and its body that may tell a delay.
    fn read_hints<F: Foreign>(&mut self, value: &F) {
        if let Some(headers) = value.get("headers") {
            for (name, _, source) in HEADERS {
                self.figures.extend(headers.header(name).and_then(|value| Some((source, figure(&value)?))));
            }
            self.date = headers.header("date").and_then(|date| text(&date));
            self.body_codes.extend(CODE_HEADERS.iter().filter_map(|name| code(&headers.header(name)?)));
        }
        for (name, written, source) in HEADERS {
            let own = [name, written].into_iter().filter_map(|key| value.get(key));
            self.figures.extend(own.filter_map(|value| Some((source, figure(&value)?))));
        }
        self.read_properties(value);
        for body in bodies(value) {
            self.read_body(&body);
        }
    }

    /// What a server said: text, or an object with messages and properties.
    fn read_body<F: Foreign>(&mut self, body: &F) {
        if let Some(words) = text(body) {
            self.notes.push(words);
            return;
        }
        self.notes.append(&mut texts(body, &WORDS));
        self.read_properties(body);
    }

    /// The properties of `value`, and of its `details` and `hint`, that tell a delay or are text.
    fn read_properties<F: Foreign>(&mut self, value: &F) {
        self.notes.append(&mut texts(value, &NOTES));
        let nested = NOTES.iter().filter_map(|key| value.get(key));
        for holder in once(value.clone()).chain(nested) {
            for (name, source) in PROPERTIES {
                self.figures.extend(holder.get(name).and_then(|value| Some((source, figure(&value)?))));
            }
        }
    }
}

/// Whether `value`, which holds a status, is an answer: a `Response`, or a result with the status beside an
/// `error`, `data` or `statusText` key, even when that is `null`. A record of a CRM with a column `status` is not.
fn is_answer<F: Foreign>(value: &F) -> bool {
    ["error", "data", "statusText"].iter().any(|key| value.has(key)) || is_response(value)
}

/// Whether `value` behaves like a `Response`, of whichever realm or library: a numeric status, and headers that
/// can be asked or an `ok` beside them. A stored log line `{ status, headers: { … } }` has neither.
fn is_response<F: Foreign>(value: &F) -> bool {
    let numeric = value.get("status").is_some_and(|status| status.as_number().is_some());
    let headers = value.get("headers").filter(F::is_object);
    numeric && headers.is_some_and(|headers| value.has("ok") || headers.get("get").is_some())
}

/// Whether the `error` of a result says that there is one: `false`, 0 and the empty string do not.
fn is_error<F: Foreign>(error: &F) -> bool {
    let number = error.as_number().is_some_and(|number| number != 0.0);
    number || error.is_object() || error.is_true() || text(error).is_some()
}

/// Whether `value` carries the flag of a limiter.
fn is_over_limit<F: Foreign>(value: &F) -> bool {
    value.get("rateLimitExceeded").is_some_and(|flag| flag.is_true())
}

/// Where clients keep the body of an answer.
fn bodies<F: Foreign>(value: &F) -> impl Iterator<Item = F> {
    ["body", "data"].into_iter().filter_map(|key| value.get(key))
}

/// The codes in `value`.
fn codes<F: Foreign>(value: &F) -> Vec<Code> {
    let named = value.get("statusCode").and_then(|status| code(&status));
    let named = named.filter(|code| matches!(code, Code::Name(_)));
    let codes = CODES.iter().filter_map(|key| code(&value.get(key)?));
    codes.chain(named).collect()
}

/// One code.
fn code<F: Foreign>(value: &F) -> Option<Code> {
    match integer(value) {
        Some(number) => Some(Code::Number(number)),
        None => value.as_text(MAX_CODE).filter(|name| !name.is_empty()).map(Code::Name),
    }
}

/// The properties `keys` of `value` that are text.
fn texts<F: Foreign>(value: &F, keys: &[&str]) -> Vec<String> {
    keys.iter().filter_map(|key| text(&value.get(key)?)).collect()
}

/// A text with something in it.
fn text<F: Foreign>(value: &F) -> Option<String> {
    value.as_text(MAX_TEXT).filter(|text| !text.is_empty())
}

/// A figure that may be read as a delay.
fn figure<F: Foreign>(value: &F) -> Option<Figure> {
    let number = value.as_number().map(Figure::Number);
    number.or_else(|| text(value).map(Figure::Text))
}

/// The property `key` as a status: an integer, or a string of digits.
fn status<F: Foreign>(value: &F, key: &str) -> Option<u32> {
    integer(&value.get(key)?)
}

/// A number that is an integer, or a string of digits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
fn integer<F: Foreign>(value: &F) -> Option<u32> {
    match value.as_number() {
        Some(number) if number.trunc() == number && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Some(number as u32)
        }
        Some(_) => None,
        None => decimal(value.as_text(MAX_CODE)?.trim_ascii().as_bytes())
            .and_then(|number| u32::try_from(number).ok()),
    }
}

/// The number that `text` writes in decimal digits and nothing else. What is too large becomes `u64::MAX`.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let push = |number: u64, digit: &u8| match digit {
        b'0'..=b'9' => Some(number.saturating_mul(10).saturating_add(u64::from(digit & 15))),
        _ => None,
    };
    text.first()?;
    text.iter().try_fold(0, push)
}

/// The header fields that tell a delay: as headers are asked, and as an error may have them for properties.
const HEADERS: [(&str, &str, Source); 5] = [
    ("retry-after-ms", "Retry-After-Ms", Source::RetryAfterMs),
    ("retry-after", "Retry-After", Source::RetryAfter),
    ("ratelimit", "RateLimit", Source::RateLimit),
    ("ratelimit-reset", "RateLimit-Reset", Source::Reset),
    ("x-ratelimit-reset", "X-RateLimit-Reset", Source::Reset),
];

/// The properties that tell a delay, in a body or in an error itself.
const PROPERTIES: [(&str, Source); 3] = [
    ("retryAfterMs", Source::BodyMs),
    ("retryAfter", Source::BodySeconds),
    ("retry_after", Source::BodySeconds),
];

/// By which properties one error holds another.
const LINKS: [&str; 5] = ["error", "cause", "originalError", "response", "context"];

/// Where errors and bodies keep codes that may be numbers. `error` is what storage and Kong call it.
const CODES: [&str; 4] = ["code", "error_code", "errorCode", "error"];

/// Headers that name a code: ours, and the one of Supabase's auth server.
const CODE_HEADERS: [&str; 2] = ["x-tidegate-code", "x-sb-error-code"];

/// Where errors and bodies keep their message. The last three only when they are strings.
const WORDS: [&str; 5] = ["message", "msg", "error", "cause", "originalError"];

/// Where PostgREST and its clients say more.
const NOTES: [&str; 2] = ["details", "hint"];

/// How far below the thrown value the walk goes.
const MAX_DEPTH: usize = 4;

/// So many objects are looked at, so that an endless graph of getters is cheap. Real errors have up to five.
const MAX_PLACES: usize = 32;

/// So much of a text is read. A page of HTML says what it is in its first lines.
const MAX_TEXT: usize = 4096;

/// So much of a name or a code is read: more than the longest known one, so that none is cut to look like another.
const MAX_CODE: usize = 64;
