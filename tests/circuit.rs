//! The circuit that stands alone: what opens it, and what others got wrong.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use support::{LOST, REFUSED, REFUSED_ALONE, UNWELL, at, ms, refused_for};
use tidegate::circuit::{Circuit, CircuitConfig, Trip};
use tidegate::decision::{Decision, Permit, Phase, Scope, Transition, Verdict};

const OK: Verdict = Verdict::Success;
const FAILED: Verdict = REFUSED;

const OPENED: Option<Transition> = Some(Transition::Circuit { from: Phase::Closed, to: Phase::Open });
const REOPENED: Option<Transition> = Some(Transition::Circuit { from: Phase::HalfOpen, to: Phase::Open });
const CLOSED: Option<Transition> = Some(Transition::Circuit { from: Phase::HalfOpen, to: Phase::Closed });

/// Half of the last ten.
const LAST_TEN: Trip = Trip::LastCalls { ratio: 0.5, calls: 10, minimum: 4 };

/// Half of the last ten seconds.
const TEN_SECONDS: Trip = Trip::Window { ratio: 0.5, length: ms(10_000), minimum: 4 };

const fn config(trip: Trip) -> CircuitConfig {
    CircuitConfig {
        trip,
        threshold: 3,
        reset: ms(60_000),
        max_reset: ms(60_000),
        probes: 1,
        probe_timeout: ms(30_000),
    }
}

/// A circuit and the permits that its owner issues.
struct World {
    circuit: Circuit,
    now: u64,
    issued: u64,
}

impl World {
    fn new(trip: Trip) -> Self {
        Self::with(config(trip))
    }

    fn with(config: CircuitConfig) -> Self {
        Self { circuit: Circuit::new(config), now: 0, issued: 0 }
    }

    /// The number of the permit, if one is to be had.
    fn start(&mut self) -> Option<u64> {
        (self.circuit.check(at(self.now)) == Decision::Proceed).then(|| {
            self.issued += 1;
            self.circuit.take(at(self.now), &Permit::new(self.issued));
            self.issued
        })
    }

    fn end(&mut self, number: u64, verdict: Verdict) -> Option<Transition> {
        self.circuit.record(at(self.now), &Permit::new(number), verdict, self.issued)
    }

    fn run(&mut self, verdict: Verdict) -> Option<Transition> {
        let number = self.start().expect("may start");
        self.end(number, verdict)
    }

    /// One attempt for each letter: `x` fails, `.` does not. How many were let through.
    fn runs(&mut self, outcomes: &str) -> usize {
        outcomes.chars().take_while(|c| self.start().map(|number| self.end(number, of(*c))).is_some()).count()
    }

    fn phase(&self) -> Phase {
        self.circuit.snapshot(at(self.now)).phase
    }

    fn open(&mut self) {
        while self.phase() == Phase::Closed {
            self.run(FAILED);
        }
    }
}

fn of(letter: char) -> Verdict {
    if letter == 'x' { FAILED } else { OK }
}

// ---- What opens it ------------------------------------------------------------------------------------------------

#[test]
fn what_opens_it() {
    let last = |ratio, calls, minimum| Trip::LastCalls { ratio, calls, minimum };
    for (trip, outcomes, opened_after) in [
        (Trip::Events, "xx.xxx", Some(6)),
        (Trip::InARow, "xx.xxx", Some(6)),
        (Trip::InARow, "xx.xx.xx.xx.", None),
        (LAST_TEN, "xxx", None),
        (LAST_TEN, "xxxx", Some(4)),
        (LAST_TEN, "...x...x...x...x", None),
        (LAST_TEN, "......xxxxx", Some(11)),
        // The sixth success has pushed out the first by then.
        (LAST_TEN, "x......xxxx", None),
        (LAST_TEN, "x......xxxxx", Some(12)),
        // The answer that makes them enough.
        (LAST_TEN, "xx..", Some(4)),
        (LAST_TEN, "xx...", Some(4)),
        (LAST_TEN, "x...", None),
        (last(1.0, 3, 3), "xx.xx.xxx", Some(9)),
        (last(0.3, 10, 10), "..x..x..x.", Some(10)),
        (last(0.01, 10_000, 2), ".x", Some(2)),
        (last(0.01, 10_000, 2), "x.", Some(2)),
    ] {
        let mut world = World::new(trip);
        let run = world.runs(outcomes);
        let opened = (world.phase() == Phase::Open).then_some(run);
        assert_eq!(opened, opened_after, "{trip:?} {outcomes}");
    }
}

