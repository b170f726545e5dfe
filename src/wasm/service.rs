//! `service.rs` for JavaScript: numbers in, one number out, details in registers that are read when needed.

use std::cell::{Cell, RefCell};

use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::classify::{classify, hint};
use crate::decision::{Permit, Phase, Reason, Scope, Transition, Verdict};
use crate::outcome::Outcome;
use crate::service::{Admission, Call, Ending, Next, Rejection, Service};
use crate::time::{Instant, Span, WallTime};

use super::{config, foreign, seed, snapshot};

/// One service. The call, the attempt and their times are kept by the shell, which passes them as numbers.
#[wasm_bindgen]
pub struct ServiceCore {
    service: RefCell<Service>,
    answer: Cell<Answer>,
    attempt_timeout: Cell<f64>,
    call_deadline: Cell<f64>,
}

/// The details of the last answer.
#[derive(Clone, Copy)]
struct Answer {
    reason: u32,
    name: u32,
    until: f64,
    after: f64,
}

#[wasm_bindgen]
impl ServiceCore {
    /// Throws `[field, value, expected]` when the configuration is not legal.
    #[wasm_bindgen(constructor)]
    pub fn new(configuration: &JsValue) -> Result<Self, JsValue> {
        let service = RefCell::new(Service::new(config::read(configuration)?, seed::next()));
        let core = Self {
            service,
            answer: Cell::new(Answer::NONE),
            attempt_timeout: Cell::new(f64::NAN),
            call_deadline: Cell::new(f64::NAN),
        };
        core.take_timeouts(configuration)?;
        Ok(core)
    }

    /// Another configuration; throws as the constructor does, and then nothing has changed.
    pub fn configure(&self, configuration: &JsValue) -> Result<(), JsValue> {
        let config = config::read(configuration)?;
        self.take_timeouts(configuration)?;
        self.service.borrow_mut().reconfigure(config);
        Ok(())
    }

    /// `attemptTimeoutMs`; NaN: none.
    pub fn attempt_timeout(&self) -> f64 {
        self.attempt_timeout.get()
    }

    /// `callDeadlineMs`; NaN: none.
    pub fn call_deadline(&self) -> f64 {
        self.call_deadline.get()
    }

    /// `maxRetries`.
    pub fn max_retries(&self) -> u32 {
        self.service.borrow().config().max_retries
    }

    /// A call begins: a permit (negative when there are transitions to fetch), or 0: see the registers.
    pub fn begin(&self, now: f64, deadline: f64, priority: i32, group: u32) -> f64 {
        let now = Instant::from_ms(now);
        let admission = self.service.borrow_mut().begin(now, &call(now, deadline, priority, group));
        self.admitted(admission)
    }

    /// A call that began earlier asks again, as after a restart; otherwise like `begin`.
    pub fn admit(&self, now: f64, arrival: f64, deadline: f64, priority: i32, group: u32) -> f64 {
        let call = call(Instant::from_ms(arrival), deadline, priority, group);
        let admission = self.service.borrow_mut().admit(Instant::from_ms(now), &call);
        self.admitted(admission)
    }

    /// The attempt succeeded. Returns flags: `NEWS`, `WAITERS`.
    pub fn succeed(&self, permit: f64, now: f64, started: f64, group: u32) -> u32 {
        let permit = permit_of(permit);
        let mut service = self.service.borrow_mut();
        service.succeed(Instant::from_ms(now), &permit, Instant::from_ms(started), group);
        flags(&service)
    }

    /// The attempt ended otherwise: 0 pass it through, 1 a retry (`name`, `until`, `after`), 2 reject (`reason`, `after`).
    #[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
    pub fn end(
        &self,
        permit: f64,
        now: f64,
        started: f64,
        verdict: u32,
        hint: f64,
        online: bool,
        retries: u32,
        max_retries: u32,
        previous_delay: f64,
        idempotent: bool,
        arrival: f64,
        deadline: f64,
        priority: i32,
        group: u32,
        draw: f64,
    ) -> u32 {
        let ending = Ending {
            permit: permit_of(permit),
            started: Instant::from_ms(started),
            verdict: verdict_of(verdict, hint),
            online,
            retries,
            max_retries,
            previous_delay: number(previous_delay).map(Span::from_ms_ceil),
            idempotent,
        };
        let call = call(Instant::from_ms(arrival), deadline, priority, group);
        let next = self.service.borrow_mut().end(Instant::from_ms(now), &ending, &call, number(draw));
        self.decided(next)
    }

