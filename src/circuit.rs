//! The circuit: after too many refusals nobody calls for a while, then a few probe whether it is over.
//!
//! ```text
//!            too many refusals (Trip)                reset time passed
//!   Closed ─────────────────────────────► Open ─────────────────────────► HalfOpen
//!     ▲                                     ▲                              │    │
//!     │                                     └──────── one refusal ─────────┘    │
//!     └───────────────────────── as many successes as probes ───────────────────┘
//! ```
//!
//! The circuit of a service and the one that stands alone are this same room. The first is told of refusals, the
//! second of whatever its owner calls a failure, as [`Verdict::Throttled`] of the whole service.

use std::collections::VecDeque;

use crate::decision::{Decision, Permit, Phase, Reason, Scope, Transition, Verdict};
use crate::time::{Instant, Span};

/// When the circuit opens, how long it stays open, and how it probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitConfig {
    /// What opens it.
    pub trip: Trip,
    /// Consecutive refusals that open it, at least 1; nothing where a ratio does.
    pub threshold: u32,
    /// How long it stays open.
    pub reset: Span,
    /// A longer hint of the server prolongs the open time up to this.
    pub max_reset: Span,
    /// Attempts let through at a time while half-open, and successes in a row that close it; at least 1.
    pub probes: u32,
    /// A probe that has not ended by then gives its place back.
    pub probe_timeout: Span,
}

/// What opens a closed circuit.
///
/// A ratio is `failures / outcomes`. It is looked at after every outcome, also after the answer that makes the
/// outcomes enough. One outcome is no ratio: a `minimum` below 2 is 2. One that is larger than `calls` is `calls`,
/// or it would never be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Trip {
    /// `threshold` refusals in a row; those of attempts that were under way together are one event.
    #[default]
    Events,
    /// `threshold` failures in a row, each of them counted.
    InARow,
    /// Too many failures among the last outcomes.
    LastCalls {
        /// The share that opens it, above 0 and up to 1.
        ratio: f64,
        /// So many outcomes are remembered, 1..=10,000.
        calls: u32,
        /// With fewer outcomes it stays closed.
        minimum: u32,
    },
    /// Too many failures among the outcomes of the last so many milliseconds, which pass a tenth at a time:
    /// what is as old as the window never counts, what is nine tenths as old may not count any more.
    Window {
        /// The share that opens it, above 0 and up to 1.
        ratio: f64,
        /// How long an outcome is remembered, at least 10 ms.
        length: Span,
        /// With fewer outcomes it stays closed.
        minimum: u32,
    },
}

/// Counts refusals and answers whether an attempt may start.
///
/// With [`Trip::Events`] one that was sent before the last counted refusal came back is not counted again: they were
/// under way together. Results of attempts that were issued before the circuit last changed its state
/// change nothing.
#[derive(Debug)]
pub struct Circuit {
    config: CircuitConfig,
    state: State,
    consecutive: u32,
    last_failure: Option<Instant>,
    /// Where a ratio opens it: what came back since the present state was entered.
    outcomes: Outcomes,
    /// The latest permit that had been issued when the last counted refusal came back.
    counted: u64,
    /// The latest permit that had been issued when the present state was entered.
    epoch: u64,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probes: Vec<Probe>, successes: u32 },
    Isolated,
}

#[derive(Debug)]
struct Probe {
    sequence: u64,
    expires: Instant,
}

/// What the circuit looks like at one instant: what the next call would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitSnapshot {
    /// The state.
    pub phase: Phase,
    /// Refusals in a row.
    pub consecutive: u32,
    /// When the last refusal came back.
    pub last_failure: Option<Instant>,
    /// How long until calls may go; zero when they may, `None` while isolated.
    pub retry_after: Option<Span>,
}