#[test]
fn a_window_of_time_opens_as_the_last_calls_do_while_nothing_is_old() {
    for outcomes in ["xxx", "xxxx", "...x...x...x", "xx..", "x...", "....xxxx"] {
        let mut window = World::new(TEN_SECONDS);
        let mut calls = World::new(LAST_TEN);
        assert_eq!(window.runs(outcomes), calls.runs(outcomes), "{outcomes}");
        assert_eq!(window.phase(), calls.phase(), "{outcomes}");
    }
}

#[test]
fn a_ratio_that_was_written_as_a_fraction_is_met_exactly() {
    let trip = |ratio, calls| Trip::LastCalls { ratio, calls, minimum: calls };
    for calls in (2..=50).chain([100, 1_000]) {
        for failures in (1..=calls).step_by(calls as usize / 50 + 1) {
            let ratio = f64::from(failures) / f64::from(calls);
            let outcomes = "x".repeat(failures as usize) + &".".repeat((calls - failures) as usize);
            let mut world = World::new(trip(ratio, calls));
            world.runs(&outcomes);
            assert_eq!(world.phase(), Phase::Open, "{failures} of {calls}");
            let mut world = World::new(trip(ratio, calls));
            world.runs(&outcomes.replacen('x', ".", 1));
            assert_eq!(world.phase(), Phase::Closed, "one less than {failures} of {calls}");
        }
    }
    for (ratio, failures) in [(0.07, 7), (0.29, 29), (0.57, 57), (0.58, 58)] {
        let mut world = World::new(trip(ratio, 100));
        world.runs(&("x".repeat(failures) + &".".repeat(100 - failures)));
        assert_eq!(world.phase(), Phase::Open, "{failures} of 100 at {ratio}");
    }
}

#[test]
fn the_minimum_is_kept_and_one_outcome_is_no_ratio() {
    for (minimum, calls, failures) in
        [(0, 10, 2), (1, 10, 2), (2, 10, 2), (7, 10, 7), (10, 10, 10), (50, 10, 10), (0, 1, 1), (5, 1, 1)]
    {
        let mut world = World::new(Trip::LastCalls { ratio: 0.5, calls, minimum });
        assert_eq!(world.runs(&"x".repeat(20)), failures, "minimum {minimum} of {calls}");
    }
    for (minimum, failures) in [(0, 2), (1, 2), (2, 2), (100, 100)] {
        let mut world = World::new(Trip::Window { ratio: 0.5, length: ms(1_000), minimum });
        assert_eq!(world.runs(&"x".repeat(200)), failures, "minimum {minimum}");
    }
}

#[test]
fn of_those_that_were_under_way_together_each_failure_counts_except_for_events() {
    for (trip, opens) in [(Trip::Events, false), (Trip::InARow, true), (LAST_TEN, true), (TEN_SECONDS, true)]
    {
        let mut world = World::new(trip);
        let together: Vec<u64> = (0..4).filter_map(|_| world.start()).collect();
        for number in together {
            world.end(number, FAILED);
        }
        assert_eq!(world.phase() == Phase::Open, opens, "{trip:?}");
    }
}

