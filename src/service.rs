//! Composes the rooms: this is what `RateLimitService` asks.
//!
//! Per call: deadline, retries, retry budget. Per attempt: cooldown, circuit, slots and quotas, looked at together at
//! one `now`; a permit is taken only when all say "go", and otherwise nothing is held. Waiters stand in one line;
//! whoever waits is told from [`Service::poll`], with the permit in hand.

use crate::backoff::{Backoff, Jitter};
use crate::budget::{Budget, BudgetConfig};
use crate::circuit::{Circuit, CircuitConfig, CircuitSnapshot, Silences, Trip};
use crate::cooldown::Cooldown;
use crate::decision::{Decision, Permit, Phase, Reason, Scope, Transition, Verdict};
use crate::limits::{Leave, Limits, LimitsConfig};
use crate::queue::{Entry, LaneNumber, Line, Name, Rest, Terms, Waiter, rank};
use crate::quota::Window;
use crate::random::Random;
use crate::record::{Group, Recorder};
use crate::slots::Full;
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
    /// What opens the circuit.
    pub trip: Trip,
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
    /// What it needs of the limits.
    pub terms: Terms,
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
    /// The pause before the first retry of this call; `None`: as configured.
    pub initial_delay: Option<Span>,
    /// The operation has not settled although its attempt is over: it keeps its slot until [`Service::release`].
    pub keeps_slot: bool,
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
    /// Which window of a quota is full.
    pub window: Option<Window>,
}

/// The reason and the time of a rejection.
type Refusal = (Reason, Option<Span>);

/// One service: everything that shares a server's limits.
#[derive(Debug)]
pub struct Service {
    config: Config,
    circuit: Circuit,
    silences: Silences,
    cooldown: Cooldown,
    budget: Option<Budget>,
    limits: Limits,
    line: Line,
    record: Recorder,
    random: Random,
    /// Permits issued so far; each carries its number.
    issued: u64,
}

impl Service {
    /// A service that has seen nothing yet and has no limits of its own. `seed` settles all its jitter.
    pub fn new(config: Config, seed: u64) -> Self {
        Self::limited(config, LimitsConfig::default(), seed)
    }