impl Circuit {
    /// A closed circuit.
    pub const fn new(config: CircuitConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            consecutive: 0,
            last_failure: None,
            outcomes: Outcomes::new(),
            counted: 0,
            epoch: 0,
        }
    }

    /// Other limits from the next decision on; the count and an open circuit stay. Of the last outcomes as many stay
    /// as are still asked for; a window of another length begins anew.
    pub fn reconfigure(&mut self, config: CircuitConfig) {
        let comparable = match (self.config.trip, config.trip) {
            (Trip::LastCalls { .. }, Trip::LastCalls { .. }) => true,
            (Trip::Window { length: before, .. }, Trip::Window { length, .. }) => before == length,
            _ => false,
        };
        if !comparable {
            self.outcomes.clear();
        }
        self.config = config;
    }

    /// May an attempt start? No effect.
    pub fn check(&self, now: Instant) -> Decision {
        match self.snapshot(now).retry_after {
            Some(Span::ZERO) => Decision::Proceed,
            retry_after => Decision::Reject { reason: Reason::CircuitOpen, retry_after },
        }
    }

    /// Notes that the attempt with this permit starts. Call it only after [`Circuit::check`] said "go".
    pub fn take(&mut self, now: Instant, permit: &Permit) -> Option<Transition> {
        let mut transition = None;
        if matches!(self.state, State::Open { until } if until <= now) {
            // The probe itself belongs to the new epoch.
            let before = permit.sequence().wrapping_sub(1);
            transition = self.enter(State::HalfOpen { probes: Vec::new(), successes: 0 }, before);
        }
        if let State::HalfOpen { probes, .. } = &mut self.state {
            probes.retain(|probe| probe.expires > now);
            probes.push(Probe { sequence: permit.sequence(), expires: now.plus(self.config.probe_timeout) });
        }
        transition
    }

    /// Takes in how an attempt ended. `issued` is the number of the latest permit issued so far.
    pub fn record(
        &mut self,
        now: Instant,
        permit: &Permit,
        verdict: Verdict,
        issued: u64,
    ) -> Option<Transition> {
        if permit.sequence() <= self.epoch {
            return None;
        }
        let probing = match &mut self.state {
            State::Closed => false,
            State::HalfOpen { probes, .. } => {
                probes.retain(|probe| probe.expires > now);
                let place = probes.iter().position(|probe| probe.sequence == permit.sequence())?;
                probes.swap_remove(place);
                true
            }
            State::Open { .. } | State::Isolated => return None,
        };
        match verdict {
            Verdict::Throttled { hint, scope: Scope::Service } => {
                self.refused(now, permit, hint, issued, probing)
            }
            Verdict::Success | Verdict::Permanent | Verdict::Transient { answered: true, .. } => {
                self.answered(now, issued)
            }
            Verdict::Throttled { scope: Scope::Call, .. } | Verdict::Transient { .. } | Verdict::Ignored => {
                None
            }
        }
    }

    /// Whether it is closed and counts nothing, and a refusal of an attempt with this permit would be counted: then it
    /// makes no difference to it who asks, and what succeeds. A ratio has to hear of every success.
    pub fn is_calm(&self, permit: &Permit) -> bool {
        matches!(self.state, State::Closed)
            && matches!(self.config.trip, Trip::Events | Trip::InARow)
            && self.consecutive == 0
            && permit.sequence() > self.counted.max(self.epoch)
    }

    /// Closes it and forgets the count. Results that are still under way change nothing.
    pub fn reset(&mut self, issued: u64) -> Option<Transition> {
        self.consecutive = 0;
        self.last_failure = None;
        self.enter(State::Closed, issued)
    }

    /// Holds it open until [`Circuit::reset`].
    pub fn isolate(&mut self, issued: u64) -> Option<Transition> {
        self.enter(State::Isolated, issued)
    }

    /// When the answer of [`Circuit::check`] changes by the passing of time alone.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self.snapshot(now).retry_after {
            None | Some(Span::ZERO) => None,
            Some(wait) => Some(now.plus(wait)),
        }
    }

    /// What the next call would meet.
    pub fn snapshot(&self, now: Instant) -> CircuitSnapshot {
        let (phase, retry_after) = match &self.state {
            State::Closed => (Phase::Closed, Some(Span::ZERO)),
            State::Isolated => (Phase::Isolated, None),
            State::Open { until } if *until > now => (Phase::Open, Some(until.since(now))),
            State::Open { .. } => (Phase::HalfOpen, Some(Span::ZERO)),
            State::HalfOpen { probes, .. } => {
                (Phase::HalfOpen, Some(self.until_a_place_is_free(probes, now)))
            }
        };
        CircuitSnapshot { phase, consecutive: self.consecutive, last_failure: self.last_failure, retry_after }
    }

    fn until_a_place_is_free(&self, probes: &[Probe], now: Instant) -> Span {
        let out = probes.iter().filter(|probe| probe.expires > now);
        if u32::try_from(out.clone().count()).unwrap_or(u32::MAX) < self.config.probes {
            return Span::ZERO;
        }
        out.map(|probe| probe.expires.since(now)).min().unwrap_or(Span::ZERO)
    }

    fn refused(
        &mut self,
        now: Instant,
        permit: &Permit,
        hint: Option<Span>,
        issued: u64,
        probing: bool,
    ) -> Option<Transition> {
        self.last_failure = Some(now);
        if permit.sequence() > self.counted || !matches!(self.config.trip, Trip::Events) {
            self.consecutive = self.consecutive.saturating_add(1);
            self.counted = issued;
        }
        if !probing && !self.trips(now, true) {
            return None;
        }
        self.open(now, hint, issued)
    }

    fn answered(&mut self, now: Instant, issued: u64) -> Option<Transition> {
        if let State::HalfOpen { successes, .. } = &mut self.state {
            *successes = successes.saturating_add(1);
            if *successes < self.config.probes {
                return None;
            }
            self.consecutive = 0;
            return self.enter(State::Closed, issued);
        }
        self.consecutive = 0;
        if self.trips(now, false) { self.open(now, None, issued) } else { None }
    }

    /// Takes an outcome into what a ratio is made of. Whether the closed circuit has to open.
    fn trips(&mut self, now: Instant, failed: bool) -> bool {
        let (ratio, minimum) = match self.config.trip {
            Trip::Events | Trip::InARow => return failed && self.consecutive >= self.config.threshold,
            Trip::LastCalls { ratio, calls, minimum } => {
                self.outcomes.note(self.outcomes.newest().wrapping_add(1), calls.into(), failed);
                (ratio, minimum.max(LEAST_OUTCOMES).min(calls))
            }
            Trip::Window { ratio, length, minimum } => {
                let slice = (length.as_ms() / SLICES).max(1);
                self.outcomes.note(now.ticks().checked_div(slice).unwrap_or(0), SLICES, failed);
                (ratio, minimum.max(LEAST_OUTCOMES))
            }
        };
        self.outcomes.seen >= minimum && self.outcomes.ratio() >= ratio
    }

    fn open(&mut self, now: Instant, hint: Option<Span>, issued: u64) -> Option<Transition> {
        let open_for =
            hint.map_or(self.config.reset, |hint| hint.min(self.config.max_reset).max(self.config.reset));
        self.enter(State::Open { until: now.plus(open_for) }, issued)
    }

    /// The one place where the state changes. Permits up to number `issued` belong to the past from here on.
    fn enter(&mut self, state: State, issued: u64) -> Option<Transition> {
        let from = phase_of(&self.state);
        self.state = state;
        self.outcomes.clear();
        self.epoch = issued;
        let to = phase_of(&self.state);
        (from != to).then_some(Transition::Circuit { from, to })
    }
}