#[test]
fn what_counts_as_a_failure_as_an_outcome_and_not_at_all() {
    let hinted = refused_for(10);
    for trip in [LAST_TEN, TEN_SECONDS] {
        for (verdict, failures, outcomes) in [
            (FAILED, 1, 1),
            (hinted, 1, 1),
            (OK, 0, 1),
            (Verdict::Permanent, 0, 1),
            (UNWELL, 0, 1),
            (LOST, 0, 0),
            (REFUSED_ALONE, 0, 0),
            (Verdict::Ignored, 0, 0),
        ] {
            // Three of the four that are needed: one more failure opens it, one more outcome completes them.
            let mut world = World::new(trip);
            world.runs("x..");
            world.run(verdict);
            assert_eq!(world.phase() == Phase::Open, failures == 1, "{trip:?} {verdict:?}");
            let mut world = World::new(trip);
            world.runs("xx.");
            world.run(verdict);
            assert_eq!(world.phase() == Phase::Open, outcomes == 1, "{trip:?} {verdict:?}");
        }
    }
    for (verdict, opens) in [(FAILED, true), (LOST, false), (Verdict::Ignored, false), (REFUSED_ALONE, false)]
    {
        let mut world = World::new(Trip::InARow);
        world.runs("xx");
        world.run(verdict);
        assert_eq!(world.phase() == Phase::Open, opens, "{verdict:?}");
        world.now = 60_000;
        world.run(FAILED);
        assert_eq!(
            world.phase(),
            Phase::Open,
            "what is nothing does not interrupt a row either: {verdict:?}"
        );
    }
}

#[test]
fn the_failures_in_a_row_are_shown_whatever_opens_it() {
    for trip in [Trip::Events, Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::new(trip);
        world.runs("x.xx");
        assert_eq!(world.circuit.snapshot(at(0)).consecutive, 2, "{trip:?}");
        assert_eq!(world.circuit.snapshot(at(0)).last_failure, Some(at(0)));
    }
}

// ---- Time ---------------------------------------------------------------------------------------------------------

/// Seen in a breaker that drops one old window for each call that comes: after a quiet hour they were still there.
#[test]
fn ninety_nine_failures_of_an_hour_ago_do_not_count() {
    let mut world = World::new(Trip::Window { ratio: 0.5, length: ms(10_000), minimum: 100 });
    world.runs(&"x".repeat(99));
    world.now = 3_600_000;
    assert_eq!(world.run(FAILED), None);
    assert_eq!(world.phase(), Phase::Closed);
    assert_eq!(world.runs(&"x".repeat(200)), 99, "these are of now");
}

#[test]
fn a_failure_as_old_as_the_window_never_counts_and_a_recent_one_always_does() {
    for began in [0, 1, 999, 1_000, 1_001, 123_456] {
        for (age, counts) in [(0, true), (5_000, true), (9_000, true), (10_000, false), (10_001, false)] {
            let mut world = World::new(TEN_SECONDS);
            world.now = began;
            world.runs("xxx");
            world.now = began + age;
            assert_eq!(world.run(FAILED), if counts { OPENED } else { None }, "from {began}, {age} ms old");
        }
    }
}

#[test]
fn successes_leave_the_window_too() {
    let mut world = World::new(TEN_SECONDS);
    world.runs(&".".repeat(1_000));
    world.now = 9_000;
    world.runs("xxxx");
    assert_eq!(world.phase(), Phase::Closed, "four of 1,004");
    world.now = 10_000;
    assert_eq!(world.run(FAILED), OPENED, "five of five");
}

#[test]
fn a_clock_set_back_by_an_hour_loses_and_invents_nothing() {
    let mut world = World::new(TEN_SECONDS);
    world.now = 3_600_000;
    world.runs("xx.");
    world.now = 0;
    assert_eq!(world.run(FAILED), OPENED);
}

// ---- What others got wrong ----------------------------------------------------------------------------------------

