//! `service.rs` for JavaScript: numbers in, one number out, details in registers that are read when needed.
//!
//! A service is a handle and not an exported class: every method of a class costs 150 bytes in the core and as many in
//! the glue, and there are two dozen.

use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::classify::{classify, hint};
use crate::decision::{Permit, Reason, Transition, Verdict};
use crate::outcome::Outcome;
use crate::queue::Terms;
use crate::service::{Admission, Call, Ending, Next, Rejection, Service};
use crate::time::{Instant, Span, WallTime};

use super::codes::{CALM, NEWS, WAITERS, phase_code, reason_code, reason_of, verdict_code, verdict_of};
use super::config::Numbers;
use super::handles::Handles;
use super::numbers::{instant, number};
use super::{foreign, seed, snapshot};

/// A service, and the details of its last answer. The call, the attempt and their times are kept by the shell, which
/// passes them as numbers.
pub(super) struct Core {
    pub(super) service: Service,
    answer: Answer,
}

/// The registers.
struct Answer {
    reason: u32,
    name: u32,
    until: f64,
    after: f64,
    /// The window of a quota: its limit and its length; zeros without one.
    limit: f64,
    window: f64,
}

/// What the shell calls a service.
pub(super) use super::handles::Handle;

static CORES: Handles<Core> = Handles::new();

/// A new service with this configuration, as numbers: see `config.rs`.
#[wasm_bindgen]
pub fn create(#[wasm_bindgen(unchecked_param_type = "ArrayLike<number>")] configuration: &[f64]) -> Handle {
    let mut numbers = Numbers::of(configuration);
    let service = Service::limited(numbers.config(), numbers.limits(), seed::next());
    CORES.add(Core { service, answer: Answer::NONE })
}

/// Forgets the service; the handle is free for another.
#[wasm_bindgen]
pub fn free(service: Handle) {
    CORES.free(service);
}

/// Another configuration.
#[wasm_bindgen]
pub fn configure(
    service: Handle,
    #[wasm_bindgen(unchecked_param_type = "ArrayLike<number>")] configuration: &[f64],
) {
    let mut numbers = Numbers::of(configuration);
    ask(service, |core| {
        core.service.reconfigure(numbers.config());
        core.service.limit(numbers.limits());
    });
}

/// A call begins: a permit (negative when there are transitions to fetch), or 0: see the registers.
#[wasm_bindgen]
pub fn begin(service: Handle, now: f64, deadline: f64, priority: i32, group: u32) -> f64 {
    let now = Instant::from_ms(now);
    CORES.ask_at_once(service, |core| {
        let admission = core.service.begin(now, &call(now, deadline, priority, group));
        core.admitted(admission)
    })
}

/// A call begins in a lane; otherwise like `begin`. `concurrency` and `limit` 0: as configured.
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[wasm_bindgen]
pub fn begin_in(
    service: Handle,
    now: f64,
    deadline: f64,
    priority: i32,
    group: u32,
    lane: u32,
    weight: u32,
    concurrency: u32,
    limit: u32,
    window: f64,
) -> f64 {
    let call = call_in(now, deadline, priority, group, lane, weight, concurrency, limit, window);
    ask(service, |core| {
        let admission = core.service.begin(call.arrival, &call);
        core.admitted(admission)
    })
}

/// A call that began earlier asks again, as after a restart; otherwise like `begin_in`. Lane 0 needs nothing.
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[wasm_bindgen]
pub fn admit(
    service: Handle,
    now: f64,
    arrival: f64,
    deadline: f64,
    priority: i32,
    group: u32,
    lane: u32,
    weight: u32,
    concurrency: u32,
    limit: u32,
    window: f64,
) -> f64 {
    let call = call_in(arrival, deadline, priority, group, lane, weight, concurrency, limit, window);
    ask(service, |core| {
        let admission = core.service.admit(instant(now), &call);
        core.admitted(admission)
    })
}

/// Takes an attempt if one may start at once: a permit as from `begin`, or 0 with `reason`, `after`, `limit`, `window`.
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[wasm_bindgen]
pub fn try_in(
    service: Handle,
    now: f64,
    group: u32,
    lane: u32,
    weight: u32,
    concurrency: u32,
    limit: u32,
    window: f64,
) -> f64 {
    let call = call_in(now, f64::NAN, 0, group, lane, weight, concurrency, limit, window);
    ask(service, |core| {
        let admission = core.service.attempt(call.arrival, &call);
        core.admitted(admission)
    })
}

