//! The pacer in virtual time: tables of what it answers, promises about whole imports against model servers, and
//! properties over whatever a network may do.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

#[path = "support/pacing/mod.rs"]
mod pacing;

use pacing::clients::{Aimd, Even, Paced, Retrying};
use pacing::network::{Headers, Report, Trial, run};
use pacing::server::{Limit, Rule};
use proptest::prelude::*;
use tidegate::pacer::{Advertised, Decision, Hold, Known, Outcome, Pacer, PacerConfig, Permit, State};
use tidegate::random::Random;
use tidegate::time::{Instant, Span};

const BUCKET: Rule = Rule::Bucket { seconds: 1.0 };
const FIXED: Rule = Rule::Fixed { window: 1.0 };
const SLIDING: Rule = Rule::Sliding { window: 1.0, refusals: false };

fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

fn cold() -> Pacer {
    Pacer::new(PacerConfig::default(), 1)
}

fn known(rate: f64) -> Known {
    Known { rate, cap: None, bans: false, cost: 0.0 }
}

/// A pacer, and a server that answers at once.
struct World {
    pacer: Pacer,
    now: u64,
}

impl World {
    fn new(config: PacerConfig) -> Self {
        Self { pacer: Pacer::new(config, 1), now: 0 }
    }

    /// Waits for leave, for at most ten minutes, and sends.
    fn send(&mut self) -> Permit {
        let patience = self.now + 600_000;
        while let Decision::Wait { until, reason } = self.pacer.check(at(self.now)) {
            let until = until.unwrap_or_else(|| panic!("{reason:?} without an end, at {}", self.now)).ticks();
            assert!(until > self.now && until < patience, "{reason:?} from {} until {until}", self.now);
            self.now = until;
        }
        self.pacer.take(at(self.now), 1)
    }

    fn answer(&mut self, permit: Permit, outcome: Outcome) {
        self.pacer.record(at(self.now), permit, outcome, ms(100), None);
    }

    fn run(&mut self, outcome: Outcome) {
        let permit = self.send();
        self.answer(permit, outcome);
    }

    /// Sends what may go now, and says when to ask again.
    fn send_all(&mut self) -> (Vec<Permit>, u64) {
        let mut out = Vec::new();
        loop {
            match self.pacer.check(at(self.now)) {
                Decision::Proceed => out.push(self.pacer.take(at(self.now), 1)),
                Decision::Wait { until, reason } => {
                    let until = until.unwrap_or_else(|| panic!("{reason:?} without an end"));
                    return (out, until.ticks());
                }
            }
        }
    }

    fn answer_all(&mut self, out: Vec<Permit>) {
        for permit in out {
            self.answer(permit, Outcome::Accepted);
        }
    }

    /// Leaves the start behind: at about that rate.
    fn at_rate(rate: f64) -> Self {
        Self::new(PacerConfig { known: Some(known(rate)), ..PacerConfig::default() })
    }
}

const REFUSED: Outcome = Outcome::Throttled { hint: None };

#[test]
fn the_first_request_goes_at_once_and_the_second_a_tenth_of_a_second_later() {
    // The second origin is that of `Date.now()`.
    for origin in [5_000, 1_750_000_000_000] {
        let mut pacer = cold();
        assert_eq!(pacer.check(at(origin)), Decision::Proceed);
        let _out = pacer.take(at(origin), 1);
        let later = Some(at(origin + 100));
        assert_eq!(pacer.check(at(origin)), Decision::Wait { until: later, reason: Hold::Pace });
        assert_eq!(pacer.poll_timeout(), later);
        assert_eq!(pacer.check(at(origin + 100)), Decision::Proceed);
    }
}

#[test]
fn asking_twice_at_the_same_time_gives_the_same_answer() {
    let mut world = World::at_rate(50.0);
    for _ in 0..200 {
        let once = world.pacer.check(at(world.now));
        assert_eq!(world.pacer.check(at(world.now)), once);
        world.run(Outcome::Accepted);
    }
}

