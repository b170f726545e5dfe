//! What came back from one attempt, as facts: [`Outcome`], read off a value from outside through [`Foreign`].
//!
//! An attempt throws anything, or resolves with anything. The walk collects what a judgement may rest on, place by
//! place, and judges nothing itself; `classify` does. Nothing here knows JavaScript: `wasm` reads real values, the
//! tests read JSON.

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

    /// The entry `name`, given in lower case and matched in any, of a container of headers: `Headers`, `Map` or
    /// whatever else has a `get` method, an array of pairs, or the own properties of any other object. `None` as
    /// with [`Foreign::get`].
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

/// One object, or a bare string, and what it says.
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
    /// What programs are told: `code`, `error_code`, `errorCode`, `error`, and `statusCode` when it is a word. Of a
    /// body only words, since its numbers may be somebody's data.
    pub codes: Vec<Code>,
    /// Whether `rateLimitExceeded` is `true`.
    pub over_limit: bool,
    /// What people are told by an error: its message, or the string that it is.
    pub words: Vec<String>,
    /// Other text, in which only a delay is looked for.
    pub notes: Vec<String>,
    /// Values that may be a delay, not checked yet.
    pub figures: Vec<(Source, Figure)>,
}

/// An error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// A number, or a string of digits.
    Number(u32),
    /// Any other text.
    Name(String),
}

/// A number or a text, as it stood there.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A number; NaN and the infinities are possible.
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
    /// `retryAfterMs`.
    BodyMs,
    /// `retryAfter` and `retry_after`: seconds.
    BodySeconds,
    /// `Date`, no delay itself: the server's clock when it answered.
    Date,
}

impl Outcome {
    /// The facts of an attempt that threw or rejected with `value`: the value itself, and what hangs on it by
    /// `error`, `cause`, `originalError`, `response` and `context`, four levels deep, each object once; and the
    /// bodies of these in `body`, `data`, `details` and `hint`.
    pub fn thrown<F: Foreign>(value: &F) -> Self {
        let mut outcome = Self { failed: true, ..Self::default() };
        outcome.walk(value, Role::Error);
        outcome
    }

    /// The facts of an attempt that resolved with `value`. Of the value itself only a status counts that stands in
    /// a `Response` or beside an `error`, `data` or `statusText` key, and `rateLimitExceeded` in it or its `data`;
    /// whatever else it holds is somebody's data. Its `error` is read as if it had been thrown.
    pub fn resolved<F: Foreign>(value: &F) -> Self {
        let mut outcome = Self::default();
        let status = value.get("status").filter(|_| is_answer(value)).and_then(|status| integer(&status));
        let over_limit = is_over_limit(value) || value.get("data").is_some_and(|data| is_over_limit(&data));
        // A success has no delay to tell, and is met too often to look for one.
        if over_limit || status.is_some_and(|status| status >= 400) {
            outcome.walk(value, Role::Data);
        } else if status.is_some() {
            outcome.places.push(Place::default());
        }
        let answered = status.is_some_and(|status| status != 0);
        if let Some(place) = outcome.places.first_mut() {
            (place.status, place.answered, place.over_limit) = (status, answered, over_limit);
        }
        if let Some(error) = value.get("error").filter(is_error) {
            outcome.failed = true;
            let first = outcome.places.len();
            outcome.walk(&error, Role::Error);
            // The status of a result stands beside its error: `{ status: 409, error: { message: "429 exists" } }`.
            if let Some(place) = outcome.places.get_mut(first) {
                place.answered |= answered;
            }
        }
        outcome
    }

    /// Adds the body of a refused `Response`, read after all: parsed when it is JSON, else as a string.
    pub fn add_body<F: Foreign>(&mut self, body: &F) {
        self.walk(body, Role::Body);
    }

    /// The nearest status, `statusCode` included. 0 means that nobody answered.
    pub fn status(&self) -> Option<u32> {
        self.places.iter().find_map(|place| place.status.or(place.status_code))
    }

    /// The nearest code.
    pub fn code(&self) -> Option<&Code> {
        self.places.iter().find_map(|place| place.codes.first())
    }

    /// The nearest message of an error.
    pub fn message(&self) -> Option<&str> {
        self.places.iter().find_map(|place| place.words.first()).map(String::as_str)
    }

    /// Reads `root` and what hangs on it, breadth first, so that a bound on the number keeps what is near.
    fn walk<F: Foreign>(&mut self, root: &F, role: Role) {
        let mut line = vec![Visit { value: root.clone(), role, depth: 0 }];
        let mut next = 0_usize;
        while let Some(visit) = line.get(next) {
            self.places.push(Place::read(&visit.value, visit.role));
            for (key, linked) in LINKS {
                let visit = from_here(&line, next, key, *linked);
                add(&mut line, visit);
            }
            next = next.wrapping_add(1);
        }
    }
}

/// An object in the line of those to be read.
struct Visit<F> {
    value: F,
    role: Role,
    depth: u32,
}