const fn phase_of(state: &State) -> Phase {
    match state {
        State::Closed => Phase::Closed,
        State::Open { .. } => Phase::Open,
        State::HalfOpen { .. } => Phase::HalfOpen,
        State::Isolated => Phase::Isolated,
    }
}

/// What came back lately, the oldest first: in slices of time, or one by one.
#[derive(Debug)]
struct Outcomes {
    slices: VecDeque<Slice>,
    /// Of all slices together.
    seen: u32,
    failures: u32,
}

#[derive(Debug)]
struct Slice {
    /// Ascending, with gaps.
    number: u64,
    seen: u32,
    failures: u32,
}

impl Outcomes {
    const fn new() -> Self {
        Self { slices: VecDeque::new(), seen: 0, failures: 0 }
    }

    fn clear(&mut self) {
        self.slices.clear();
        self.seen = 0;
        self.failures = 0;
    }

    /// Zero when there is none.
    fn newest(&self) -> u64 {
        self.slices.back().map_or(0, |slice| slice.number)
    }

    /// Notes an outcome in the slice of this number, and forgets all but the last `kept` numbers. With a number below
    /// the newest, of a clock that went back, it is in the newest.
    fn note(&mut self, number: u64, kept: u64, failed: bool) {
        while let Some(gone) = self.slices.front().filter(|slice| slice.number.wrapping_add(kept) <= number) {
            self.seen = self.seen.saturating_sub(gone.seen);
            self.failures = self.failures.saturating_sub(gone.failures);
            self.slices.pop_front();
        }
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice { number, seen: 0, failures: 0 });
        }
        let failures = u32::from(failed);
        if let Some(slice) = self.slices.back_mut() {
            slice.seen = slice.seen.saturating_add(1);
            slice.failures = slice.failures.saturating_add(failures);
        }
        self.seen = self.seen.saturating_add(1);
        self.failures = self.failures.saturating_add(failures);
    }

    /// A quotient and no product: 7 of 100 are exactly the 0.07 that somebody wrote, while 0.07 times 100 is more
    /// than 7.
    fn ratio(&self) -> f64 {
        f64::from(self.failures) / f64::from(self.seen)
    }
}

/// Slices in a window.
const SLICES: u64 = 10;

/// What is judged by a ratio at least.
const LEAST_OUTCOMES: u32 = 2;

