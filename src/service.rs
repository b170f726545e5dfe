//! Composes the rooms: this is what `RateLimitService` asks.
//!
//! Per call: deadline, retries, retry budget. Per attempt: cooldown and circuit, looked at together at one `now`;
//! a permit is taken only when both say "go". Waiters stand in one line; whoever waits is told from
//! [`Service::poll`], with the permit in hand.

use crate::backoff::{Backoff, Jitter};
use crate::budget::{Budget, BudgetConfig};
use crate::circuit::{Circuit, CircuitConfig, CircuitSnapshot, Silences};
use crate::cooldown::Cooldown;
use crate::decision::{Decision, Permit, Phase, Reason, Scope, Transition, Verdict};
use crate::queue::{Line, Name, Waiter};
use crate::random::Random;
use crate::record::{Group, Recorder};
use crate::time::{Instant, Span};

/// Everything that can be configured in the core. Legal ranges: where it is read, `wasm/config.rs`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// The pause before a retry.
    pub backoff: Backoff,
    /// A hint of the server replaces a shorter backoff.
    pub respect_retry_after: bool,
    /// A longer hint ends the call at once.
    pub max_retry_after: Span,
    /// Consecutive refusals that open the circuit.
    pub circuit_threshold: u32,
    /// How long it stays open.
    pub circuit_reset: Span,
    /// Probes at a time while half-open.
    pub half_open_probes: u32,
    /// When a probe without an answer gives its place back.
    pub probe_timeout: Span,
    /// Which failures that may heal by themselves are retried.
    pub retry_transient: RetryTransient,
    /// `None`: no budget.
    pub retry_budget: Option<BudgetConfig>,
    /// A refusal holds the other callers of the service too.
    pub shared_cooldown: bool,
}

/// Which failures that may heal by themselves are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTransient {
    /// None: somebody else decides.
    Never,
    /// Those of calls that are marked as safe to repeat.
    Idempotent,
    /// All of them, also where something may then happen twice.
    Always,
}

/// What is the same for all attempts of a call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When it began.
    pub arrival: Instant,
    /// When it has to be over.
    pub deadline: Option<Instant>,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// What it is counted under.
    pub group: Group,
}

/// How one attempt ended, and what the call has used up so far.
#[derive(Debug)]
pub struct Ending {
    /// The leave it had.
    pub permit: Permit,
    /// When it started.
    pub started: Instant,
    /// Our judgement.
    pub verdict: Verdict,
    /// Whether the host believes that it has a connection.
    pub online: bool,
    /// Retries the call has made.
    pub retries: u32,
    /// Retries the call may make.
    pub max_retries: u32,
    /// The pause before the last retry.
    pub previous_delay: Option<Span>,
    /// The caller marked the call as safe to repeat.
    pub idempotent: bool,
}

/// The answer to "may this attempt start?".
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go.
    Go(Permit),
    /// Wait until [`Service::poll`] calls this name.
    Wait {
        /// The name.
        name: Name,
        /// When it will be called at the earliest; `None`: that depends on others.
        until: Option<Instant>,
        /// Why.
        reason: Reason,
    },
    /// No.
    Reject(Rejection),
}

/// What follows from how an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The call ends with what the attempt brought, unchanged.
    PassThrough,
    /// A retry, when [`Service::poll`] calls this name.
    Retry {
        /// The name.
        name: Name,
        /// When it will be called at the earliest.
        until: Instant,
        /// The pause.
        delay: Span,
    },
    /// The call ends with an error of ours.
    Reject(Rejection),
}

/// Why a call ends with an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// How long until another call may be worth it; `None` when nobody knows.
    pub retry_after: Option<Span>,
}

/// One service: everything that shares a server's limits.
#[derive(Debug)]
pub struct Service {
    config: Config,
    circuit: Circuit,
    silences: Silences,
    cooldown: Cooldown,
    budget: Option<Budget>,
    line: Line,
    record: Recorder,
    random: Random,
    /// Permits issued so far; each carries its number.
    issued: u64,
}