    /// The next waiter whose wait is over. With a permit: it goes (`name`). With 0 and a `reason`: it is rejected
    /// (`name`, `reason`, `after`). With 0 and no reason: nobody.
    pub fn poll(&self, now: f64) -> f64 {
        let polled = self.service.borrow_mut().poll(Instant::from_ms(now));
        let Some((name, admission)) = polled else {
            self.answer.set(Answer::NONE);
            return 0.0;
        };
        let permit = self.admitted(admission);
        self.answer.set(Answer { name, ..self.answer.get() });
        permit
    }

    /// When `poll` may have news by the passing of time alone; NaN: never.
    pub fn poll_timeout(&self, now: f64) -> f64 {
        self.service.borrow().poll_timeout(Instant::from_ms(now)).map_or(f64::NAN, Instant::as_ms)
    }

    /// A waiter stops waiting; `reason` 0: cancelled.
    pub fn leave(&self, now: f64, name: u32, reason: u32) {
        self.service.borrow_mut().leave(Instant::from_ms(now), name, reason_of(reason));
    }

    /// Counts a call that the shell ended for this reason.
    pub fn rejected(&self, group: u32, reason: u32) {
        if let Some(reason) = reason_of(reason) {
            self.service.borrow_mut().rejected(group, reason);
        }
    }

    /// Closes the circuit, zeroes the counts, ends a cooldown.
    pub fn reset(&self) {
        self.service.borrow_mut().reset();
    }

    /// Holds the circuit open until `reset`.
    pub fn isolate(&self) {
        self.service.borrow_mut().isolate();
    }

    /// A cooldown that a restart must not lose.
    pub fn restore_cooldown(&self, until: f64) {
        self.service.borrow_mut().restore_cooldown(Instant::from_ms(until));
    }

    /// `NEWS` when there are transitions to fetch, `WAITERS` when anybody waits.
    pub fn flags(&self) -> u32 {
        flags(&self.service.borrow())
    }

    /// The oldest transition not fetched yet: 0 none, 1 circuit (`name` is from * 4 + to), 2 a cooldown began (`until`),
    /// 3 it ended.
    pub fn transition(&self) -> u32 {
        let transition = self.service.borrow_mut().next_transition();
        let (kind, answer) = match transition {
            None => (0, Answer::NONE),
            Some(Transition::Circuit { from, to }) => (
                1,
                Answer {
                    name: phase_code(from).wrapping_mul(4).wrapping_add(phase_code(to)),
                    ..Answer::NONE
                },
            ),
            Some(Transition::CooldownBegan { until }) => (2, Answer { until: until.as_ms(), ..Answer::NONE }),
            Some(Transition::CooldownEnded) => (3, Answer::NONE),
        };
        self.answer.set(answer);
        kind
    }

    /// Reads and judges what an attempt brought, with what was read of its body (`undefined`: nothing). Returns the
    /// verdict's code; a hint is in `after`.
    pub fn judge(&self, value: JsValue, thrown: bool, wall: f64, body: JsValue) -> u32 {
        let value = foreign::Value::of(value);
        let mut outcome = if thrown { Outcome::thrown(&value) } else { Outcome::resolved(&value) };
        if !body.is_undefined() {
            outcome.add_body(&foreign::Value::of(body));
        }
        let verdict = classify(&outcome, WallTime::from_ms(wall));
        let after = match verdict {
            Verdict::Throttled { hint, .. } => hint.map_or(f64::NAN, Span::as_f64),
            _ => f64::NAN,
        };
        self.answer.set(Answer { after, ..Answer::NONE });
        verdict_code(verdict)
    }

    /// The circuit as `CircuitState`.
    pub fn circuit(&self, now: f64) -> JsValue {
        let now = Instant::from_ms(now);
        let state = self.service.borrow().circuit(now);
        snapshot::circuit(&state, now)
    }

    /// The counters as `{ total, groups }`.
    pub fn metrics(&self) -> JsValue {
        snapshot::metrics(self.service.borrow().record())
    }

    /// Register: why; 0 is no reason.
    pub fn reason(&self) -> u32 {
        self.answer.get().reason
    }

    /// Register: the waiter's name.
    pub fn name(&self) -> u32 {
        self.answer.get().name
    }

    /// Register: until when; NaN when that depends on others.
    pub fn until(&self) -> f64 {
        self.answer.get().until
    }

    /// Register: after how many milliseconds; NaN when nobody knows.
    pub fn after(&self) -> f64 {
        self.answer.get().after
    }
}

/// The delay hint in what a server wrote, such as `{ body: … }` or `{ message: … }`; NaN without one.
#[wasm_bindgen]
pub fn hint_in(value: JsValue, wall: f64) -> f64 {
    hint(&Outcome::thrown(&foreign::Value::of(value)), WallTime::from_ms(wall)).map_or(f64::NAN, Span::as_f64)
}