/// Seen with a semaphore inside the breaker: four healthy calls at a capacity of one opened it.
#[test]
fn calls_refused_for_want_of_capacity_are_no_failures() {
    for trip in [Trip::Events, Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::new(trip);
        world.run(OK);
        for _ in 0..100 {
            assert_eq!(world.run(Verdict::Ignored), None);
        }
        assert_eq!(world.phase(), Phase::Closed, "{trip:?}");
        world.open();
        let before = format!("{:?}", world.circuit);
        for _ in 0..100 {
            assert_eq!(world.start(), None, "refused by the circuit itself");
        }
        assert_eq!(format!("{:?}", world.circuit), before, "{trip:?}");
    }
}

/// Seen where the only probe has no deadline.
#[test]
fn a_hung_probe_blocks_nobody_for_ever() {
    for trip in [Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::new(trip);
        world.open();
        world.now = 60_000;
        let hung = world.start().expect("a probe");
        world.now = 89_999;
        assert_eq!(world.start(), None);
        assert_eq!(world.circuit.poll_timeout(at(world.now)), Some(at(90_000)));
        world.now = 90_000;
        let next = world.start().expect("the place has come back");
        assert_eq!(world.end(hung, FAILED), None);
        assert_eq!(world.end(next, OK), CLOSED);
    }
}

/// Seen where callers wait for the probe: its success let fifty go at once, although it said half-open.
#[test]
fn after_one_good_probe_fifty_others_do_not_run_at_once() {
    for trip in [Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::with(CircuitConfig { probes: 3, ..config(trip) });
        world.open();
        world.now = 60_000;
        let probe = world.start().expect("a probe");
        assert_eq!(world.end(probe, OK), None);
        let crowd: Vec<u64> = (0..50).filter_map(|_| world.start()).collect();
        assert_eq!(crowd.len(), 3, "{trip:?}");
        assert_eq!(world.end(crowd[0], OK), None);
        assert_eq!((0..50).filter_map(|_| world.start()).count(), 1);
        assert_eq!(world.end(crowd[1], OK), CLOSED);
        assert_eq!((0..50).filter_map(|_| world.start()).count(), 50);
    }
}

#[test]
fn no_answer_opens_it_at_a_threshold_of_nothing() {
    for trip in [Trip::Events, Trip::InARow] {
        let mut world = World::with(CircuitConfig { threshold: 0, ..config(trip) });
        assert_eq!(world.run(OK), None);
        assert_eq!(world.run(FAILED), OPENED);
    }
}

/// Seen where the default minimum is 0.
#[test]
fn the_first_failure_alone_never_opens_by_a_ratio() {
    for trip in [
        Trip::LastCalls { ratio: 0.5, calls: 100, minimum: 0 },
        Trip::Window { ratio: 0.01, length: ms(1_000), minimum: 0 },
    ] {
        let mut world = World::new(trip);
        assert_eq!(world.run(FAILED), None);
        assert_eq!(world.phase(), Phase::Closed, "{trip:?}");
    }
}

#[test]
fn a_result_that_arrives_after_it_opened_changes_nothing() {
    for trip in [Trip::Events, Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::new(trip);
        let late: Vec<u64> = (0..4).filter_map(|_| world.start()).collect();
        world.now = 10;
        world.open();
        let before = format!("{:?}", world.circuit);
        assert_eq!(world.end(late[0], OK), None);
        assert_eq!(world.end(late[1], FAILED), None);
        assert_eq!(format!("{:?}", world.circuit), before, "{trip:?}: open");
        world.now = 60_010;
        let probe = world.start().expect("a probe");
        let before = format!("{:?}", world.circuit);
        assert_eq!(world.end(late[2], OK), None);
        assert_eq!(format!("{:?}", world.circuit), before, "{trip:?}: half-open");
        world.end(probe, OK);
        let before = format!("{:?}", world.circuit);
        assert_eq!(world.end(late[3], FAILED), None);
        assert_eq!(format!("{:?}", world.circuit), before, "{trip:?}: closed again");
    }
}