#[test]
fn a_refusal_holds_everybody_and_says_so() {
    let mut world = World::at_rate(20.0);
    let (one, other) = (world.send(), world.send());
    world.answer(one, REFUSED);
    let Decision::Wait { until: Some(until), reason: Hold::Cooldown } = world.pacer.check(at(world.now))
    else {
        panic!("held")
    };
    assert!(until > at(world.now));
    let snapshot = world.pacer.snapshot();
    assert_eq!((snapshot.hold, snapshot.until), (Some(Hold::Cooldown), Some(until)));
    // Sent before: the same event. It does not slow down further.
    let rate = snapshot.rate;
    world.answer(other, REFUSED);
    assert!((world.pacer.snapshot().rate - rate).abs() < f64::EPSILON);
}

#[test]
fn a_hint_is_obeyed_to_the_millisecond_and_up_to_ten_minutes() {
    for (hint, least, most) in
        [(1_000, 1_000, 1_030), (30_000, 30_000, 30_610), (86_400_000, 600_000, 612_010)]
    {
        let mut world = World::at_rate(20.0);
        let permit = world.send();
        let refused = world.now;
        world.answer(permit, Outcome::Throttled { hint: Some(ms(hint)) });
        let Decision::Wait { until: Some(until), .. } = world.pacer.check(at(refused)) else {
            panic!("held")
        };
        let waits = until.ticks() - refused;
        assert!((least..=most).contains(&waits), "{hint}: {waits}");
        assert_ne!(world.pacer.check(at(refused + least - 1)), Decision::Proceed);
    }
}

#[test]
fn a_shut_door_is_asked_by_one_request_at_a_time_ever_more_rarely() {
    let mut world = World::at_rate(50.0);
    for _ in 0..50 {
        world.run(Outcome::Accepted);
    }
    world.run(REFUSED);
    world.run(REFUSED);
    assert_eq!(world.pacer.snapshot().state, State::Shut);
    let shut = world.now;
    let mut asked = 0;
    while world.now < shut + 60_000 {
        let permit = world.send();
        assert_eq!(
            world.pacer.check(at(world.now)),
            Decision::Wait { until: None, reason: Hold::Cooldown },
            "one is out"
        );
        world.answer(permit, REFUSED);
        asked += 1;
    }
    assert!((15..40).contains(&asked), "{asked} within a minute");
    world.run(Outcome::Accepted);
    assert_ne!(world.pacer.snapshot().state, State::Shut);
}

#[test]
fn a_ceiling_is_never_exceeded() {
    for max in [0.5, 3.0, 60.0] {
        let mut world = World::new(PacerConfig { max_rate: Some(max), ..PacerConfig::default() });
        let mut times = Vec::new();
        for _ in 0..400 {
            world.run(Outcome::Accepted);
            times.push(world.now);
        }
        let measured = 300.0 / (times[399] - times[99]) as f64 * 1e3;
        assert!(measured <= max * 1.01 && measured > 0.9 * max, "{max}: {measured}");
    }
}

#[test]
fn rates_above_one_request_per_millisecond_are_kept() {
    let mut world = World::new(PacerConfig {
        max_in_flight: 1_000,
        known: Some(known(3_000.0)),
        max_rate: Some(2_500.0),
    });
    for _ in 0..5_000 {
        world.run(Outcome::Accepted);
    }
    let measured = 5_000.0 / world.now as f64 * 1e3;
    assert!((2_300.0..2_600.0).contains(&measured), "{measured}");
}

#[test]
fn in_flight_is_bounded_by_what_the_rate_needs() {
    let mut world = World::at_rate(50.0);
    let mut out = Vec::new();
    loop {
        match world.pacer.check(at(world.now)) {
            Decision::Proceed => out.push(world.pacer.take(at(world.now), 1)),
            Decision::Wait { until: Some(until), .. } => world.now = until.ticks(),
            Decision::Wait { until: None, reason } => {
                assert_eq!(reason, Hold::InFlight);
                break;
            }
        }
    }
    assert!((5..20).contains(&out.len()), "{}", out.len());
    assert_eq!(world.pacer.snapshot().in_flight, out.len() as u32);
}

#[test]
fn a_policy_is_gone_by_at_once() {
    let mut pacer = cold();
    let permit = pacer.take(at(0), 1);
    let policy = Advertised { quota: 600, window: ms(60_000), remaining: 599, reset: ms(60_000) };
    pacer.record(at(100), permit, Outcome::Accepted, ms(100), Some(policy));
    let snapshot = pacer.snapshot();
    assert_eq!(snapshot.state, State::Following);
    assert!((9.5..10.0).contains(&snapshot.rate), "{}", snapshot.rate);

    let permit = pacer.take(at(200), 1);
    let lower = Advertised { quota: 60, remaining: 59, ..policy };
    pacer.record(at(300), permit, Outcome::Accepted, ms(100), Some(lower));
    assert!((0.9..1.0).contains(&pacer.snapshot().rate));
}