/// The attempt succeeded. Returns flags: `NEWS`, `WAITERS`, `CALM`.
#[wasm_bindgen]
pub fn succeed(service: Handle, permit: f64, now: f64, started: f64, group: u32) -> u32 {
    let permit = permit_of(permit);
    CORES.ask_at_once(service, |core| {
        core.service.succeed(Instant::from_ms(now), &permit, Instant::from_ms(started), group, 0);
        core.flags_at_once() | if core.service.is_calm(&permit) { CALM } else { 0 }
    })
}

/// What went on since all was `CALM`: so many calls began at `now`, so many attempts took `duration` and succeeded.
#[wasm_bindgen]
pub fn calm(service: Handle, now: f64, group: u32, calls: u32, duration: f64, successes: u32) {
    ask(service, |core| {
        // Without any, the time and the duration are those of an earlier run.
        if calls > 0 {
            core.service.calm_calls(instant(now), group, calls);
        }
        if successes > 0 {
            core.service.calm_successes(group, Span::from_ms_ceil(duration), successes);
        }
    });
}

/// The attempt of a lane succeeded, and its slot comes free.
#[wasm_bindgen]
pub fn succeed_in(service: Handle, permit: f64, now: f64, started: f64, group: u32, lane: u32) -> u32 {
    let permit = permit_of(permit);
    CORES.ask_at_once(service, |core| {
        core.service.succeed(Instant::from_ms(now), &permit, Instant::from_ms(started), group, lane);
        core.flags_at_once()
    })
}

/// The attempt ended like this, and nothing is to be decided. Returns flags.
#[wasm_bindgen]
pub fn record(service: Handle, permit: f64, now: f64, started: f64, verdict: u32, group: u32) -> u32 {
    let permit = permit_of(permit);
    let verdict = verdict_of(verdict, None);
    ask(service, |core| {
        core.service.ended(instant(now), &permit, instant(started), group, verdict);
        core.flags()
    })
}

/// The operation has settled: its slot comes free. Returns flags.
#[wasm_bindgen]
pub fn release(service: Handle, permit: f64, lane: u32) -> u32 {
    let permit = permit_of(permit);
    ask(service, |core| {
        core.service.release(&permit, lane);
        core.flags()
    })
}

/// The new end of a slot's lease; NaN when it is gone.
#[wasm_bindgen]
pub fn renew(service: Handle, permit: f64, now: f64) -> f64 {
    let permit = permit_of(permit);
    ask(service, |core| core.service.renew(instant(now), &permit).map_or(f64::NAN, Instant::as_ms))
}

/// The attempt ended otherwise: 0 pass it through, 1 a retry (`name`, `until`, `after`), 2 reject (`reason`, `after`).
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[wasm_bindgen]
pub fn end(
    service: Handle,
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
    lane: u32,
    weight: u32,
    concurrency: u32,
    limit: u32,
    window: f64,
    initial_delay: f64,
    keeps_slot: bool,
) -> u32 {
    let ending = Ending {
        permit: permit_of(permit),
        started: instant(started),
        verdict: verdict_of(verdict, number(hint).map(Span::from_ms_ceil)),
        online,
        retries,
        max_retries,
        previous_delay: number(previous_delay).map(Span::from_ms_ceil),
        idempotent,
        initial_delay: number(initial_delay).map(Span::from_ms_ceil),
        keeps_slot,
    };
    let call = call_in(arrival, deadline, priority, group, lane, weight, concurrency, limit, window);
    ask(service, |core| {
        let next = core.service.end(instant(now), &ending, &call, number(draw));
        core.decided(next)
    })
}

/// The next waiter whose wait is over. With a permit: it goes (`name`). With 0 and a `reason`: it is rejected
/// (`name`, `reason`, `after`). With 0 and no reason: nobody.
#[wasm_bindgen]
pub fn poll(service: Handle, now: f64) -> f64 {
    ask(service, |core| {
        let Some((name, admission)) = core.service.poll(instant(now)) else {
            core.answer = Answer::NONE;
            return 0.0;
        };
        let permit = core.admitted(admission);
        core.answer.name = name;
        permit
    })
}