/// A sleep of a day, or a reset time beyond what a timer can hold.
#[test]
fn a_long_reset_time_is_as_long_as_it_says() {
    let long = 1_u64 << 31;
    let mut world =
        World::with(CircuitConfig { reset: ms(long), max_reset: ms(long), ..config(Trip::InARow) });
    world.open();
    world.now = long - 1;
    assert_eq!(world.phase(), Phase::Open);
    world.now = long;
    assert_eq!(world.phase(), Phase::HalfOpen);
}

// ---- Beginning anew -----------------------------------------------------------------------------------------------

#[test]
fn after_it_closed_the_window_is_empty() {
    for trip in [LAST_TEN, TEN_SECONDS] {
        let mut world = World::with(CircuitConfig { reset: ms(1), max_reset: ms(1), ..config(trip) });
        world.open();
        world.now = 1;
        assert_eq!(world.run(OK), CLOSED);
        assert_eq!(world.runs("xxx"), 3);
        assert_eq!(world.phase(), Phase::Closed, "{trip:?}: neither the old failures nor the probe count");
        assert_eq!(world.run(FAILED), OPENED);
    }
}

#[test]
fn a_failed_probe_opens_it_again_whatever_the_ratio() {
    for trip in [Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::with(CircuitConfig { probes: 2, ..config(trip) });
        world.open();
        world.now = 60_000;
        assert_eq!(world.run(OK), None);
        assert_eq!(world.run(FAILED), REOPENED);
        world.now = 119_999;
        assert_eq!(world.phase(), Phase::Open);
        world.now = 120_000;
        assert_eq!([world.run(OK), world.run(OK)], [None, CLOSED], "{trip:?}: two anew");
    }
}

#[test]
fn a_reset_empties_the_window_and_what_is_under_way_does_not_fill_it() {
    for trip in [Trip::InARow, LAST_TEN, TEN_SECONDS] {
        let mut world = World::new(trip);
        world.runs("xx");
        let under_way: Vec<u64> = (0..9).filter_map(|_| world.start()).collect();
        world.circuit.reset(world.issued);
        for number in under_way {
            assert_eq!(world.end(number, FAILED), None);
        }
        world.runs("xx");
        assert_eq!(world.phase(), Phase::Closed, "{trip:?}");
        world.open();
        world.circuit.reset(world.issued);
        assert_eq!(world.runs("xx"), 2, "{trip:?}");
    }
}

#[test]
fn other_limits_keep_what_can_be_compared() {
    let last = |calls, minimum| Trip::LastCalls { ratio: 0.5, calls, minimum };
    let window = |length, minimum| Trip::Window { ratio: 0.5, length: ms(length), minimum };
    for (before, outcomes, after, opened_by_the_next_failure) in [
        (last(10, 10), "xxx", last(10, 4), true),
        (last(10, 10), "xxx", last(100, 4), true),
        // Of these only the last three and the next one are left.
        (last(10, 10), "xxxxxx...", last(4, 4), false),
        (last(10, 10), "......xx.", last(4, 4), true),
        (window(10_000, 10), "xxx", window(10_000, 4), true),
        (window(10_000, 10), "xxx", window(20_000, 4), false),
        (last(10, 10), "xxx", window(10_000, 4), false),
        (window(10_000, 10), "xxx", last(10, 4), false),
        (last(10, 10), "xx", Trip::InARow, true),
        (Trip::InARow, "xx", last(10, 3), false),
        (Trip::Events, "xx", Trip::InARow, true),
        (Trip::InARow, "xx", Trip::Events, true),
    ] {
        let mut world = World::new(before);
        assert_eq!(world.runs(outcomes), outcomes.len());
        world.circuit.reconfigure(config(after));
        world.run(FAILED);
        let opened = world.phase() == Phase::Open;
        assert_eq!(opened, opened_by_the_next_failure, "{before:?} {outcomes} {after:?}");
    }
}

#[test]
fn other_limits_keep_an_open_circuit_open_and_its_probes_out() {
    let mut world = World::new(LAST_TEN);
    world.open();
    world.circuit.reconfigure(config(TEN_SECONDS));
    assert_eq!(world.phase(), Phase::Open);
    world.now = 60_000;
    let probe = world.start().expect("a probe");
    world.circuit.reconfigure(config(Trip::InARow));
    assert_eq!(world.start(), None);
    assert_eq!(world.end(probe, OK), CLOSED);
}