#[test]
fn what_was_learned_starts_the_next_import() {
    let trial = Trial::new(BUCKET, 50.0, 3_000);
    let mut world = World::at_rate(50.0);
    for _ in 0..80 {
        world.run(Outcome::Accepted);
    }
    world.run(REFUSED);
    let learned = world.pacer.learned().expect("the limit was met");
    assert!((40.0..60.0).contains(&learned.rate), "{learned:?}");
    assert_eq!(cold().learned(), None);

    let warm = run(&trial, &|seed| {
        Paced::boxed(PacerConfig { known: Some(known(50.0)), ..PacerConfig::default() }, seed)
    });
    let first = run(&trial, &Paced::cold);
    assert!(warm.refused < first.refused, "{} and {}", warm.refused, first.refused);
    assert!(warm.ratio < 1.03, "{}", warm.ratio);
}

#[test]
fn what_was_learned_in_a_storm_is_soon_put_to_the_test() {
    let mut world = World::at_rate(2.0);
    let began = world.now;
    let mut accepted = 0;
    while world.now < began + 15_000 {
        world.run(Outcome::Accepted);
        accepted += 1;
    }
    assert!(accepted > 150, "{accepted} in 15 s, where 30 is what was learned");
}

#[test]
fn knowledge_that_is_nonsense_is_ignored() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut pacer = Pacer::new(PacerConfig { known: Some(known(rate)), ..PacerConfig::default() }, 1);
        assert_eq!(pacer.check(at(0)), Decision::Proceed);
        assert_eq!(pacer.snapshot().state, State::Starting, "{rate}");
    }
    let nothing = PacerConfig { max_rate: Some(f64::NAN), max_in_flight: 0, known: None };
    assert_eq!(Pacer::new(nothing, 1).check(at(0)), Decision::Proceed);
}

#[test]
fn an_outage_is_asked_twice_a_minute_and_no_storm() {
    let mut world = World::at_rate(50.0);
    let mut sent = 0;
    while world.now < 600_000 {
        world.run(Outcome::Lost);
        sent += 1;
    }
    assert!(sent < 60, "{sent} within ten minutes");
    world.run(Outcome::Accepted);
    let back = world.now;
    for _ in 0..100 {
        world.run(Outcome::Accepted);
    }
    assert!(world.now - back < 5_000, "slow after the outage: {}", world.now - back);
}

#[test]
fn after_a_sleep_it_goes_on_at_once_and_gently() {
    let mut world = World::at_rate(50.0);
    for _ in 0..300 {
        world.run(Outcome::Accepted);
    }
    let before = world.pacer.snapshot().rate;
    world.now += 8 * 3_600_000;
    let woke = world.now;
    let mut within = 0;
    while world.now < woke + 1_000 {
        world.run(Outcome::Accepted);
        within += 1;
    }
    assert!((10..45).contains(&within), "{within} in the first second, at {before} before");
    while world.now < woke + 10_000 {
        world.run(Outcome::Accepted);
    }
    assert!(world.pacer.snapshot().rate > 0.9 * before);
}

/// Where timers come too late to keep a pace by, an answer lets the next request go: those that answers let go before
/// have not shown that timers are any better.
#[test]
fn answers_say_nothing_of_how_late_timers_are() {
    let mut world = World::at_rate(10.0);
    let (out, until) = world.send_all();
    world.answer_all(out);
    world.now = until + 2_020;
    let (out, until) = world.send_all();
    world.now = until;
    world.answer_all(out);
    let (out, _) = world.send_all();
    world.now += 10;
    world.answer_all(out);
    assert_eq!(world.pacer.check(at(world.now)), Decision::Proceed);
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut world = World::at_rate(50.0);
    for _ in 0..100 {
        world.run(Outcome::Accepted);
    }
    let until = world.now;
    assert!(matches!(world.pacer.check(at(1)), Decision::Proceed | Decision::Wait { .. }));
    world.now = until;
    world.run(Outcome::Accepted);
    assert!(world.now < until + 100);
}