/// What hangs by `key` on the object at `here`, if it is to be read and does not stand in the line already.
fn from_here<F: Foreign>(line: &[Visit<F>], here: usize, key: &str, linked: Role) -> Option<Visit<F>> {
    let Visit { value, role, depth } = line.get(here)?;
    let role = role.link(linked).filter(|_| *depth < MAX_DEPTH && line.len() < MAX_PLACES)?;
    let child = value.get(key).filter(|child| child.is_object() || role != Role::Error)?;
    let is_known = line.iter().any(|other| other.value.same(&child));
    (!is_known).then(|| Visit { value: child, role, depth: depth.wrapping_add(1) })
}

/// As what an object is read.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// A thrown value, or what it came from: everything counts.
    Error,
    /// What a server said in the body of a refusal: words for programs, and delays.
    Body,
    /// A result, and what is in it: delays, once something else says that it is a refusal.
    Data,
}

impl Role {
    /// As what an object of this role has another one in it which an error has as `linked`.
    fn link(self, linked: Self) -> Option<Self> {
        match (self, linked) {
            (Self::Error, linked) => Some(linked),
            (_, Self::Error) => None,
            (role, _) => Some(role),
        }
    }
}

impl Place {
    /// What `value` says in its `role`.
    fn read<F: Foreign>(value: &F, role: Role) -> Self {
        let mut place = Self::default();
        place.take(Fact::Words, role, value);
        for (key, fact) in PROPERTIES {
            if let Some(value) = value.get(key) {
                place.take(*fact, role, &value);
            }
        }
        if let Some(headers) = value.get("headers") {
            for (name, fact) in HEADERS {
                if let Some(value) = headers.header(name) {
                    place.take(*fact, role, &value);
                }
            }
        }
        place.answered = [place.status, place.status_code].into_iter().flatten().any(|status| status != 0);
        place
    }

    /// Notes one fact, if `value` can be read as such.
    fn take<F: Foreign>(&mut self, fact: Fact, role: Role, value: &F) {
        match (fact, role) {
            (Fact::Delay(source), _) => add(&mut self.figures, figure(value).map(|figure| (source, figure))),
            (Fact::Words, Role::Error) => add(&mut self.words, text(value, MAX_TEXT)),
            (Fact::Words, _) => add(&mut self.notes, text(value, MAX_TEXT)),
            (Fact::HeaderCode, _) => add(&mut self.codes, code(value)),
            (_, Role::Data) => {}
            (Fact::OverLimit, _) => self.over_limit = value.is_true(),
            (Fact::Code, Role::Error) => add(&mut self.codes, code(value)),
            (Fact::Code | Fact::StatusCode, Role::Body) => {
                add(&mut self.codes, code(value).filter(|code| matches!(code, Code::Name(_))));
            }
            (Fact::StatusCode, Role::Error) => match code(value) {
                Some(Code::Number(status)) => self.status_code = Some(status),
                name => add(&mut self.codes, name),
            },
            (Fact::Status, Role::Error) => self.status = integer(value),
            (Fact::Name, Role::Error) => self.name = text(value, MAX_CODE),
            (Fact::Status | Fact::Name, Role::Body) => {}
        }
    }
}

/// Not `extend`, which makes room by another way than `push`, and is larger.
fn add<T>(list: &mut Vec<T>, item: Option<T>) {
    if let Some(item) = item {
        list.push(item);
    }
}

/// What a property or a header tells.
#[derive(Clone, Copy)]
enum Fact {
    Status,
    StatusCode,
    Name,
    Code,
    HeaderCode,
    Words,
    OverLimit,
    Delay(Source),
}

/// Whether the status in `value` is one of an answer: of a `Response`, or of a result, where it stands beside an
/// `error`, `data` or `statusText` key, even when that is `null`. A record with a column `status` is no answer.
fn is_answer<F: Foreign>(value: &F) -> bool {
    ["error", "data", "statusText"].iter().any(|key| value.has(key)) || is_response(value)
}

/// Whether `value` behaves like a `Response`, of whichever realm or library: a numeric status, and headers that
/// can be asked or an `ok` beside them. A stored log line `{ status, headers: { … } }` has neither.
fn is_response<F: Foreign>(value: &F) -> bool {
    let numeric = value.get("status").is_some_and(|status| status.as_number().is_some());
    let headers = value.get("headers").filter(F::is_object);
    numeric && headers.is_some_and(|headers| value.has("ok") || headers.has("get"))
}

/// Whether the `error` of a result says that there is one: `false`, 0 and the empty string do not.
fn is_error<F: Foreign>(error: &F) -> bool {
    let number = error.as_number().is_some_and(|number| number != 0.0);
    number || error.is_object() || error.is_true() || text(error, 1).is_some()
}

/// Whether `value` carries the flag of a limiter.
fn is_over_limit<F: Foreign>(value: &F) -> bool {
    value.get("rateLimitExceeded").is_some_and(|flag| flag.is_true())
}