/// When `poll` may have news by the passing of time alone; NaN: never.
#[wasm_bindgen]
pub fn poll_timeout(service: Handle, now: f64) -> f64 {
    ask(service, |core| core.service.poll_timeout(instant(now)).map_or(f64::NAN, Instant::as_ms))
}

/// A waiter stops waiting; `reason` 0: cancelled.
#[wasm_bindgen]
pub fn leave(service: Handle, now: f64, name: u32, reason: u32) {
    ask(service, |core| core.service.leave(instant(now), name, reason_of(reason)));
}

/// Counts a call that the shell ended for this reason.
#[wasm_bindgen]
pub fn rejected(service: Handle, group: u32, reason: u32) {
    if let Some(reason) = reason_of(reason) {
        ask(service, |core| core.service.rejected(group, reason));
    }
}

/// Closes the circuit, zeroes the counts, ends a cooldown.
#[wasm_bindgen]
pub fn reset(service: Handle) {
    ask(service, |core| core.service.reset());
}

/// Holds the circuit open until `reset`.
#[wasm_bindgen]
pub fn isolate(service: Handle) {
    ask(service, |core| core.service.isolate());
}

/// A cooldown that a restart must not lose.
#[wasm_bindgen]
pub fn restore_cooldown(service: Handle, until: f64) {
    ask(service, |core| core.service.restore_cooldown(instant(until)));
}

/// `NEWS` when there are transitions to fetch, `WAITERS` when anybody waits.
#[wasm_bindgen]
pub fn flags(service: Handle) -> u32 {
    ask(service, |core| core.flags())
}

/// The oldest transition not fetched yet: 0 none, 1 circuit (`name` is from * 4 + to), 2 a cooldown began (`until`),
/// 3 it ended, 4 a window of a quota is nearly used up (`name` is the quota's number, `limit`, `window`, and what is used
/// is in `after`).
#[wasm_bindgen]
pub fn transition(service: Handle) -> u32 {
    ask(service, |core| {
        core.answer = Answer::NONE;
        match core.service.next_transition() {
            None => 0,
            Some(Transition::Circuit { from, to }) => {
                core.answer.name = phase_code(from).wrapping_mul(4).wrapping_add(phase_code(to));
                1
            }
            Some(Transition::CooldownBegan { until }) => {
                core.answer.until = until.as_ms();
                2
            }
            Some(Transition::CooldownEnded) => 3,
            Some(Transition::Warned { quota, limit, length, used }) => {
                core.answer = Answer {
                    name: quota,
                    limit: f64::from(limit),
                    window: length.as_f64(),
                    after: f64::from(used),
                    ..Answer::NONE
                };
                4
            }
        }
    })
}

/// Reads and judges what an attempt brought, with what was read of its body (`undefined`: nothing). Returns the
/// verdict's code; a hint is in `after`.
#[wasm_bindgen]
pub fn judge(service: Handle, value: JsValue, thrown: bool, wall: f64, body: JsValue) -> u32 {
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
    ask(service, |core| core.answer = Answer { after, ..Answer::NONE });
    verdict_code(verdict)
}

/// The delay hint in what a server wrote, such as `{ body: … }` or `{ message: … }`; NaN without one.
#[wasm_bindgen]
pub fn hint_in(value: JsValue, wall: f64) -> f64 {
    hint(&Outcome::thrown(&foreign::Value::of(value)), WallTime::from_ms(wall)).map_or(f64::NAN, Span::as_f64)
}

/// The circuit's state in numbers: see `snapshot.rs`.
#[wasm_bindgen]
pub fn circuit(service: Handle, now: f64) -> JsValue {
    let now = instant(now);
    let state = ask(service, |core| core.service.circuit(now));
    snapshot::hand_out(&snapshot::circuit(&state, now))
}

/// The counters of a group in numbers: see `snapshot.rs`. Group 0 is the whole service; nothing but zeros for a group
/// that was never counted is an empty list.
#[wasm_bindgen]
pub fn counts(service: Handle, group: u32) -> JsValue {
    let counts = ask(service, |core| core.service.record().of(group).map_or(Vec::new(), snapshot::counts));
    snapshot::hand_out(&counts)
}