#[test]
fn rows_per_request_are_told_and_do_not_change_the_pace() {
    let config = PacerConfig { max_rate: Some(10.0), known: Some(known(10.0)), ..PacerConfig::default() };
    let mut pacer = Pacer::new(config, 1);
    let mut now = 0;
    for _ in 0..100 {
        while let Decision::Wait { until, .. } = pacer.check(at(now)) {
            now = until.expect("a time").ticks();
        }
        let permit = pacer.take(at(now), 100);
        pacer.record(at(now), permit, Outcome::Accepted, ms(50), None);
    }
    let snapshot = pacer.snapshot();
    assert!((snapshot.rows_per_second / snapshot.rate - 100.0).abs() < 1.0);
    assert!(snapshot.rate <= 10.0);
}

fn mean(trial: &Trial, value: fn(&Report) -> f64) -> f64 {
    let reports = (1..=5).map(|seed| run(&Trial { seed, ..trial.clone() }, &Paced::cold));
    reports.map(|report| value(&report)).sum::<f64>() / 5.0
}

/// The promises, with room for the difference that five seeds make. `benches/pacing.rs` prints the whole table.
#[test]
fn imports_take_about_as_long_as_the_limit_asks() {
    for (rule, headers, rate, rows, ratio, refusals) in [
        (BUCKET, Headers::None, 10.0, 2_000, 1.02, 0.02),
        (BUCKET, Headers::None, 50.0, 10_000, 1.02, 0.012),
        (BUCKET, Headers::Policy, 50.0, 2_000, 1.03, 0.001),
        (Rule::Burst { requests: 5.0 }, Headers::None, 50.0, 10_000, 1.03, 0.01),
        (Rule::Burst { requests: 5.0 }, Headers::Policy, 10.0, 2_000, 1.03, 0.001),
        (FIXED, Headers::None, 50.0, 10_000, 1.04, 0.012),
        (FIXED, Headers::Policy, 50.0, 2_000, 1.10, 0.003),
        (SLIDING, Headers::None, 10.0, 2_000, 1.10, 0.03),
        (SLIDING, Headers::Policy, 50.0, 2_000, 1.12, 0.003),
        (Rule::Fixed { window: 10.0 }, Headers::None, 50.0, 10_000, 1.04, 0.015),
        (Rule::Sliding { window: 10.0, refusals: true }, Headers::None, 10.0, 10_000, 1.30, 0.03),
        (Rule::Concurrent, Headers::None, 50.0, 10_000, 1.04, 0.005),
    ] {
        let trial = Trial { headers, ..Trial::new(rule, rate, rows) };
        let (took, refused) = (mean(&trial, |report| report.ratio), mean(&trial, |report| report.refusals));
        assert!(took <= ratio, "{rule:?} {headers:?} at {rate}: {took:.3}");
        assert!(refused <= refusals, "{rule:?} {headers:?} at {rate}: {:.2} %", 100.0 * refused);
    }
}

/// A refusal without CORS headers looks to a page as if the connection had been lost.
#[test]
fn refusals_that_nobody_can_see_are_found_out() {
    let block = Rule::Block { window: 10.0, shut_out: 10.0, restarts: false };
    for (rule, rate, ratio, refusals) in [
        (block, 10.0, 1.35, 0.08),
        (block, 50.0, 1.35, 0.08),
        (BUCKET, 10.0, 1.03, 0.04),
        (BUCKET, 50.0, 1.03, 0.04),
        (FIXED, 10.0, 1.06, 0.04),
        (SLIDING, 50.0, 1.15, 0.03),
    ] {
        let trial = Trial { headers: Headers::Hidden, ..Trial::new(rule, rate, 2_000) };
        let (took, refused) = (mean(&trial, |report| report.ratio), mean(&trial, |report| report.refusals));
        assert!(took <= ratio, "{rule:?} at {rate}: {took:.3}");
        assert!(refused <= refusals, "{rule:?} at {rate}: {:.2} %", 100.0 * refused);
    }
}

#[test]
fn where_refusals_can_be_seen_lost_answers_are_none() {
    for rule in [BUCKET, FIXED, SLIDING] {
        let clean = Trial::new(rule, 50.0, 2_000);
        let lossy = Trial { lost: 0.02, dropped: 0.02, ..clean.clone() };
        let (lossy, clean) = (mean(&lossy, |report| report.ratio), mean(&clean, |report| report.ratio));
        assert!(lossy < 1.05 * clean, "{rule:?}: {lossy:.3} instead of {clean:.3}");
    }
}