    /// A service that has seen nothing yet. `seed` settles all its jitter.
    #[inline(never)]
    pub fn limited(config: Config, limits: LimitsConfig, seed: u64) -> Self {
        Self {
            circuit: Circuit::new(config.circuit()),
            silences: Silences::default(),
            cooldown: Cooldown::new(config.probe_timeout),
            budget: config.retry_budget.map(Budget::new),
            limits: Limits::new(limits),
            line: Line::new(),
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

    /// Other limits from the next decision on: who waits is asked again, who runs is not disturbed.
    pub fn limit(&mut self, limits: LimitsConfig) {
        self.limits.reconfigure(limits);
        self.line.rouse_all();
    }

    /// A call begins and asks for its first attempt.
    pub fn begin(&mut self, now: Instant, call: &Call) -> Admission {
        self.calm_calls(now, call.group, 1);
        self.admit(now, call)
    }

    /// Whether nothing is wrong, and was not since this permit was issued: then attempts may begin with it, as many as
    /// there are, and succeed, without anybody asking. Whoever does so tells of it by [`Service::calm_calls`] and
    /// [`Service::calm_successes`] before the service is asked anything else, and asks again once an attempt fails.
    pub fn is_calm(&self, permit: &Permit) -> bool {
        permit.sequence() == self.issued
            && self.circuit.is_calm(permit)
            && self.cooldown.is_calm(permit)
            && !self.has_waiters()
    }

    /// So many calls began at `now` while all was calm.
    pub fn calm_calls(&mut self, now: Instant, group: Group, calls: u32) {
        self.record.calls(group, calls);
        if let Some(budget) = &mut self.budget {
            budget.deposit(now, calls);
        }
    }

    /// So many attempts succeeded while all was calm, and took so long.
    pub fn calm_successes(&mut self, group: Group, duration: Span, successes: u32) {
        self.record.attempts(group, duration, Verdict::Success, successes);
    }

    /// Asks for an attempt: go, wait in line, or no.
    pub fn admit(&mut self, now: Instant, call: &Call) -> Admission {
        if call.deadline.is_some_and(|deadline| deadline <= now) {
            return self.refuse(now, call.group, &call.terms, Reason::Deadline, None);
        }
        self.wake(now);
        match self.check(now) {
            Decision::Reject { reason, retry_after } => {
                self.refuse(now, call.group, &call.terms, reason, retry_after)
            }
            Decision::Wait { until, reason } => self.stand(now, call, until, reason),
            Decision::Proceed => match self.held_by_limits(now, call) {
                None if self.line.standing() == 0 => Admission::Go(self.issue(now, &call.terms)),
                Some((reason, until)) if self.limits.rejects() || until == Some(Instant::MAX) => {
                    let retry_after = retry_after(now, until);
                    self.refuse(now, call.group, &call.terms, reason, retry_after)
                }
                held => self.stand_behind(now, call, held),
            },
        }
    }

    /// Takes an attempt if one may start at once, and waits for nothing. Nobody who waits for what it needs is overtaken,
    /// nor anybody whose wait is over and who was not called yet.
    pub fn attempt(&mut self, now: Instant, call: &Call) -> Admission {
        self.wake(now);
        let (reason, retry_after) = match self.check(now) {
            Decision::Reject { reason, retry_after } => (reason, retry_after),
            Decision::Wait { until, reason } => (reason, retry_after(now, until)),
            Decision::Proceed => {
                let is_behind = self.line.standing_in(call.terms.lane) > 0 || self.next_called(now).is_some();
                match held_by(self.leave_at(now, &call.terms, &call.place())) {
                    Some((reason, until)) => (reason, retry_after(now, until)),
                    None if is_behind => (Reason::Queue, None),
                    None => return Admission::Go(self.issue(now, &call.terms)),
                }
            }
        };
        self.refuse(now, call.group, &call.terms, reason, retry_after)
    }

    /// The attempt with this permit succeeded. Nothing is decided, so nothing needs to be known about the call.
    pub fn succeed(
        &mut self,
        now: Instant,
        permit: &Permit,
        started: Instant,
        group: Group,
        lane: LaneNumber,
    ) {
        self.ended(now, permit, started, group, Verdict::Success);
        self.release(permit, lane);
    }

    /// The attempt ended like this, and nothing is to be decided.
    pub fn ended(&mut self, now: Instant, permit: &Permit, started: Instant, group: Group, verdict: Verdict) {
        self.record.attempts(group, now.since(started), verdict, 1);
        self.note(now, permit, verdict);
    }

    /// The operation has settled: its slot comes free. Harmless when its lease had run out.
    pub fn release(&mut self, permit: &Permit, lane: LaneNumber) {
        if lane != 0 && self.limits.release(permit, lane) {
            self.freed(lane, self.limits.operation_of(lane));
        }
    }

    /// The attempt ended without success: what now? `draw` is a random number from 0 to 1, `None` for our own.
    pub fn end(&mut self, now: Instant, ending: &Ending, call: &Call, draw: Option<f64>) -> Next {
        self.record.attempts(call.group, now.since(ending.started), ending.verdict, 1);
        if !ending.keeps_slot {
            self.release(&ending.permit, call.terms.lane);
        }
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
        self.wake(now);
        let (name, rejection) = self.next_called(now)?;
        let waiter = self.depart(now, name)?;
        let admission = match rejection {
            Some((reason, retry_after)) => self.refuse(now, waiter.group, &waiter.terms, reason, retry_after),
            None => Admission::Go(self.issue(now, &waiter.terms)),
        };
        self.settle(now);
        Some((name, admission))
    }

    /// Who is called next, and why it is rejected when it is.
    fn next_called(&mut self, now: Instant) -> Option<(Name, Option<Refusal>)> {
        let decision = self.check(now);
        match decision {
            // Nobody sleeps towards a closed door.
            Decision::Reject { reason, retry_after } if self.is_shut(now) => {
                return Some((self.line.anybody()?, Some((reason, retry_after))));
            }
            // A cooldown may have been prolonged beyond a deadline.
            Decision::Wait { until: Some(until), .. } => {
                return Some((
                    self.line.out_of_time(until)?,
                    Some((Reason::Deadline, Some(until.since(now)))),
                ));
            }
            Decision::Proceed | Decision::Wait { until: None, .. } | Decision::Reject { .. } => {}
        }
        // An alarm may be late by more than a deadline: what is sent now would be sent for nobody.
        if let Some(late) = self.line.out_of_time(now) {
            return Some((late, Some((Reason::Deadline, None))));
        }
        match decision {
            Decision::Wait { .. } => None,
            Decision::Proceed => self.first_that_may_go(now),
            Decision::Reject { reason, retry_after } => {
                Some((self.line.front()?, Some((reason, retry_after))))
            }
        }
    }

    /// The first in line whose limits let it go, or reject it. The lanes of the others are put to rest until something
    /// changes for them.
    fn first_that_may_go(&mut self, now: Instant) -> Option<(Name, Option<Refusal>)> {
        loop {
            let front = self.line.first()?;
            let name = self.line.front_of(front.name)?;
            let Waiter { terms, deadline, .. } = *self.line.waiter(name)?;
            let leave = self.leave_at(now, &terms, &front);
            let Some((reason, until)) = held_by(leave) else { return Some((name, None)) };
            if self.limits.rejects() || until == Some(Instant::MAX) {
                return Some((name, Some((reason, retry_after(now, until)))));
            }
            if let Some(missed) = until.filter(|until| deadline.is_some_and(|deadline| deadline <= *until)) {
                return Some((name, Some((Reason::Deadline, Some(missed.since(now))))));
            }
            let rest = match leave {
                // All need one of these: nobody overtakes.
                Leave::Slots(Full::Global) | Leave::Go => return None,
                Leave::Slots(Full::Operation) => Rest::Held(self.limits.operation_of(terms.lane)),
                Leave::Slots(Full::Key) => Rest::Parked,
                Leave::Behind(quota, _) => Rest::Behind(quota),
                Leave::Until(until) => Rest::Asleep(until),
            };
            self.put_to_rest(now, &terms, front, rest);
        }
    }

    /// What the front of a lane does not wait for is for those who wait for it.
    fn put_to_rest(&mut self, now: Instant, terms: &Terms, front: Entry, rest: Rest) {
        let Self { limits, line, .. } = self;
        line.rest(terms.lane, rest);
        limits.unclaim(terms.lane);
        if let Rest::Asleep(until) = rest {
            limits.claim(now, terms, front, until, |replaced| line.rest(replaced, Rest::Ready));
        }
        self.rouse_unclaimed(terms.lane);
        if !matches!(rest, Rest::Held(_)) {
            self.rouse_held(terms.lane);
        }
    }

    /// Those may be asked who wait for a quota of this lane that nobody waits for first.
    #[inline(never)]
    fn rouse_unclaimed(&mut self, lane: LaneNumber) {
        let Self { limits, line, .. } = self;
        limits.unclaimed(lane).for_each(|quota| line.rouse_behind(quota));
    }

    /// The first may be asked of those who wait for a slot of the lane's operation.
    fn rouse_held(&mut self, lane: LaneNumber) {
        self.line.rouse_held(self.limits.operation_of(lane));
    }

    /// When [`Service::poll`] may have something new to say by the passing of time alone.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let in_line = self.line.front().and_then(|_| match self.check(now) {
            // Whoever may be asked and was not called waits for a slot.
            Decision::Proceed if self.is_full(now) => None,
            Decision::Proceed => Some(now),
            Decision::Wait { .. } => self.cooldown.poll_timeout(now),
            Decision::Reject { .. } => Some(now),
        });
        let lease = self.limits.poll_timeout().filter(|_| self.line.standing() > 0);
        Instant::earlier(Instant::earlier(in_line, lease), self.line.poll_timeout())
    }

    /// One stops waiting: cancelled, or for a reason that is counted.
    pub fn leave(&mut self, now: Instant, name: Name, reason: Option<Reason>) {
        let Some(waiter) = self.depart(now, name) else { return };
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

    /// A lane of this operation, or how long until there may be one.
    pub fn lane(&mut self, now: Instant, operation: u32) -> Result<LaneNumber, Span> {
        // A key is in use as long as a lease that has run out was not taken back.
        self.wake(now);
        let line = &self.line;
        self.limits.lane(now, operation, |lane| line.is_used(lane))
    }

    /// When an ordinary call of the lane may go, as far as anybody knows; `None`: that depends on others.
    pub fn next_leave(&self, now: Instant, lane: LaneNumber) -> Option<Instant> {
        let terms = Terms { lane, weight: 1, ..Terms::NONE };
        let last = Entry { rank: i64::MAX, coming: u32::MAX, name: lane };
        let by_limits = match self.limits.check(now, &terms, &last) {
            Leave::Go => now,
            Leave::Until(until) | Leave::Behind(_, until) => until,
            Leave::Slots(_) => return None,
        };
        match self.check(now) {
            Decision::Proceed => Some(by_limits),
            Decision::Wait { until, .. } => Some(by_limits.max(until?)),
            Decision::Reject { retry_after, .. } => Some(by_limits.max(now.plus(retry_after?))),
        }
    }

    /// A new end of the permit's lease; `None` when it is gone.
    pub fn renew(&mut self, now: Instant, permit: &Permit) -> Option<Instant> {
        self.wake(now);
        self.limits.renew(now, permit)
    }

    /// Units of the lane's quotas that were taken at `taken` and not used.
    pub fn give_back(&mut self, lane: LaneNumber, taken: Instant, weight: u32) {
        self.limits.give_back(lane, taken, weight);
        self.rouse_claimers(lane);
    }

    /// Forgets what was used of a lane's quotas, for `None` of all.
    pub fn clear(&mut self, lane: Option<LaneNumber>) {
        match lane {
            Some(lane) => {
                self.limits.clear(lane);
                self.rouse_claimers(lane);
            }
            None => {
                self.limits.clear_all();
                self.line.rouse_all();
            }
        }
    }

    /// There is more of a lane's quotas: those who wait for them first may be asked, and after them the others.
    fn rouse_claimers(&mut self, lane: LaneNumber) {
        let Self { limits, line, .. } = self;
        limits.claimers(lane).for_each(|claimer| line.rest(claimer, Rest::Ready));
    }

    /// Slots and quotas.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same, to be changed where nobody waits for it.
    pub const fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Who waits.
    pub const fn line(&self) -> &Line {
        &self.line
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

    /// Takes a permit out of every room. Only after all of them said "go" at the same `now`.
    fn issue(&mut self, now: Instant, terms: &Terms) -> Permit {
        self.issued = self.issued.wrapping_add(1);
        let permit = Permit::new(self.issued);
        let half_open = self.circuit.take(now, &permit);
        self.record.transition(half_open);
        // From here on the probes find out; whom the opening refusal held has been rejected long ago.
        let ended = if half_open.is_some() { self.cooldown.end() } else { self.cooldown.take(now, &permit) };
        self.record.transition(ended);
        if terms.lane != 0 {
            self.take(now, &permit, terms);
        }
        permit
    }

    /// Takes a slot and quotas. Apart, so that calls without any have nothing of it.
    #[inline(never)]
    fn take(&mut self, now: Instant, permit: &Permit, terms: &Terms) {
        let Self { limits, record, .. } = self;
        limits.take(now, permit, terms, |warning| record.transition(Some(warning)));
        // Where one slot of the operation is left, the next one has it.
        self.rouse_held(terms.lane);
    }

    /// Why the limits keep a call that has just come, and until when; `None` twice: nobody knows.
    fn held_by_limits(&self, now: Instant, call: &Call) -> Option<(Reason, Option<Instant>)> {
        if call.terms.lane == 0 {
            return None;
        }
        held_by(self.limits.check(now, &call.terms, &call.place()))
    }

    /// May the one at this place in line start, as far as the limits go?
    fn leave_at(&self, now: Instant, terms: &Terms, place: &Entry) -> Leave {
        if terms.lane != 0 && self.line.is_held_before(self.limits.operation_of(terms.lane), place) {
            return Leave::Slots(Full::Operation);
        }
        self.limits.check(now, terms, place)
    }

    /// Stands in line where the door is open: for its limits, or behind others.
    fn stand_behind(
        &mut self,
        now: Instant,
        call: &Call,
        held: Option<(Reason, Option<Instant>)>,
    ) -> Admission {
        if let Some((reason, until)) = held {
            let admission = self.stand(now, call, until, reason);
            // Only so that its lane comes to rest, and what it waits for is claimed.
            self.next_called(now);
            return admission;
        }
        // It may be first all the same: the others may wait for something that it does not need.
        let name = self.line.stand(call.waiter(now));
        match self.next_called(now) {
            Some((called, None)) if called == name => {
                self.line.leave(name);
                Admission::Go(self.issue(now, &call.terms))
            }
            _ if self.line.standing() > self.limits.max_queue() => {
                self.line.leave(name);
                self.left(call.terms.lane);
                self.turn_away(now, call)
            }
            _ => Admission::Wait { name, until: None, reason: Reason::Queue },
        }
    }

    fn stand(&mut self, now: Instant, call: &Call, until: Option<Instant>, reason: Reason) -> Admission {
        if let Some(missed) = until.filter(|until| call.deadline.is_some_and(|deadline| deadline <= *until)) {
            return self.refuse(now, call.group, &call.terms, Reason::Deadline, Some(missed.since(now)));
        }
        if self.line.standing() >= self.limits.max_queue() {
            return self.turn_away(now, call);
        }
        let name = self.line.stand(call.waiter(now));
        Admission::Wait { name, until, reason }
    }

    fn turn_away(&mut self, now: Instant, call: &Call) -> Admission {
        self.refuse(now, call.group, &call.terms, Reason::QueueFull, None)
    }

    /// Takes one out of the line, and lets those be asked who waited for it to go first.
    fn depart(&mut self, now: Instant, name: Name) -> Option<Waiter> {
        let waiter = self.line.leave(name)?;
        self.record.wait(waiter.group, now.since(waiter.since));
        self.left(waiter.terms.lane);
        Some(waiter)
    }

    /// One has left a lane: if it was the front, those may be asked who waited for it to go first.
    fn left(&mut self, lane: LaneNumber) {
        let Self { limits, line, .. } = self;
        if lane != 0 && matches!(line.rest_of(lane), Rest::Empty | Rest::Ready) {
            limits.unclaim(lane);
            self.rouse_unclaimed(lane);
            self.rouse_held(lane);
        }
    }

    /// Moves on what has come with time: sleepers, lanes, leases that ran out.
    fn wake(&mut self, now: Instant) {
        if self.has_waiters() {
            self.line.wake(now);
        }
        while let Some((lane, operation)) = self.limits.reclaim(now) {
            self.freed(lane, operation);
        }
    }

    /// A slot came free.
    fn freed(&mut self, lane: LaneNumber, operation: u32) {
        self.line.rouse(lane);
        self.line.rouse_held(operation);
    }

    /// Whether the first in line waits for a slot that everybody needs.
    fn is_full(&self, now: Instant) -> bool {
        let first = self.line.front().and_then(|name| self.line.waiter(name)).zip(self.line.first());
        first.is_some_and(|(first, place)| {
            self.limits.check(now, &first.terms, &place) == Leave::Slots(Full::Global)
        })
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
            return self.give_up(now, call, Reason::RetryAfterTooLong, Some(hint));
        }
        if let Decision::Reject { reason, retry_after } = self.check(now)
            && self.is_shut(now)
        {
            let reason = if opened { Reason::CircuitOpened } else { reason };
            return self.give_up(now, call, reason, retry_after);
        }
        match self.obstacle(now, ending, call, delay) {
            Some(reason) => self.give_up(now, call, reason, Some(self.due(now, delay).since(now))),
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
        let configured = self.config.backoff;
        let initial = ending.initial_delay.unwrap_or(configured.initial);
        let backoff = Backoff { initial, max: configured.max.max(initial), ..configured };
        let delay = backoff.delay(ending.retries, ending.previous_delay, draw);
        hint.map_or(delay, |hint| backoff.delay_after_hint(hint, delay, draw))
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
        if self.has_waiters() {
            self.line.wake(now);
        }
        // Who stands elsewhere waits for something else.
        if self.line.first().is_none() {
            let ended = self.cooldown.settle();
            self.record.transition(ended);
        }
    }

    /// Counts a rejection, and tells the window of a quota that is full.
    fn reject(
        &mut self,
        now: Instant,
        group: Group,
        terms: &Terms,
        reason: Reason,
        retry_after: Option<Span>,
    ) -> Rejection {
        self.record.rejection(group, reason);
        let window = if reason == Reason::Quota { self.limits.obstacle(now, terms) } else { None };
        Rejection { reason, retry_after, window }
    }

    /// Not inlined, and the next one: there are a dozen ways to be turned away.
    #[inline(never)]
    fn refuse(
        &mut self,
        now: Instant,
        group: Group,
        terms: &Terms,
        reason: Reason,
        retry_after: Option<Span>,
    ) -> Admission {
        Admission::Reject(self.reject(now, group, terms, reason, retry_after))
    }

    #[inline(never)]
    fn give_up(&mut self, now: Instant, call: &Call, reason: Reason, retry_after: Option<Span>) -> Next {
        Next::Reject(self.reject(now, call.group, &call.terms, reason, retry_after))
    }

    fn is_open(&self, now: Instant) -> bool {
        matches!(self.circuit.snapshot(now).phase, Phase::Open | Phase::Isolated)
    }

    /// Whether it is certain that nobody goes, so that nobody should wait either.
    fn is_shut(&self, now: Instant) -> bool {
        self.is_open(now) || self.cooldown.is_barred(now)
    }
}

/// Why the limits keep somebody, and until when; `None`: nobody knows, [`Instant::MAX`]: for ever.
#[inline(never)]
fn held_by(leave: Leave) -> Option<(Reason, Option<Instant>)> {
    match leave {
        Leave::Go => None,
        Leave::Slots(_) => Some((Reason::Slots, None)),
        Leave::Until(until) | Leave::Behind(_, until) => Some((Reason::Quota, Some(until))),
    }
}

/// How long until it may be worth while to ask again; `None` when nobody knows, or never.
fn retry_after(now: Instant, until: Option<Instant>) -> Option<Span> {
    until.filter(|until| *until < Instant::MAX).map(|until| until.since(now))
}

impl Call {
    /// Where it would stand in line if it came now: behind its equals.
    fn place(&self) -> Entry {
        Entry { rank: rank(self.arrival, self.priority), coming: u32::MAX, name: self.terms.lane }
    }

    #[inline(never)]
    const fn waiter(&self, now: Instant) -> Waiter {
        Waiter {
            arrival: self.arrival,
            priority: self.priority,
            since: now,
            deadline: self.deadline,
            group: self.group,
            terms: self.terms,
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
            trip: self.trip,
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
            trip: Trip::Events,
        }
    }
}