// ---- Against a model ----------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Op {
    Start,
    /// One of all that ever were ends; a permit ends once.
    End {
        which: Index,
        verdict: Verdict,
    },
    Pass(u64),
    Reset,
    Isolate,
}

enum State {
    Closed,
    Open {
        until: u64,
    },
    /// The probes, and when they give their place back.
    HalfOpen {
        probes: BTreeMap<u64, u64>,
        successes: u32,
    },
    Isolated,
}

/// Remembers everything and looks through all of it each time.
struct Model {
    config: CircuitConfig,
    state: State,
    /// How often the state was changed; a permit belongs to the count at which it was issued.
    generation: u32,
    /// Every outcome of this generation: when it came, and whether it was a failure.
    history: Vec<(u64, bool)>,
}

impl Model {
    fn phase(&self, now: u64) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { until } if now < until => Phase::Open,
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
            State::Isolated => Phase::Isolated,
        }
    }

    fn may_start(&self, now: u64) -> bool {
        match &self.state {
            State::Closed => true,
            State::Open { until } => *until <= now,
            State::HalfOpen { probes, .. } => {
                probes.values().filter(|end| **end > now).count() < self.config.probes as usize
            }
            State::Isolated => false,
        }
    }

    fn start(&mut self, now: u64, number: u64) {
        if matches!(self.state, State::Open { .. }) {
            self.enter(State::HalfOpen { probes: BTreeMap::new(), successes: 0 });
        }
        if let State::HalfOpen { probes, .. } = &mut self.state {
            probes.insert(number, now + self.config.probe_timeout.as_ms());
        }
    }

    fn end(&mut self, now: u64, number: u64, generation: u32, verdict: Verdict) {
        if generation != self.generation {
            return;
        }
        let failed = match verdict {
            Verdict::Throttled { scope: Scope::Service, .. } => Some(true),
            Verdict::Success | Verdict::Permanent | Verdict::Transient { answered: true } => Some(false),
            _ => None,
        };
        match &mut self.state {
            State::Closed => {
                if let Some(failed) = failed {
                    self.history.push((now, failed));
                    if self.trips(now) {
                        self.open(now);
                    }
                }
            }
            State::HalfOpen { probes, successes } => {
                if probes.remove(&number).is_none_or(|end| end <= now) {
                    return;
                }
                match failed {
                    Some(true) => self.open(now),
                    Some(false) => {
                        *successes += 1;
                        if *successes >= self.config.probes {
                            self.enter(State::Closed);
                        }
                    }
                    None => {}
                }
            }
            State::Open { .. } | State::Isolated => {}
        }
    }

    fn trips(&self, now: u64) -> bool {
        let share = |outcomes: &[bool], ratio: f64, minimum: u32| {
            let failures = outcomes.iter().filter(|failed| **failed).count();
            outcomes.len() >= minimum as usize && failures as f64 / outcomes.len() as f64 >= ratio
        };
        match self.config.trip {
            Trip::Events => unreachable!("has properties of its own in tests/properties.rs"),
            Trip::InARow => {
                let row = self.history.iter().rev().take_while(|(_, failed)| *failed).count();
                row > 0 && row >= self.config.threshold as usize
            }
            Trip::LastCalls { ratio, calls, minimum } => {
                let first = self.history.len().saturating_sub(calls as usize);
                let last: Vec<bool> = self.history[first..].iter().map(|(_, failed)| *failed).collect();
                share(&last, ratio, minimum.max(2).min(calls))
            }
            Trip::Window { ratio, length, minimum } => {
                let slice = length.as_ms() / 10;
                let recent: Vec<bool> = self
                    .history
                    .iter()
                    .filter(|(time, _)| now / slice - time / slice < 10)
                    .map(|(_, failed)| *failed)
                    .collect();
                share(&recent, ratio, minimum.max(2))
            }
        }
    }

    fn open(&mut self, now: u64) {
        self.enter(State::Open { until: now + self.config.reset.as_ms() });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.history.clear();
    }
}