impl ServiceCore {
    fn take_timeouts(&self, configuration: &JsValue) -> Result<(), JsValue> {
        let attempt = config::optional_span(configuration, "attemptTimeoutMs")?;
        let call = config::optional_span(configuration, "callDeadlineMs")?;
        self.attempt_timeout.set(attempt.map_or(f64::NAN, Span::as_f64));
        self.call_deadline.set(call.map_or(f64::NAN, Span::as_f64));
        Ok(())
    }

    fn admitted(&self, admission: Admission) -> f64 {
        match admission {
            Admission::Go(permit) => {
                let number = permit.sequence() as f64;
                let news = self.service.borrow().record().has_transitions();
                return if news { -number } else { number };
            }
            Admission::Wait { name, until, reason } => self.answer.set(Answer {
                reason: reason_code(reason),
                name,
                until: until.map_or(f64::NAN, Instant::as_ms),
                after: f64::NAN,
            }),
            Admission::Reject(rejection) => self.rejected_with(rejection),
        }
        0.0
    }

    fn decided(&self, next: Next) -> u32 {
        match next {
            Next::PassThrough => 0,
            Next::Retry { name, until, delay } => {
                let reason = reason_code(Reason::Backoff);
                self.answer.set(Answer { reason, name, until: until.as_ms(), after: delay.as_f64() });
                1
            }
            Next::Reject(rejection) => {
                self.rejected_with(rejection);
                2
            }
        }
    }

    fn rejected_with(&self, rejection: Rejection) {
        let after = rejection.retry_after.map_or(f64::NAN, Span::as_f64);
        self.answer.set(Answer { reason: reason_code(rejection.reason), after, ..Answer::NONE });
    }
}

impl Answer {
    const NONE: Self = Self { reason: 0, name: 0, until: f64::NAN, after: f64::NAN };
}

fn call(arrival: Instant, deadline: f64, priority: i32, group: u32) -> Call {
    Call { arrival, deadline: number(deadline).map(Instant::from_ms), priority, group }
}

/// NaN is how "none" crosses.
fn number(number: f64) -> Option<f64> {
    (!number.is_nan()).then_some(number)
}

fn permit_of(number: f64) -> Permit {
    Permit::new(Instant::from_ms(number.abs()).ticks())
}

fn flags(service: &Service) -> u32 {
    let news = if service.record().has_transitions() { NEWS } else { 0 };
    let waiters = if service.has_waiters() { WAITERS } else { 0 };
    news | waiters
}

/// Flag: there are transitions to fetch.
const NEWS: u32 = 1;

/// Flag: somebody waits, so `poll` may have something to say.
const WAITERS: u32 = 2;

// The codes below are those of js/codes.ts.

const fn reason_code(reason: Reason) -> u32 {
    match reason {
        Reason::Backoff => 1,
        Reason::Cooldown => 2,
        Reason::CircuitOpen => 3,
        Reason::CircuitOpened => 4,
        Reason::MaxRetries => 5,
        Reason::RetryAfterTooLong => 6,
        Reason::Deadline => 7,
        Reason::Budget => 8,
    }
}

const fn reason_of(code: u32) -> Option<Reason> {
    Some(match code {
        3 => Reason::CircuitOpen,
        5 => Reason::MaxRetries,
        6 => Reason::RetryAfterTooLong,
        7 => Reason::Deadline,
        8 => Reason::Budget,
        _ => return None,
    })
}

const fn phase_code(phase: Phase) -> u32 {
    match phase {
        Phase::Closed => 0,
        Phase::Open => 1,
        Phase::HalfOpen => 2,
        Phase::Isolated => 3,
    }
}

const fn verdict_code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Success => 0,
        Verdict::Throttled { scope: Scope::Service, .. } => 1,
        Verdict::Throttled { scope: Scope::Call, .. } => 2,
        Verdict::Transient { answered: true } => 3,
        Verdict::Transient { answered: false } => 4,
        Verdict::Permanent => 5,
        Verdict::Ignored => 6,
    }
}

fn verdict_of(code: u32, hint: f64) -> Verdict {
    let hint = number(hint).map(Span::from_ms_ceil);
    match code {
        0 => Verdict::Success,
        1 => Verdict::Throttled { hint, scope: Scope::Service },
        2 => Verdict::Throttled { hint, scope: Scope::Call },
        3 => Verdict::Transient { answered: true },
        4 => Verdict::Transient { answered: false },
        5 => Verdict::Permanent,
        _ => Verdict::Ignored,
    }
}