impl Service {
    /// A service that has seen nothing yet. `seed` settles all its jitter.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            circuit: Circuit::new(config.circuit()),
            silences: Silences::default(),
            cooldown: Cooldown::new(config.probe_timeout),
            budget: config.retry_budget.map(Budget::new),
            line: Line::default(),
            record: Recorder::new(),
            random: Random::seeded(seed),
            issued: 0,
            config,
        }
    }

    /// Other limits from the next decision on. Counters, an open circuit and a cooldown stay.
    pub fn reconfigure(&mut self, config: Config) {
        self.circuit.reconfigure(config.circuit());
        self.cooldown.reconfigure(config.probe_timeout);
        if !config.shared_cooldown {
            let ended = self.cooldown.end();
            self.record.transition(ended);
        }
        match (&mut self.budget, config.retry_budget) {
            (Some(budget), Some(config)) => budget.reconfigure(config),
            (budget, config) => *budget = config.map(Budget::new),
        }
        self.config = config;
    }

    /// A call begins and asks for its first attempt.
    pub fn begin(&mut self, now: Instant, call: &Call) -> Admission {
        self.record.call(call.group);
        if let Some(budget) = &mut self.budget {
            budget.deposit(now);
        }
        self.admit(now, call)
    }

    /// Asks for an attempt: go, wait in line, or no.
    pub fn admit(&mut self, now: Instant, call: &Call) -> Admission {
        if call.deadline.is_some_and(|deadline| deadline <= now) {
            return Admission::Reject(self.reject(call.group, Reason::Deadline, None));
        }
        self.line.wake(now);
        match self.check(now) {
            Decision::Reject { reason, retry_after } => {
                Admission::Reject(self.reject(call.group, reason, retry_after))
            }
            Decision::Proceed if self.line.front().is_none() => Admission::Go(self.issue(now)),
            Decision::Proceed => self.stand(now, call, None),
            Decision::Wait { until, .. } => self.stand(now, call, until),
        }
    }

    /// The attempt with this permit succeeded. Nothing is decided, so nothing needs to be known about the call.
    pub fn succeed(&mut self, now: Instant, permit: &Permit, started: Instant, group: Group) {
        self.record.attempt(group, now.since(started), Verdict::Success);
        self.note(now, permit, Verdict::Success);
    }

    /// The attempt ended without success: what now? `draw` is a random number from 0 to 1, `None` for our own.
    pub fn end(&mut self, now: Instant, ending: &Ending, call: &Call, draw: Option<f64>) -> Next {
        self.record.attempt(call.group, now.since(ending.started), ending.verdict);
        // A host's own randomness may give anything; no wait may be longer than its jitter allows.
        let draw = draw.map_or_else(|| self.random.draw(), |draw| draw.clamp(0.0, 1.0));
        match ending.verdict {
            Verdict::Throttled { hint, scope } => {
                let hint = hint.filter(|_| self.config.respect_retry_after);
                self.throttled(now, ending, call, hint, scope, draw)
            }
            Verdict::Transient { answered } => {
                if !answered && ending.online && self.silences.note(now) {
                    self.refused(now, &ending.permit, None, self.delay(ending, None, draw));
                } else {
                    self.note(now, &ending.permit, ending.verdict);
                }
                self.transient(now, ending, call, draw)
            }
            Verdict::Success | Verdict::Permanent | Verdict::Ignored => {
                self.note(now, &ending.permit, ending.verdict);
                Next::PassThrough
            }
        }
    }

    /// The next waiter whose wait is over, with its permit or a rejection. Ask until it answers `None`.
    pub fn poll(&mut self, now: Instant) -> Option<(Name, Admission)> {
        self.line.wake(now);
        let (name, rejection) = self.next_called(now)?;
        let waiter = self.line.leave(name)?;
        self.record.wait(waiter.group, now.since(waiter.since));
        let admission = match rejection {
            Some(Rejection { reason, retry_after }) => {
                Admission::Reject(self.reject(waiter.group, reason, retry_after))
            }
            None => Admission::Go(self.issue(now)),
        };
        self.settle(now);
        Some((name, admission))
    }

    /// Who is called next, and with what answer when it may not go.
    fn next_called(&mut self, now: Instant) -> Option<(Name, Option<Rejection>)> {
        let decision = self.check(now);
        match decision {
            // Nobody sleeps towards a closed door.
            Decision::Reject { reason, retry_after } if self.is_shut(now) => {
                return Some((self.line.anybody()?, Some(Rejection { reason, retry_after })));
            }
            // A cooldown may have been prolonged beyond a deadline.
            Decision::Wait { until: Some(until), .. } => {
                let retry_after = Some(until.since(now));
                return Some((
                    self.line.out_of_time(until)?,
                    Some(Rejection { reason: Reason::Deadline, retry_after }),
                ));
            }
            Decision::Proceed | Decision::Wait { until: None, .. } | Decision::Reject { .. } => {}
        }
        // An alarm may be late by more than a deadline: what is sent now would be sent for nobody.
        if let Some(late) = self.line.out_of_time(now) {
            return Some((late, Some(Rejection { reason: Reason::Deadline, retry_after: None })));
        }
        match decision {
            Decision::Wait { .. } => None,
            Decision::Proceed => Some((self.line.front()?, None)),
            Decision::Reject { reason, retry_after } => {
                Some((self.line.front()?, Some(Rejection { reason, retry_after })))
            }
        }
    }

    /// When [`Service::poll`] may have something new to say by the passing of time alone.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let in_line = self.line.front().and_then(|_| match self.check(now) {
            Decision::Proceed => Some(now),
            Decision::Wait { .. } => self.cooldown.poll_timeout(now),
            Decision::Reject { .. } => Some(now),
        });
        Instant::earlier(in_line, self.line.poll_timeout())
    }

    /// One stops waiting: cancelled, or for a reason that is counted.
    pub fn leave(&mut self, now: Instant, name: Name, reason: Option<Reason>) {
        let Some(waiter) = self.line.leave(name) else { return };
        self.record.wait(waiter.group, now.since(waiter.since));
        if let Some(reason) = reason {
            self.record.rejection(waiter.group, reason);
        }
        self.settle(now);
    }

    /// Counts a call that the shell ended by itself, as when its deadline passed during an attempt.
    pub fn rejected(&mut self, group: Group, reason: Reason) {
        self.record.rejection(group, reason);
    }

    /// Closes the circuit, zeroes the counts, ends a cooldown.
    pub fn reset(&mut self) {
        self.silences = Silences::default();
        let closed = self.circuit.reset(self.issued);
        self.record.transition(closed);
        let ended = self.cooldown.end();
        self.record.transition(ended);
    }

    /// Holds the circuit open until [`Service::reset`].
    pub fn isolate(&mut self) {
        let isolated = self.circuit.isolate(self.issued);
        self.record.transition(isolated);
    }

    /// Holds everybody until then: a cooldown that a restart of the core must not lose.
    pub fn restore_cooldown(&mut self, until: Instant) {
        let began = self.cooldown.restore(until, self.issued);
        self.record.transition(began);
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        !self.line.is_empty()
    }

    /// The oldest transition that was not fetched yet.
    pub fn next_transition(&mut self) -> Option<Transition> {
        self.record.next_transition()
    }

    /// What the circuit looks like now; changes nothing.
    pub fn circuit(&self, now: Instant) -> CircuitSnapshot {
        self.circuit.snapshot(now)
    }

    /// What was counted.
    pub const fn record(&self) -> &Recorder {
        &self.record
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn check(&self, now: Instant) -> Decision {
        self.cooldown.check(now).and(self.circuit.check(now))
    }

    /// Takes a permit out of every room. Only after [`Service::check`] said "go" at the same `now`.
    fn issue(&mut self, now: Instant) -> Permit {
        self.issued = self.issued.saturating_add(1);
        let permit = Permit::new(self.issued);
        let half_open = self.circuit.take(now, &permit);
        self.record.transition(half_open);
        // From here on the probes find out; whom the opening refusal held has been rejected long ago.
        let ended = if half_open.is_some() { self.cooldown.end() } else { self.cooldown.take(now, &permit) };
        self.record.transition(ended);
        permit
    }

    fn stand(&mut self, now: Instant, call: &Call, until: Option<Instant>) -> Admission {
        if let Some(missed) = until.filter(|until| call.deadline.is_some_and(|deadline| deadline <= *until)) {
            return Admission::Reject(self.reject(call.group, Reason::Deadline, Some(missed.since(now))));
        }
        let name = self.line.stand(call.waiter(now));
        Admission::Wait { name, until, reason: Reason::Cooldown }
    }

    fn throttled(
        &mut self,
        now: Instant,
        ending: &Ending,
        call: &Call,
        hint: Option<Span>,
        scope: Scope,
        draw: f64,
    ) -> Next {
        let delay = self.delay(ending, hint, draw);
        let opened = match scope {
            Scope::Service => self.refused(now, &ending.permit, hint, delay),
            Scope::Call => {
                self.note(now, &ending.permit, ending.verdict);
                false
            }
        };
        if let Some(hint) = hint.filter(|hint| *hint > self.config.max_retry_after) {
            return Next::Reject(self.reject(call.group, Reason::RetryAfterTooLong, Some(hint)));
        }
        if let Decision::Reject { reason, retry_after } = self.check(now)
            && self.is_shut(now)
        {
            let reason = if opened { Reason::CircuitOpened } else { reason };
            return Next::Reject(self.reject(call.group, reason, retry_after));
        }
        match self.obstacle(now, ending, call, delay) {
            Some(reason) => {
                Next::Reject(self.reject(call.group, reason, Some(self.due(now, delay).since(now))))
            }
            None => self.sleep(now, call, delay),
        }
    }

    fn transient(&mut self, now: Instant, ending: &Ending, call: &Call, draw: f64) -> Next {
        let wanted = match self.config.retry_transient {
            RetryTransient::Never => false,
            RetryTransient::Idempotent => ending.idempotent,
            RetryTransient::Always => true,
        };
        let delay = self.delay(ending, None, draw);
        if !wanted || self.is_shut(now) || self.obstacle(now, ending, call, delay).is_some() {
            return Next::PassThrough;
        }
        self.sleep(now, call, delay)
    }

    /// What stands against a retry after `delay`. Takes it out of the budget when nothing does.
    fn obstacle(&mut self, now: Instant, ending: &Ending, call: &Call, delay: Span) -> Option<Reason> {
        if ending.retries >= ending.max_retries {
            return Some(Reason::MaxRetries);
        }
        if call.deadline.is_some_and(|deadline| deadline <= self.due(now, delay)) {
            return Some(Reason::Deadline);
        }
        let granted = self.budget.as_mut().is_none_or(|budget| budget.withdraw(now));
        (!granted).then_some(Reason::Budget)
    }

    /// When a retry after `delay` starts at the earliest: a cooldown may hold it for longer.
    fn due(&self, now: Instant, delay: Span) -> Instant {
        let due = now.plus(delay);
        match self.cooldown.check(now) {
            Decision::Wait { until: Some(held), .. } => due.max(held),
            _ => due,
        }
    }

    fn sleep(&mut self, now: Instant, call: &Call, delay: Span) -> Next {
        self.record.retry(call.group);
        let until = now.plus(delay);
        let name = self.line.sleep(call.waiter(now), until);
        Next::Retry { name, until, delay }
    }

    fn delay(&self, ending: &Ending, hint: Option<Span>, draw: f64) -> Span {
        let backoff = self.config.backoff.delay(ending.retries, ending.previous_delay, draw);
        hint.map_or(backoff, |hint| self.config.backoff.delay_after_hint(hint, backoff, draw))
    }

    /// Tells the rooms of a refusal that concerns every caller. True when it opened the circuit.
    fn refused(&mut self, now: Instant, permit: &Permit, hint: Option<Span>, delay: Span) -> bool {
        let verdict = Verdict::Throttled { hint, scope: Scope::Service };
        let opened = self.circuit.record(now, permit, verdict, self.issued);
        self.record.transition(opened);
        if self.config.shared_cooldown {
            let held = match hint.filter(|hint| *hint > self.config.max_retry_after) {
                Some(hint) => self.cooldown.bar(now, hint, self.issued),
                None => self.cooldown.hold(permit, now.plus(delay), hint.is_some(), self.issued),
            };
            self.record.transition(held);
        }
        opened.is_some()
    }

    /// Tells the rooms how an attempt ended that was no refusal of the service.
    fn note(&mut self, now: Instant, permit: &Permit, verdict: Verdict) {
        let transition = self.circuit.record(now, permit, verdict, self.issued);
        self.record.transition(transition);
        self.cooldown.record(permit, verdict);
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        self.line.wake(now);
        if self.line.front().is_none() {
            let ended = self.cooldown.settle();
            self.record.transition(ended);
        }
    }

    fn reject(&mut self, group: Group, reason: Reason, retry_after: Option<Span>) -> Rejection {
        self.record.rejection(group, reason);
        Rejection { reason, retry_after }
    }

    fn is_open(&self, now: Instant) -> bool {
        matches!(self.circuit.snapshot(now).phase, Phase::Open | Phase::Isolated)
    }

    /// Whether it is certain that nobody goes, so that nobody should wait either.
    fn is_shut(&self, now: Instant) -> bool {
        self.is_open(now) || self.cooldown.is_barred(now)
    }
}

impl Call {
    const fn waiter(&self, now: Instant) -> Waiter {
        Waiter {
            arrival: self.arrival,
            priority: self.priority,
            since: now,
            deadline: self.deadline,
            group: self.group,
        }
    }
}

impl Config {
    const fn circuit(&self) -> CircuitConfig {
        CircuitConfig {
            threshold: self.circuit_threshold,
            reset: self.circuit_reset,
            max_reset: self.max_retry_after,
            probes: self.half_open_probes,
            probe_timeout: self.probe_timeout,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff: Backoff {
                initial: Span::from_ms(100),
                max: Span::from_ms(10_000),
                jitter: Jitter::Proportional { factor: 0.2 },
            },
            respect_retry_after: true,
            max_retry_after: Span::from_ms(60_000),
            circuit_threshold: 5,
            circuit_reset: Span::from_ms(60_000),
            half_open_probes: 1,
            probe_timeout: Span::from_ms(30_000),
            retry_transient: RetryTransient::Never,
            retry_budget: Some(BudgetConfig {
                ratio: 0.2,
                min_per_second: 5.0,
                window: Span::from_ms(10_000),
            }),
            shared_cooldown: true,
        }
    }
}