/// A text with something in it.
fn text<F: Foreign>(value: &F, limit: usize) -> Option<String> {
    value.as_text(limit).filter(|text| !text.is_empty())
}

/// A code: a number, or text.
fn code<F: Foreign>(value: &F) -> Option<Code> {
    match integer(value) {
        Some(number) => Some(Code::Number(number)),
        None => text(value, MAX_CODE).map(Code::Name),
    }
}

/// A figure that may be read as a delay.
fn figure<F: Foreign>(value: &F) -> Option<Figure> {
    match value.as_number() {
        Some(number) => Some(Figure::Number(number)),
        None => text(value, MAX_TEXT).map(Figure::Text),
    }
}

/// A number that is an integer, or a string of digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "compared with the number afterwards"
)]
fn integer<F: Foreign>(value: &F) -> Option<u32> {
    match value.as_number() {
        Some(number) => Some(number as u32).filter(|integer| f64::from(*integer) == number),
        None => u32::try_from(decimal(text(value, MAX_CODE)?.trim_ascii().as_bytes())?).ok(),
    }
}

/// The number that `text` writes in decimal digits and nothing else. What is too large stays above
/// 10^18.
#[inline(never)]
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let push = |number: u64, digit: &u8| match digit {
        b'0'..=b'9' => Some(number.min(TOO_LARGE).wrapping_mul(10).wrapping_add(u64::from(digit & 15))),
        _ => None,
    };
    text.first()?;
    text.iter().try_fold(0, push)
}

/// 10^17: ten times as much, and a digit, still fit.
const TOO_LARGE: u64 = 100_000_000_000_000_000;

/// What the properties of an error or a body tell. `error` is a code for storage, and a message for PostgREST when
/// the body was a JSON string; a header may have become a property of the error itself, in either spelling.
const PROPERTIES: &[(&str, Fact)] = &[
    ("status", Fact::Status),
    ("statusCode", Fact::StatusCode),
    ("name", Fact::Name),
    ("code", Fact::Code),
    ("error_code", Fact::Code),
    ("errorCode", Fact::Code),
    ("error", Fact::Code),
    ("message", Fact::Words),
    ("msg", Fact::Words),
    ("error", Fact::Words),
    ("cause", Fact::Words),
    ("originalError", Fact::Words),
    ("rateLimitExceeded", Fact::OverLimit),
    ("retry-after-ms", Fact::Delay(Source::RetryAfterMs)),
    ("Retry-After-Ms", Fact::Delay(Source::RetryAfterMs)),
    ("retry-after", Fact::Delay(Source::RetryAfter)),
    ("Retry-After", Fact::Delay(Source::RetryAfter)),
    ("ratelimit", Fact::Delay(Source::RateLimit)),
    ("RateLimit", Fact::Delay(Source::RateLimit)),
    ("ratelimit-reset", Fact::Delay(Source::Reset)),
    ("RateLimit-Reset", Fact::Delay(Source::Reset)),
    ("x-ratelimit-reset", Fact::Delay(Source::Reset)),
    ("X-RateLimit-Reset", Fact::Delay(Source::Reset)),
    ("retryAfterMs", Fact::Delay(Source::BodyMs)),
    ("retryAfter", Fact::Delay(Source::BodySeconds)),
    ("retry_after", Fact::Delay(Source::BodySeconds)),
];

/// What headers tell. The codes are ours, and the one of Supabase's auth server.
const HEADERS: &[(&str, Fact)] = &[
    ("retry-after-ms", Fact::Delay(Source::RetryAfterMs)),
    ("retry-after", Fact::Delay(Source::RetryAfter)),
    ("ratelimit", Fact::Delay(Source::RateLimit)),
    ("ratelimit-reset", Fact::Delay(Source::Reset)),
    ("x-ratelimit-reset", Fact::Delay(Source::Reset)),
    ("date", Fact::Delay(Source::Date)),
    ("x-tidegate-code", Fact::HeaderCode),
    ("x-sb-error-code", Fact::HeaderCode),
];

/// By which properties one object has another, and as what.
const LINKS: &[(&str, Role)] = &[
    ("error", Role::Error),
    ("cause", Role::Error),
    ("originalError", Role::Error),
    ("response", Role::Error),
    ("context", Role::Error),
    ("body", Role::Body),
    ("data", Role::Body),
    ("details", Role::Body),
    ("hint", Role::Body),
];

/// How far below the thrown value the walk goes.
const MAX_DEPTH: u32 = 4;

/// So many objects are looked at, so that an endless graph of getters is cheap. Real errors have less than ten.
const MAX_PLACES: usize = 32;

/// So much of a text is read. A page of HTML says what it is in its first lines.
const MAX_TEXT: usize = 4096;

/// So much of a name or a code is read: more than the longest known one, so that none is cut to look like another.
const MAX_CODE: usize = 64;