#[test]
fn a_limit_that_was_used_up_before_is_no_slow_one() {
    let mut world = World::new(PacerConfig::default());
    world.run(Outcome::Throttled { hint: Some(ms(3_000)) });
    let open = world.now + 3_000;
    while world.now < open {
        world.run(Outcome::Throttled { hint: None });
    }
    for _ in 0..100 {
        world.run(Outcome::Accepted);
    }
    assert!(world.now < open + 8_000, "{} ms for a hundred", world.now - open);
}

#[test]
fn an_outage_in_the_middle_teaches_nothing() {
    let mut world = World::at_rate(50.0);
    for _ in 0..500 {
        world.run(Outcome::Accepted);
    }
    let before = world.pacer.snapshot().rate;
    let down = world.now;
    while world.now < down + 60_000 {
        world.run(Outcome::Lost);
    }
    let back = world.now;
    while world.now < back + 10_000 {
        world.run(Outcome::Accepted);
    }
    let after = world.pacer.snapshot().rate;
    assert!(after > 0.8 * before, "{after:.1} a second, {before:.1} before");
}

/// Three lost of six are taken for refusals that nobody can see, but not where one was seen: what a wall teaches stays.
#[test]
fn answers_lost_by_chance_do_not_make_a_wall_forgotten() {
    let after_a_wall = |chance: Outcome| {
        let mut world = World::at_rate(50.0);
        for _ in 0..300 {
            world.run(Outcome::Accepted);
        }
        world.run(REFUSED);
        for _ in 0..100 {
            world.run(Outcome::Accepted);
        }
        for _ in 0..3 {
            world.run(chance);
            world.run(Outcome::Accepted);
        }
        let shut = world.now;
        while world.now < shut + 10_000 {
            world.run(REFUSED);
        }
        for _ in 0..50 {
            world.run(Outcome::Accepted);
        }
        world.pacer.snapshot().rate
    };
    let (lossy, clean) = (after_a_wall(Outcome::Lost), after_a_wall(Outcome::Accepted));
    assert!((lossy / clean - 1.0).abs() < 0.2, "{lossy:.1} a second, without losses {clean:.1}");
}

#[test]
fn a_changed_limit_is_noticed_both_ways() {
    let limit = Limit(vec![(0.0, 50.0), (40.0, 10.0), (100.0, 50.0)]);
    let trial = Trial { limit, ..Trial::new(BUCKET, 50.0, 6_000) };
    let report = run(&trial, &Paced::cold);
    assert!(report.finished);
    assert!(report.rate(45.0, 100.0) > 9.0, "{}", report.rate(45.0, 100.0));
    assert!(report.rate(125.0, 145.0) > 40.0, "{}", report.rate(125.0, 145.0));
    assert!(report.refusals < 0.03, "{}", report.refusals);
}

#[test]
fn three_that_know_nothing_of_each_other_share() {
    let trial = Trial { starts: vec![0.0, 5.0, 10.0], ..Trial::new(BUCKET, 50.0, 3_000) };
    assert!(mean(&trial, |report| report.jain) > 0.9);
    assert!(mean(&trial, |report| report.refusals) < 0.022);
}