fn trips() -> impl Strategy<Value = Trip> {
    let ratio = || prop_oneof![Just(0.5), Just(1.0), 0.05..1.0_f64];
    prop_oneof![
        1 => Just(Trip::InARow),
        2 => (ratio(), 1..20_u32, 0..12_u32)
            .prop_map(|(ratio, calls, minimum)| Trip::LastCalls { ratio, calls, minimum }),
        2 => (ratio(), 10..5_000_u64, 0..12_u32)
            .prop_map(|(ratio, length, minimum)| Trip::Window { ratio, length: ms(length), minimum }),
    ]
}

fn circuits() -> impl Strategy<Value = CircuitConfig> {
    (trips(), 1..5_u32, 0..3_000_u64, 1..4_u32, 1..2_000_u64).prop_map(
        |(trip, threshold, reset, probes, probe_timeout)| CircuitConfig {
            trip,
            threshold,
            reset: ms(reset),
            max_reset: ms(reset),
            probes,
            probe_timeout: ms(probe_timeout),
        },
    )
}

fn traffic() -> impl Strategy<Value = Vec<Op>> {
    let verdicts = prop_oneof![
        5 => Just(OK),
        4 => Just(FAILED),
        1 => Just(refused_for(1_000_000)),
        1 => Just(Verdict::Permanent),
        1 => Just(UNWELL),
        1 => Just(LOST),
        1 => Just(REFUSED_ALONE),
        1 => Just(Verdict::Ignored),
    ];
    let op = prop_oneof![
        40 => Just(Op::Start),
        40 => (any::<Index>(), verdicts).prop_map(|(which, verdict)| Op::End { which, verdict }),
        15 => prop_oneof![0..30_u64, 0..1_000_u64, 0..6_000_u64].prop_map(Op::Pass),
        1 => Just(Op::Reset),
        1 => Just(Op::Isolate),
    ];
    prop::collection::vec(op, 1..300)
}

fn runs(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(runs(1_024))]

    #[test]
    fn it_behaves_as_if_it_remembered_everything(config in circuits(), ops in traffic()) {
        let mut world = World::with(config);
        let mut model = Model { config, state: State::Closed, generation: 0, history: Vec::new() };
        let mut under_way: Vec<(u64, u32)> = Vec::new();
        let mut started: BTreeSet<u64> = BTreeSet::new();
        for op in ops {
            let now = world.now;
            match op {
                Op::Start => {
                    let may = model.may_start(now);
                    let number = world.start();
                    prop_assert_eq!(number.is_some(), may);
                    if let Some(number) = number {
                        model.start(now, number);
                        under_way.push((number, model.generation));
                        prop_assert!(started.insert(number));
                    }
                }
                Op::End { which, verdict } if !under_way.is_empty() => {
                    let (number, generation) = under_way.swap_remove(which.index(under_way.len()));
                    let before = model.generation;
                    let told = world.end(number, verdict);
                    model.end(now, number, generation, verdict);
                    prop_assert_eq!(told.is_some(), model.generation != before, "told of each change and of no other");
                }
                Op::End { .. } => {}
                Op::Pass(ms) => world.now += ms,
                Op::Reset => {
                    world.circuit.reset(world.issued);
                    model.enter(State::Closed);
                }
                Op::Isolate => {
                    world.circuit.isolate(world.issued);
                    model.enter(State::Isolated);
                }
            }
            prop_assert_eq!(world.phase(), model.phase(world.now));
            if let State::HalfOpen { probes, .. } = &model.state {
                let out = probes.values().filter(|end| **end > world.now).count();
                prop_assert!(out <= config.probes as usize, "{} probes out", out);
            }
        }
    }
}