/// Register: why; 0 is no reason.
#[wasm_bindgen]
pub fn reason(service: Handle) -> u32 {
    ask(service, |core| core.answer.reason)
}

/// Register: the waiter's name.
#[wasm_bindgen]
pub fn name(service: Handle) -> u32 {
    ask(service, |core| core.answer.name)
}

/// Register: until when; NaN when that depends on others.
#[wasm_bindgen]
pub fn until(service: Handle) -> f64 {
    ask(service, |core| core.answer.until)
}

/// Register: after how many milliseconds; NaN when nobody knows.
#[wasm_bindgen]
pub fn after(service: Handle) -> f64 {
    ask(service, |core| core.answer.after)
}

/// Register: the limit of the window that is full, or nearly; 0 without one.
#[wasm_bindgen]
pub fn limit(service: Handle) -> f64 {
    ask(service, |core| core.answer.limit)
}

/// Register: the length of that window in milliseconds; 0 without one.
#[wasm_bindgen]
pub fn window(service: Handle) -> f64 {
    ask(service, |core| core.answer.window)
}

pub(super) fn ask<T>(service: Handle, question: impl FnOnce(&mut Core) -> T) -> T {
    CORES.ask(service, question)
}

impl Core {
    fn admitted(&mut self, admission: Admission) -> f64 {
        match admission {
            Admission::Go(permit) => {
                let number = permit.sequence() as f64;
                let news = self.service.record().has_transitions();
                return if news { -number } else { number };
            }
            Admission::Wait { name, until, reason } => {
                self.answer = Answer {
                    reason: reason_code(reason),
                    name,
                    until: until.map_or(f64::NAN, Instant::as_ms),
                    ..Answer::NONE
                };
            }
            Admission::Reject(rejection) => self.rejected_with(rejection),
        }
        0.0
    }

    fn decided(&mut self, next: Next) -> u32 {
        match next {
            Next::PassThrough => 0,
            Next::Retry { name, until, delay } => {
                let reason = reason_code(Reason::Backoff);
                let after = delay.as_f64();
                self.answer = Answer { reason, name, until: until.as_ms(), after, ..Answer::NONE };
                1
            }
            Next::Reject(rejection) => {
                self.rejected_with(rejection);
                2
            }
        }
    }

    #[inline(never)]
    fn rejected_with(&mut self, rejection: Rejection) {
        let after = rejection.retry_after.map_or(f64::NAN, Span::as_f64);
        let (limit, window) =
            rejection.window.map_or((0.0, 0.0), |window| (f64::from(window.limit), window.length.as_f64()));
        let reason = reason_code(rejection.reason);
        self.answer = Answer { reason, after, limit, window, ..Answer::NONE };
    }

    /// There is no room for another key, for so long.
    pub(super) fn no_lane(&mut self, after: Span) {
        self.answer = Answer { reason: reason_code(Reason::Keys), after: after.as_f64(), ..Answer::NONE };
    }

    #[inline(never)]
    pub(super) fn flags(&self) -> u32 {
        self.flags_at_once()
    }

    /// The same for the path of a call that succeeds, as `ask_at_once`.
    fn flags_at_once(&self) -> u32 {
        let news = if self.service.record().has_transitions() { NEWS } else { 0 };
        let waiters = if self.service.has_waiters() { WAITERS } else { 0 };
        news | waiters
    }
}

impl Answer {
    const NONE: Self = Self { reason: 0, name: 0, until: f64::NAN, after: f64::NAN, limit: 0.0, window: 0.0 };
}

fn call(arrival: Instant, deadline: f64, priority: i32, group: u32) -> Call {
    let deadline = number(deadline).map(Instant::from_ms);
    Call { arrival, deadline, priority, group, terms: Terms::NONE }
}

/// Not inlined: four exports share it.
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[inline(never)]
fn call_in(
    arrival: f64,
    deadline: f64,
    priority: i32,
    group: u32,
    lane: u32,
    weight: u32,
    concurrency: u32,
    limit: u32,
    window: f64,
) -> Call {
    let terms = Terms { lane, weight, concurrency, limit, length: Span::from_ms_ceil(window) };
    Call { terms, ..call(Instant::from_ms(arrival), deadline, priority, group) }
}

fn permit_of(number: f64) -> Permit {
    Permit::new(Instant::from_ms(number.abs()).ticks())
}