/// Attempts that nobody answered. A browser shows a 429 without CORS headers as a lost connection, so several of
/// them in a short time, while the browser says that it is online, are taken for one refusal.
#[derive(Debug, Default)]
pub struct Silences {
    /// Oldest first; never more than [`SILENCES`] minus one.
    times: Vec<Instant>,
}

impl Silences {
    /// Notes an attempt without an answer. True when it completes a burst, which then counts as one refusal.
    pub fn note(&mut self, now: Instant) -> bool {
        self.times.retain(|time| now.since(*time) < SILENCE_WINDOW);
        if self.times.len().wrapping_add(1) < SILENCES {
            self.times.push(now);
            return false;
        }
        self.times.clear();
        true
    }
}

/// One lost connection happens, two may be chance, three within the window are a wall.
const SILENCES: usize = 3;

/// Longer than one slow connection attempt, shorter than a person needs to try again three times.
const SILENCE_WINDOW: Span = Span::from_ms(5_000);

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Verdict = Verdict::Throttled { hint: None, scope: Scope::Service };
    const LOST: Verdict = Verdict::Transient { answered: false };

    /// Issues permits in order, as `service` does.
    struct World {
        circuit: Circuit,
        issued: u64,
    }

    impl World {
        fn new(threshold: u32, probes: u32) -> Self {
            let config = CircuitConfig {
                trip: Trip::Events,
                threshold,
                reset: Span::from_ms(60_000),
                max_reset: Span::from_ms(90_000),
                probes,
                probe_timeout: Span::from_ms(30_000),
            };
            Self { circuit: Circuit::new(config), issued: 0 }
        }

        fn start(&mut self, ms: u64) -> Option<Permit> {
            if self.circuit.check(at(ms)) != Decision::Proceed {
                return None;
            }
            self.issued += 1;
            let permit = Permit::new(self.issued);
            self.circuit.take(at(ms), &permit);
            Some(permit)
        }

        fn end(&mut self, ms: u64, permit: Permit, verdict: Verdict) -> Option<Transition> {
            self.circuit.record(at(ms), &permit, verdict, self.issued)
        }

        /// Starts and ends one attempt.
        fn run(&mut self, ms: u64, verdict: Verdict) -> Option<Transition> {
            let permit = self.start(ms).expect("may start");
            self.end(ms, permit, verdict)
        }

        fn open(&mut self, ms: u64) {
            while self.phase(ms) != Phase::Open {
                self.run(ms, REFUSED);
            }
        }

        fn phase(&self, ms: u64) -> Phase {
            self.circuit.snapshot(at(ms)).phase
        }

        fn consecutive(&self) -> u32 {
            self.circuit.snapshot(at(0)).consecutive
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    #[test]
    fn opens_at_the_threshold_and_not_before() {
        let mut world = World::new(3, 1);
        assert_eq!(world.run(1, REFUSED), None);
        assert_eq!(world.run(2, REFUSED), None);
        let opened = Transition::Circuit { from: Phase::Closed, to: Phase::Open };
        assert_eq!(world.run(3, REFUSED), Some(opened));
        assert_eq!(world.start(4), None);
        assert_eq!(world.circuit.poll_timeout(at(4)), Some(at(60_003)));
    }

    #[test]
    fn what_the_server_answered_starts_the_count_anew_and_silence_does_not() {
        for (verdict, expected) in [
            (Verdict::Success, 0),
            (Verdict::Permanent, 0),
            (Verdict::Transient { answered: true }, 0),
            (LOST, 2),
            (Verdict::Ignored, 2),
            (Verdict::Throttled { hint: None, scope: Scope::Call }, 2),
        ] {
            let mut world = World::new(5, 1);
            world.run(1, REFUSED);
            world.run(2, REFUSED);
            world.run(3, verdict);
            assert_eq!(world.consecutive(), expected, "{verdict:?}");
        }
    }

    #[test]
    fn ten_parallel_refusals_are_one_event() {
        let mut world = World::new(5, 1);
        for round in 1..=4 {
            let permits: Vec<Permit> = (0..10).filter_map(|_| world.start(round)).collect();
            for permit in permits {
                world.end(round, permit, REFUSED);
            }
            assert_eq!(world.consecutive(), u32::try_from(round).unwrap());
        }
        assert_eq!(world.phase(4), Phase::Closed);
    }

    #[test]
    fn a_hint_prolongs_the_open_time_up_to_the_cap_and_never_shortens_it() {
        for (hint, reopens_at) in
            [(None, 60_000), (Some(10), 60_000), (Some(70_000), 70_000), (Some(200_000), 90_000)]
        {
            let mut world = World::new(1, 1);
            world.run(0, Verdict::Throttled { hint: hint.map(Span::from_ms), scope: Scope::Service });
            assert_eq!(world.circuit.poll_timeout(at(0)), Some(at(reopens_at)), "{hint:?}");
            assert_eq!(world.phase(reopens_at - 1), Phase::Open);
            assert_eq!(world.phase(reopens_at), Phase::HalfOpen);
        }
    }

    #[test]
    fn reading_the_state_changes_nothing() {
        let mut world = World::new(1, 1);
        world.open(0);
        assert_eq!(world.phase(70_000), Phase::HalfOpen);
        assert_eq!(world.phase(5), Phase::Open);
        assert_eq!(world.start(5), None);
    }

    #[test]
    fn half_open_lets_so_many_probes_through_and_rejects_the_others() {
        let mut world = World::new(1, 2);
        world.open(0);
        let first = world.start(60_000).expect("a probe");
        let second = world.start(60_001).expect("a second probe");
        assert_eq!(world.start(60_002), None);
        assert_eq!(world.circuit.poll_timeout(at(60_002)), Some(at(90_000)));
        assert_eq!(world.end(60_003, first, Verdict::Success), None);
        let closed = Transition::Circuit { from: Phase::HalfOpen, to: Phase::Closed };
        assert_eq!(world.end(60_004, second, Verdict::Permanent), Some(closed));
        assert_eq!(world.consecutive(), 0);
    }

    #[test]
    fn one_refused_probe_opens_it_again_at_once() {
        let mut world = World::new(5, 3);
        world.open(0);
        world.run(60_000, Verdict::Success);
        let reopened = Transition::Circuit { from: Phase::HalfOpen, to: Phase::Open };
        assert_eq!(world.run(60_001, REFUSED), Some(reopened));
        assert_eq!(world.phase(120_000), Phase::Open);
        assert_eq!(world.phase(120_001), Phase::HalfOpen);
    }

    #[test]
    fn a_probe_without_an_answer_decides_nothing_and_gives_its_place_back() {
        for verdict in [LOST, Verdict::Ignored] {
            let mut world = World::new(1, 1);
            world.open(0);
            assert_eq!(world.run(60_000, verdict), None);
            assert_eq!(world.phase(60_000), Phase::HalfOpen);
            assert!(world.start(60_000).is_some(), "{verdict:?}");
        }
    }

    #[test]
    fn a_hung_probe_gives_its_place_back_and_its_late_result_changes_nothing() {
        let mut world = World::new(1, 1);
        world.open(0);
        let hung = world.start(60_000).expect("a probe");
        assert_eq!(world.start(89_999), None);
        let next = world.start(90_000).expect("the place is free again");
        assert_eq!(world.end(90_001, hung, REFUSED), None);
        assert_eq!(world.phase(90_001), Phase::HalfOpen);
        assert!(world.end(90_002, next, Verdict::Success).is_some());
    }

    #[test]
    fn late_results_of_an_older_epoch_change_nothing() {
        let mut world = World::new(1, 1);
        let slow = world.start(0).expect("closed");
        let slower = world.start(0).expect("closed");
        world.open(1);
        assert_eq!(world.end(2, slow, Verdict::Success), None);
        assert_eq!(world.phase(2), Phase::Open);
        world.run(60_001, Verdict::Success);
        assert_eq!(world.end(60_002, slower, REFUSED), None);
        assert_eq!(world.phase(60_002), Phase::Closed);
    }

    #[test]
    fn isolated_until_reset() {
        let mut world = World::new(1, 1);
        let under_way = world.start(0).expect("closed");
        world.circuit.isolate(world.issued);
        assert_eq!(
            world.circuit.check(at(1 << 40)),
            Decision::Reject { reason: Reason::CircuitOpen, retry_after: None }
        );
        assert_eq!(world.end(1, under_way, REFUSED), None);
        world.circuit.reset(world.issued);
        assert!(world.start(2).is_some());
    }

    #[test]
    fn other_limits_keep_an_open_circuit_open() {
        let mut world = World::new(1, 1);
        world.open(0);
        world.circuit.reconfigure(CircuitConfig { reset: Span::ZERO, ..world.circuit.config });
        assert_eq!(world.phase(59_999), Phase::Open);
    }

    #[test]
    fn three_silences_within_the_window_are_a_wall() {
        let mut silences = Silences::default();
        let noted =
            [0, 2_000, 4_999, 5_000, 5_001, 12_000, 16_000, 17_000, 17_001].map(|ms| silences.note(at(ms)));
        assert_eq!(noted, [false, false, true, false, false, false, false, false, true]);
    }
}