/// The simulator is trusted because clients whose figures are known from another one come out the same here: an even
/// pace at 0.97 of a known limit, and Netflix' AIMD.
#[test]
fn the_simulator_agrees_with_another_one() {
    for (rule, ratio, refusals) in [(BUCKET, 1.033, 0.0), (FIXED, 1.033, 0.0), (SLIDING, 1.045, 0.011)] {
        let report = run(&Trial::new(rule, 50.0, 2_000), &|_| Even::at(48.5));
        assert!((report.ratio - ratio).abs() < 0.005, "{rule:?}: {}", report.ratio);
        assert!((report.refusals - refusals).abs() < 0.003, "{rule:?}: {}", report.refusals);
    }
    for (rule, ratio, refusals) in [(BUCKET, 0.978, 0.81), (FIXED, 0.985, 0.90), (SLIDING, 1.066, 0.89)] {
        let report = run(&Trial::new(rule, 50.0, 2_000), &Aimd::netflix);
        assert!((report.ratio - ratio).abs() < 0.02, "{rule:?}: {}", report.ratio);
        assert!((report.refusals - refusals).abs() < 0.03, "{rule:?}: {}", report.refusals);
    }
    let report = run(&Trial::new(FIXED, 50.0, 2_000), &Retrying::five);
    assert!((report.ratio - 1.138).abs() < 0.04, "{}", report.ratio);
}

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (0.2..12.0).prop_map(|seconds| Rule::Bucket { seconds }),
        (1.0..20.0).prop_map(|requests| Rule::Burst { requests }),
        (1.0..30.0).prop_map(|window| Rule::Fixed { window }),
        ((1.0..12.0), any::<bool>()).prop_map(|(window, refusals)| Rule::Sliding { window, refusals }),
        Just(Rule::Concurrent),
        (2.0..20.0).prop_map(|shut_out| Rule::Block { window: 10.0, shut_out, restarts: false }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the server, the latency and the faults: every row arrives, and the server is never flooded.
    #[test]
    fn every_row_arrives_and_nobody_is_flooded(
        rule in rules(),
        rate in 3.0..200.0_f64,
        low in 5.0..300.0_f64,
        spread in 1.0..2.5_f64,
        faults in 0.0..0.02_f64,
        headers in prop_oneof![Just(Headers::None), Just(Headers::RetryAfter), Just(Headers::Policy)],
        seed in any::<u32>(),
    ) {
        // A bucket that never holds a whole token lets nobody through.
        let rule = match rule {
            Rule::Bucket { seconds } => Rule::Bucket { seconds: seconds.max(1.01 / rate) },
            other => other,
        };
        let trial = Trial {
            headers,
            latency: (low, low * spread),
            dropped: faults,
            lost: faults,
            seed: seed.into(),
            ..Trial::new(rule, rate, 400)
        };
        let report = run(&trial, &Paced::cold);
        prop_assert!(report.finished, "{report:?}");
        prop_assert_eq!(report.missing, 0);
        prop_assert!(report.max_in_flight <= 100);
        // What is in flight when the door shuts, and what takes the places of answers that were on their way back by then.
        prop_assert!(report.storm <= 200, "{} refusals in a second", report.storm);
    }

    /// Whatever outcomes come, in whatever order, at whatever times, with whatever headers: rates stay numbers, waits end,
    /// and who only has to wait for a time is let go then.
    #[test]
    fn any_sequence_leaves_it_sane(seed in any::<u64>(), steps in 1..400_usize) {
        let mut random = Random::seeded(seed);
        let mut pacer = Pacer::new(PacerConfig::default(), seed);
        let mut out: Vec<(u64, Permit)> = Vec::new();
        let mut now = 0_u64;
        for _ in 0..steps {
            match pacer.check(at(now)) {
                Decision::Proceed => out.push((now, pacer.take(at(now), 1))),
                Decision::Wait { until, .. } => {
                    prop_assert!(until.is_some() || !out.is_empty(), "nothing would ever wake it");
                    if let Some(until) = until {
                        prop_assert!(until.ticks() > now && until.ticks() - now <= 620_000, "{}", until.ticks() - now);
                    }
                    if out.is_empty() || random.draw() < 0.5 {
                        now = until.map_or(now + 10, Instant::ticks);
                    }
                }
            }
            if !out.is_empty() && random.draw() < 0.6 {
                now += (random.draw() * 200.0) as u64;
                let index = (random.draw() * out.len() as f64) as usize;
                let (sent, permit) = out.swap_remove(index);
                let advertised = (random.draw() < 0.3).then(|| Advertised {
                    quota: (random.draw() * 100.0) as u32,
                    window: ms((random.draw() * 10_000.0) as u64),
                    remaining: (random.draw() * 100.0) as u32,
                    reset: ms((random.draw() * 60_000.0) as u64),
                });
                let outcome = match (random.draw() * 5.0) as u32 {
                    0 => Outcome::Throttled { hint: Some(ms((random.draw() * 60_000.0) as u64)) },
                    1 => REFUSED,
                    2 => Outcome::Lost,
                    3 => Outcome::Other,
                    _ => Outcome::Accepted,
                };
                pacer.record(at(now), permit, outcome, ms(now - sent), advertised);
            }
            let rate = pacer.snapshot().rate;
            prop_assert!(rate.is_finite() && rate > 0.0, "{rate}");
        }
    }
}
