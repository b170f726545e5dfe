//! Quotas in virtual time: tables of what each rule means, and properties against a list of every single take. A seed
//! that once broke one is kept in `quota.proptest-regressions` and tried first.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use tidegate::decision::{Decision, Reason};
use tidegate::quota::{Dump, Kept, Policy, Quota, Warning, Window};
use tidegate::time::{Instant, Span};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 86_400_000;

fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

const fn ms(ms: u64) -> Span {
    Span::from_ms(ms)
}

const fn window(limit: u32, length: u64) -> Window {
    Window { limit, length: ms(length) }
}

fn windows(windows: &[Window]) -> Policy {
    Policy { windows: windows.to_vec(), ..Policy::default() }
}

fn wait(until: u64) -> Decision {
    Decision::Wait { until: Some(at(until)), reason: Reason::Quota }
}

const NEVER: Decision = Decision::Reject { reason: Reason::Quota, retry_after: None };

/// A key and how it counts.
struct World {
    policy: Policy,
    quota: Quota,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self { policy, quota: Quota::default() }
    }

    fn of(list: &[Window]) -> Self {
        Self::new(windows(list))
    }

    fn check(&self, now: u64, weight: u32) -> Decision {
        self.quota.check(at(now), &self.policy, weight, None)
    }

    fn check_with(&self, now: u64, weight: u32, other: Window) -> Decision {
        self.quota.check(at(now), &self.policy, weight, Some(other))
    }

    /// Takes what may be taken, and tells what check said.
    fn ask(&mut self, now: u64, weight: u32) -> Decision {
        let decision = self.check(now, weight);
        if decision == Decision::Proceed {
            self.quota.take(at(now), &self.policy, weight);
        }
        decision
    }

    /// How many single units may be taken at once, at most 10,000.
    fn ask_all(&mut self, now: u64) -> usize {
        (0..10_000).take_while(|_| self.ask(now, 1) == Decision::Proceed).count()
    }

    /// The times of starts that always come when they were told to, until then.
    fn starts(&mut self, from: u64, to: u64) -> Vec<u64> {
        let (mut now, mut starts) = (from, Vec::new());
        while now < to {
            match self.ask(now, 1) {
                Decision::Proceed => starts.push(now),
                Decision::Wait { until: Some(until), .. } => now = until.ticks(),
                other => panic!("{other:?}"),
            }
        }
        starts
    }

    fn give_back(&mut self, taken: u64, weight: u32) {
        self.quota.give_back(&self.policy, at(taken), weight);
    }

    fn used(&self, now: u64) -> Vec<u32> {
        (0..self.policy.windows.len()).map(|index| self.quota.used(at(now), index, &self.policy)).collect()
    }

    fn reshape(&mut self, policy: Policy) {
        self.quota.reshape(&self.policy, &policy);
        self.policy = policy;
    }

    fn dump(&self, now: u64) -> Dump {
        self.quota.dump(at(now), &self.policy)
    }

    /// The same key in a core whose clock shows `then` instead of `now`.
    fn reload(&mut self, now: u64, then: u64) {
        let dump = self.dump(now);
        self.quota = Quota::default();
        self.load(then, &dump);
    }

    fn load(&mut self, now: u64, dump: &Dump) {
        self.quota.load_interval(at(now), dump.rest);
        for Kept { length, age, count } in &dump.entries {
            self.quota.load(at(now), &self.policy, *length, *age, *count);
        }
    }
}

// ---- Windows -------------------------------------------------------------------------------------------------------

#[test]
fn so_many_in_a_window_and_the_next_when_the_first_is_as_old_as_the_window() {
    let mut world = World::of(&[window(3, 1_000)]);
    for (now, weight, expected) in [
        (0, 1, Decision::Proceed),
        (100, 1, Decision::Proceed),
        (200, 1, Decision::Proceed),
        (200, 1, wait(1_000)),
        (999, 1, wait(1_000)),
        (1_000, 1, Decision::Proceed),
        (1_000, 1, wait(1_100)),
        (1_000, 2, wait(1_200)),
        (1_000, 3, wait(2_000)),
        (1_000, 4, NEVER),
        (1_000, 0, Decision::Proceed),
        (1_200, 2, Decision::Proceed),
        (1_200, 1, wait(2_000)),
    ] {
        assert_eq!(world.ask(now, weight), expected, "{weight} at {now}");
    }
}

#[test]
fn one_per_second_is_exact() {
    let mut world = World::of(&[window(1, 1_000)]);
    let starts = world.starts(123_457, 133_457);
    assert_eq!(starts, (0..10).map(|number| 123_457 + number * 1_000).collect::<Vec<_>>());
}

#[test]
fn what_is_taken_in_one_slice_comes_back_with_the_last_of_it() {
    // Slices of 15 ms. What is cut into them is the time when it counts no longer: 2010 begins one.
    let mut world = World::of(&[window(3, 1_000)]);
    for now in [1_005, 1_009, 1_012] {
        assert_eq!(world.ask(now, 1), Decision::Proceed);
    }
    assert_eq!(world.check(1_012, 1), wait(2_009));
    assert_eq!(world.check(1_012, 3), wait(2_012));
    assert_eq!([2_008, 2_009, 2_011, 2_012].map(|now| world.used(now)[0]), [3, 1, 1, 0]);
}

#[test]
fn all_windows_hold_at_once_and_the_one_that_waits_longest_is_named() {
    let (minute, hour) = (window(60, MINUTE), window(100, HOUR));
    let mut world = World::of(&[minute, hour]);
    let blocked_by = |world: &World, now, weight| world.quota.obstacle(at(now), &world.policy, weight, None);
    assert_eq!(world.ask_all(0), 60);
    assert_eq!((world.check(0, 1), blocked_by(&world, 0, 1)), (wait(MINUTE), Some(minute)));
    assert_eq!((world.check(0, 41), blocked_by(&world, 0, 41)), (wait(HOUR), Some(hour)));
    assert_eq!((world.check(0, 61), blocked_by(&world, 0, 61)), (NEVER, Some(minute)));
    assert_eq!(world.ask_all(MINUTE), 40);
    assert_eq!((world.check(MINUTE, 1), blocked_by(&world, MINUTE, 1)), (wait(HOUR), Some(hour)));
    assert_eq!(blocked_by(&world, HOUR, 1), None);
    assert_eq!(blocked_by(&world, MINUTE, 0), None);
    assert_eq!(world.used(MINUTE), [40, 100]);
    assert_eq!(world.quota.used(at(MINUTE), 2, &world.policy), 0, "there is no third");
    assert_eq!(world.used(HOUR), [0, 40]);
    assert_eq!(world.used(HOUR + MINUTE), [0, 0]);
}

#[test]
fn a_minute_of_60_never_has_119() {
    // GCRA with a burst of 60 lets 60 go at once and one more each second after that.
    let mut world = World::of(&[window(60, MINUTE)]);
    let mut starts = Vec::new();
    for now in (0..5 * MINUTE).step_by(100) {
        starts.resize(starts.len() + world.ask_all(now), now);
    }
    let most =
        starts.iter().map(|from| starts.iter().filter(|at| (*from..from + MINUTE).contains(at)).count());
    assert_eq!(most.max(), Some(60));
    assert!(starts.len() >= 60 * 4, "{} in five minutes", starts.len());
}

#[test]
fn no_doubling_at_the_edge_of_a_window() {
    let mut world = World::of(&[window(60, MINUTE)]);
    assert_eq!(world.ask_all(MINUTE - 10), 60);
    for now in [MINUTE, MINUTE + 1, 2 * MINUTE - 11] {
        assert_eq!(world.check(now, 1), wait(2 * MINUTE - 10), "{now}");
    }
    assert_eq!(world.ask_all(2 * MINUTE - 10), 60);
}

#[test]
fn the_first_window_that_reaches_80_percent_is_told_once() {
    let (short, long) = (window(10, 1_000), window(20, 10_000));
    let policy = windows(&[short, long]);
    let mut quota = Quota::default();
    let mut told = Vec::new();
    for (now, weight) in
        [(0, 7), (0, 1), (0, 1), (1_000, 3), (1_000, 3), (1_000, 3), (2_000, 8), (10_001, 7), (10_002, 9)]
    {
        if let Some(Warning { window, used }) = quota.take(at(now), &policy, weight) {
            told.push((now, window, used));
        }
    }
    // At 1000 the third take is too much for the short one, at 10002 for both: the first is told.
    let expected = [(0, short, 8), (1_000, short, 9), (2_000, short, 8), (10_002, short, 16)];
    assert_eq!(told, expected);
}

#[test]
fn the_clock_may_stand_still_jump_ahead_and_be_set_back() {
    let mut world = World::of(&[window(2, HOUR)]);
    assert_eq!(world.ask_all(DAY), 2);
    assert_eq!(world.check(DAY - HOUR, 1), wait(DAY + HOUR), "set back by an hour");
    assert_eq!(world.used(0), [2]);
    assert_eq!(world.ask_all(3 * DAY), 2, "a day is more than an hour");
    world.give_back(3 * DAY, 1);
    assert_eq!(world.ask(DAY, 1), Decision::Proceed);
    assert_eq!(
        world.check(3 * DAY + HOUR - 1, 1),
        wait(3 * DAY + HOUR),
        "counts as taken at the latest time"
    );
}

// ---- Interval and even spacing -------------------------------------------------------------------------------------

#[test]
fn an_interval_holds_the_next_start_whatever_the_weight_of_the_last() {
    let policy = Policy { interval: ms(2_000), ..windows(&[window(100, MINUTE)]) };
    let mut world = World::new(policy);
    for (now, weight, expected) in [
        (0, 1, Decision::Proceed),
        (0, 0, Decision::Proceed),
        (1_999, 1, wait(2_000)),
        (2_000, 50, Decision::Proceed),
        (2_000, 60, wait(MINUTE + 2_000)),
        (2_001, 49, wait(4_000)),
        (9_000, 1, Decision::Proceed),
        (9_001, 1, wait(11_000)),
    ] {
        assert_eq!(world.ask(now, weight), expected, "{weight} at {now}");
    }
    assert_eq!(world.quota.obstacle(at(9_001), &world.policy, 1, None), None, "only the interval holds it");
}

#[test]
fn an_interval_alone_needs_no_window() {
    let mut world = World::new(Policy { interval: ms(1_000), ..Policy::default() });
    assert_eq!(world.starts(0, 4_500), [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(world.check_with(4_500, 2, window(1, 1_000)), NEVER);
    assert_eq!(world.used(4_500), []);
}

#[test]
fn sixty_in_a_second_evenly_are_sixty() {
    let mut world = World::new(Policy { smooth: true, ..windows(&[window(60, 1_000)]) });
    let starts = world.starts(0, 3_000);
    assert_eq!(
        starts[..60],
        (0..60).map(|number: u64| (number * 16_667).div_ceil(1_000)).collect::<Vec<_>>()[..]
    );
    let each_second =
        [0, 1_000, 2_000].map(|from| starts.iter().filter(|at| (from..from + 1_000).contains(*at)).count());
    assert_eq!(each_second, [60, 60, 60]);
}

#[test]
fn rates_above_one_per_millisecond_spread_over_the_milliseconds() {
    let mut world = World::new(Policy { smooth: true, ..windows(&[window(5_000, 1_000)]) });
    let starts = world.starts(0, 100);
    let each = |now| starts.iter().filter(|at| **at == now).count();
    assert_eq!(each(0), 1, "no burst");
    assert!((1..100).all(|now| each(now) == 5));
}

#[test]
fn the_tightest_window_sets_the_pace_and_weight_takes_its_time() {
    let mut world = World::new(Policy {
        smooth: true,
        ..windows(&[window(10, 1_000), window(60, MINUTE), window(90, MINUTE)])
    });
    for (now, weight, expected) in [
        (0, 3, Decision::Proceed),
        (0, 1, wait(3_000)),
        (3_000, 1, Decision::Proceed),
        (3_000, 9, wait(4_000)),
        // Late: nothing is caught up.
        (9_500, 1, Decision::Proceed),
        (9_500, 1, wait(10_500)),
        (10_500, 1, Decision::Proceed),
    ] {
        assert_eq!(world.ask(now, weight), expected, "{weight} at {now}");
    }
}

// ---- Overrides -----------------------------------------------------------------------------------------------------

#[test]
fn an_override_counts_the_same_units_by_another_limit() {
    let mut world = World::of(&[window(10, 1_000), window(100, MINUTE)]);
    assert_eq!(world.ask_all(0), 10);
    for (now, weight, other, expected) in [
        (0, 1, window(11, 1_000), Decision::Proceed),
        (0, 2, window(11, 1_000), wait(1_000)),
        (0, 1, window(10, 500), wait(500)),
        (499, 1, window(10, 500), wait(500)),
        (500, 1, window(10, 500), Decision::Proceed),
        (500, 11, window(10, 500), NEVER),
        (1_000, 1, window(10, 30_000), wait(30_000)),
        (1_000, 1, window(20, 30_000), Decision::Proceed),
        (1_000, 1, window(10, 90_000), wait(MINUTE)),
        (1_000, 0, window(1, 1_000), Decision::Proceed),
    ] {
        assert_eq!(world.check_with(now, weight, other), expected, "{weight} at {now} by {other:?}");
        let held = (expected != Decision::Proceed).then_some(other);
        assert_eq!(world.quota.obstacle(at(now), &world.policy, weight, Some(other)), held);
    }
    assert_eq!(world.used(0), [10, 10], "no effect");
}

#[test]
fn an_override_is_paced_by_its_own_limit_and_by_the_same_interval() {
    let policy = Policy { smooth: true, interval: ms(50), ..windows(&[window(10, 1_000)]) };
    let mut world = World::new(policy);
    assert_eq!(world.check_with(0, 1, window(1, 1_000)), Decision::Proceed);
    world.ask(0, 2);
    assert_eq!(world.check(0, 1), wait(200));
    assert_eq!(world.check_with(0, 1, window(20, 1_000)), wait(100));
    assert_eq!(world.check_with(0, 1, window(1_000, 1_000)), wait(50));
    assert_eq!(world.check_with(0, 1, window(5, 1_000)), wait(400));
}

// ---- Give back, clear, fill ----------------------------------------------------------------------------------------

#[test]
fn what_is_given_back_can_be_taken_again() {
    let mut world = World::of(&[window(3, 1_000), window(5, 10_000)]);
    world.ask(0, 3);
    world.give_back(0, 2);
    assert_eq!(world.used(0), [1, 1]);
    assert_eq!(world.ask(500, 2), Decision::Proceed);
    for (taken, weight, used, why) in [
        (100, 1, [3, 3], "nothing was taken then"),
        (500, 0, [3, 3], "nothing"),
        (0, 7, [2, 2], "no more than is there"),
        (0, 1, [2, 2], "twice"),
    ] {
        world.give_back(taken, weight);
        assert_eq!(world.used(500), used, "{why}");
    }
    assert_eq!(world.used(2_000), [0, 2]);
    world.ask(2_000, 1);
    world.give_back(500, 2);
    assert_eq!(world.used(2_000), [1, 1], "still in the longer log");
}

#[test]
fn the_pause_goes_with_the_start_that_was_given_back() {
    let paced = |interval, smooth| {
        World::new(Policy { interval: ms(interval), smooth, ..windows(&[window(10, 1_000)]) })
    };
    // (taken at, given back at once, and then the next is due)
    for (interval, smooth, back, due) in [
        (400, false, 3, 1_000),
        (400, false, 1, 1_400),
        (0, true, 3, 1_000),
        (0, true, 1, 1_300),
        (250, true, 3, 1_000),
        (250, true, 1, 1_300),
    ] {
        let mut world = paced(interval, smooth);
        world.ask(0, 1);
        world.ask(1_000, 3);
        world.give_back(0, 1);
        world.give_back(1_000, back);
        let expected = if due > 1_000 { wait(due) } else { Decision::Proceed };
        assert_eq!(world.check(1_000, 1), expected, "{interval} {smooth} {back}");
        world.give_back(1_000, 3);
        world.quota.load_interval(at(1_000), ms(900));
        world.give_back(1_000, 3);
        assert_eq!(world.check(1_000, 1), wait(1_900), "twice is harmless");
        let mut world = paced(interval, smooth);
        world.ask(0, 1);
        world.ask(1_000, 1);
        world.give_back(0, 1);
        assert_ne!(world.check(1_000, 1), Decision::Proceed, "an earlier one");
        world.give_back(1_000, 1);
        assert_eq!(world.ask(1_000, 1), Decision::Proceed, "all of it");
        assert_ne!(world.check(1_000, 1), Decision::Proceed, "that was a start again");
    }
}

#[test]
fn clear_forgets_and_what_comes_back_later_is_not_the_new_ones() {
    let policy = Policy { interval: ms(10), ..windows(&[window(2, DAY)]) };
    let mut world = World::new(policy);
    world.ask(1_000, 2);
    world.quota.clear();
    assert_eq!(world.used(1_000), [0]);
    assert_eq!(world.quota.idle_at(), Instant::ZERO);
    assert_eq!(world.dump(1_000), Dump::default());
    // In the same slice of 22 minutes.
    assert_eq!(world.ask(1_500, 2), Decision::Proceed);
    world.give_back(1_000, 2);
    assert_eq!(world.used(1_500), [2]);
    world.give_back(1_500, 1);
    assert_eq!(world.used(1_500), [1]);
}

#[test]
fn after_clear_too_a_clock_that_was_set_back_stands_still() {
    let mut world = World::of(&[window(1, 1_000)]);
    world.ask(10_000, 1);
    world.quota.clear();
    assert_eq!(world.ask(4_000, 1), Decision::Proceed);
    assert_eq!(world.check(5_500, 1), wait(11_000), "it counts from the latest take");
    assert_eq!(world.ask(11_000, 1), Decision::Proceed);
}

#[test]
fn after_fill_short_windows_are_full_and_long_ones_as_they_were() {
    let policy =
        Policy { interval: ms(500), ..windows(&[window(10, 1_000), window(60, MINUTE), window(500, HOUR)]) };
    let mut world = World::new(policy);
    world.ask(0, 4);
    world.quota.fill(at(950), &world.policy, ms(MINUTE));
    assert_eq!(world.used(950), [10, 60, 4]);
    assert_eq!(world.check(950, 1), wait(MINUTE));
    assert_eq!(world.check(950, 5), wait(MINUTE + 950));
    assert_eq!(world.used(1_000), [6, 60, 4]);
    world.quota.fill(at(DAY), &world.policy, ms(500));
    assert_eq!(world.check(DAY + 499, 1), wait(DAY + 500), "a start may have been just now");
    assert_eq!(world.ask(DAY + 500, 10), Decision::Proceed, "no window is that short");
    world.quota.fill(at(2 * DAY), &world.policy, ms(499));
    assert_eq!(world.check(2 * DAY, 1), Decision::Proceed);
    let mut full = World::of(&[window(2, 1_000)]);
    full.ask(0, 2);
    full.quota.fill(at(500), &full.policy, ms(1_000));
    assert_eq!(full.quota.idle_at(), at(1_000), "what is full does not become fuller");
}

#[test]
fn a_quota_is_idle_when_its_longest_window_is_empty() {
    let mut world =
        World::new(Policy { interval: ms(10_000), ..windows(&[window(9, 1_000), window(9, 5_000)]) });
    assert_eq!(world.quota.idle_at(), Instant::ZERO);
    world.ask(1_000, 1);
    assert_eq!(world.quota.idle_at(), at(11_000), "the interval");
    world.reshape(Policy { interval: ms(100), ..world.policy.clone() });
    assert_eq!(world.quota.idle_at(), at(6_000));
    assert_eq!(world.used(5_999), [0, 1]);
    assert_eq!(world.used(6_000), [0, 0]);
    assert_eq!(world.dump(6_000), Dump::default());
}

// ---- Reshape -------------------------------------------------------------------------------------------------------

#[test]
fn new_windows_are_counted_from_the_old_one_that_knows_best() {
    // (old windows, new windows, what is used of them at 10,000 and at 20,000)
    for (from, to, now, later) in [
        (vec![window(9, MINUTE)], vec![window(3, MINUTE)], vec![5], vec![5]),
        (vec![window(9, MINUTE)], vec![window(9, 15_000)], vec![5], vec![2]),
        (vec![window(9, 1_000), window(9, MINUTE)], vec![window(9, 15_000)], vec![5], vec![2]),
        (vec![window(9, 1_000), window(9, MINUTE), window(9, DAY)], vec![window(9, HOUR)], vec![5], vec![5]),
        (vec![window(9, 1_000)], vec![window(9, MINUTE)], vec![2], vec![2]),
        (vec![window(9, 1_000), window(9, 12_000)], vec![window(9, MINUTE)], vec![5], vec![5]),
        (
            vec![window(9, MINUTE)],
            vec![window(9, 1_000), window(9, MINUTE), window(9, DAY)],
            vec![2, 5, 5],
            vec![0, 5, 5],
        ),
        (vec![window(9, MINUTE)], vec![], vec![], vec![]),
        (vec![], vec![window(9, MINUTE)], vec![0], vec![0]),
    ] {
        let mut world = World::of(&from);
        for (at, weight) in [(0, 3), (10_000, 2)] {
            assert_eq!(world.ask(at, weight), Decision::Proceed);
        }
        world.reshape(windows(&to));
        assert_eq!(world.used(10_000), now, "{from:?} to {to:?}");
        assert_eq!(world.used(20_000), later, "{from:?} to {to:?}");
    }
}

#[test]
fn another_pace_holds_from_the_last_start_on() {
    let pace = |interval, smooth, limit| Policy {
        interval: ms(interval),
        smooth,
        ..windows(&[window(limit, 1_000)])
    };
    for (from, to, due) in [
        (pace(0, false, 10), pace(300, false, 10), 300),
        (pace(5_000, false, 10), pace(300, false, 10), 300),
        (pace(300, false, 10), pace(0, false, 10), 0),
        (pace(0, true, 10), pace(0, true, 5), 400),
        (pace(0, false, 10), pace(0, true, 10), 200),
        (pace(0, true, 10), pace(300, false, 10), 300),
    ] {
        let mut world = World::new(from.clone());
        world.reshape(to.clone());
        assert_eq!(world.check(0, 1), Decision::Proceed, "nothing has started yet");
        world.reshape(from.clone());
        world.ask(7_000, 2);
        world.reshape(to.clone());
        let expected = if due > 0 { wait(7_000 + due) } else { Decision::Proceed };
        assert_eq!(world.check(7_000, 1), expected, "{from:?} to {to:?}");
        world.reshape(from.clone());
        world.give_back(7_000, 2);
        if to.interval <= from.interval {
            world.reshape(to.clone());
            assert_eq!(world.check(7_000, 1), Decision::Proceed, "what was given back was no start");
        }
    }
}

#[test]
fn what_was_taken_can_be_given_back_after_a_reshape() {
    let mut world = World::of(&[window(9, MINUTE)]);
    world.ask(1_234, 5);
    world.reshape(windows(&[window(9, HOUR), window(9, 10_000)]));
    world.give_back(1_234, 2);
    assert_eq!(world.used(1_234), [3, 3]);
}

// ---- Dump and load -------------------------------------------------------------------------------------------------

#[test]
fn a_dump_tells_ages_and_leaves_out_what_counts_no_longer() {
    let policy = Policy { interval: ms(30_000), ..windows(&[window(10, 1_000), window(60, MINUTE)]) };
    let mut world = World::new(policy);
    world.ask(0, 2);
    world.ask(40_000, 3);
    world.give_back(40_000, 1);
    let kept = |length, age, count| Kept { length: ms(length), age: ms(age), count };
    let of_the_minute = [kept(MINUTE, 40_500, 2), kept(MINUTE, 500, 2)];
    assert_eq!(world.dump(40_500).rest, ms(29_500));
    assert_eq!(world.dump(40_500).entries, [&[kept(1_000, 500, 2)][..], &of_the_minute].concat());
    assert_eq!(world.dump(60_000).entries, [kept(MINUTE, 20_000, 2)]);
    assert_eq!(world.dump(100_000), Dump::default());
    world.give_back(40_000, 2);
    assert_eq!(world.dump(40_500).entries, [kept(MINUTE, 40_500, 2)]);
    assert_eq!(world.dump(0).entries.len(), 1, "a clock that was set back stands still");
}

#[test]
fn counts_survive_in_a_core_whose_clock_has_just_begun() {
    let mut world = World::new(Policy { interval: ms(2_000), ..windows(&[window(5, HOUR), window(8, DAY)]) });
    world.ask(DAY, 3);
    world.ask(DAY + 1_800_000, 2);
    world.reload(DAY + 1_800_500, 7);
    assert_eq!(world.used(7), [5, 5]);
    assert_eq!(world.check(7, 1), wait(7 + 1_799_500));
    assert_eq!(world.used(7 + 1_799_500), [2, 5]);
    assert_eq!(world.quota.idle_at(), at(7 + DAY - 500));
    assert_eq!(world.check_with(7, 1, window(9, HOUR)), wait(1_507), "the rest of the interval");
}

#[test]
fn what_is_too_old_or_of_no_window_is_ignored() {
    let mut world = World::of(&[window(5, MINUTE), window(9, HOUR), window(4, HOUR)]);
    for (length, age, count, used) in [
        (MINUTE, MINUTE, 1, [0, 0, 0]),
        (MINUTE, DAY, 1, [0, 0, 0]),
        (MINUTE + 1, 0, 1, [0, 0, 0]),
        (0, 0, 1, [0, 0, 0]),
        (MINUTE, 0, 0, [0, 0, 0]),
        (MINUTE, MINUTE - 1, 1, [1, 0, 0]),
        (HOUR, 0, 2, [1, 2, 2]),
    ] {
        world.quota.load(at(DAY), &world.policy, ms(length), ms(age), count);
        assert_eq!(world.used(DAY), used, "{count} in {length} ms, {age} ms ago");
        assert_eq!(world.quota.idle_at() > Instant::ZERO, used != [0, 0, 0]);
    }
    world.reload(DAY, DAY);
    assert_eq!(world.used(DAY), [1, 2, 2], "two windows of the same length count once");
    assert_eq!(world.ask(DAY, 3), wait(DAY + HOUR));
}

#[test]
fn what_is_loaded_late_stands_where_it_belongs() {
    let mut world = World::of(&[window(10, HOUR)]);
    world.ask(DAY, 1);
    for age in [100_000, 3_000_000, 200_000] {
        world.quota.load(at(DAY + 5), &world.policy, ms(HOUR), ms(age), 2);
    }
    let ages: Vec<u64> = world.dump(DAY + 5).entries.iter().map(|kept| kept.age.as_ms()).collect();
    assert_eq!(ages, [3_000_000, 200_000, 100_000, 5]);
    assert_eq!(world.dump(DAY), world.dump(DAY + 5), "the clock does not go back behind it");
    assert_eq!(world.check(DAY + 5, 5), wait(DAY + 5 + HOUR - 3_000_000));
}

#[test]
fn a_hundred_reloads_do_not_prolong_anything() {
    let mut world = World::of(&[window(60, HOUR)]);
    for number in 0..60 {
        assert_eq!(world.ask(DAY + number * 40_000, 1), Decision::Proceed);
    }
    let before = world.dump(DAY + 59 * 40_000);
    world.reload(DAY + 59 * 40_000, 0);
    (0..100).for_each(|number| world.reload(number * 7_919, (number + 1) * 7_919));
    assert_eq!(world.dump(100 * 7_919), before);
}

// ---- What holds whatever happens -----------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Op {
    /// One asks, and goes if it may. `other`: an override, its length a share of the longest window.
    Ask {
        weight: u32,
        other: Option<(u32, Index)>,
    },
    /// Time passes.
    Pass {
        ms: u64,
    },
    /// Time passes exactly to when the last one was told to come again, and so much more.
    Late {
        ms: u64,
    },
    /// The clock is set back.
    Back {
        ms: u64,
    },
    GiveBack {
        which: Index,
        share: u32,
    },
    /// The page is loaded anew, with another clock.
    Reload {
        clock: u64,
    },
    Reshape {
        windows: Vec<Window>,
    },
}

/// A quota beside a list of every take.
struct Exact {
    world: World,
    now: u64,
    told: u64,
    /// The quota does not go back behind its latest take.
    latest: u64,
    /// By the clock that never goes back: when, how many, and when by the clock that does.
    takes: Vec<(u64, u32, u64)>,
}

impl Exact {
    fn new(policy: Policy) -> Self {
        Self { world: World::new(policy), now: DAY, told: DAY, latest: 0, takes: Vec::new() }
    }

    /// The clock as the quota must see it.
    fn ticks(&self) -> u64 {
        self.now.max(self.latest)
    }

    /// Units in the half-open window that ends with this moment.
    fn taken(&self, now: u64, length: u64) -> u64 {
        self.takes.iter().filter(|take| take.0 + length > now).map(|take| u64::from(take.1)).sum()
    }

    /// When an exact log has room.
    fn room_at(&self, window: Window, weight: u32) -> u64 {
        let length = window.length.as_ms();
        let fits = |now: &u64| self.taken(*now, length) + u64::from(weight) <= u64::from(window.limit);
        let now = self.ticks();
        let frees = self.takes.iter().map(|take| take.0 + length).filter(|at| *at > now);
        std::iter::once(now).chain(frees).find(fits).expect("an empty window has room")
    }

    fn longest(&self) -> u64 {
        self.world.policy.windows.iter().map(|window| window.length.as_ms()).max().expect("a window")
    }

    fn held_by(&self, other: Option<Window>) -> Vec<Window> {
        other.map_or_else(|| self.world.policy.windows.clone(), |other| vec![other])
    }

    fn ask(&mut self, weight: u32, other: Option<Window>, late: bool) {
        let (policy, now) = (&self.world.policy, self.ticks());
        match self.world.quota.check(at(self.now), policy, weight, other) {
            Decision::Proceed => {
                self.world.quota.take(at(self.now), policy, weight);
                if weight > 0 {
                    self.takes.push((now, weight, self.now));
                    self.latest = now;
                    for window in self.held_by(other) {
                        let taken = self.taken(now, window.length.as_ms());
                        assert!(taken <= u64::from(window.limit), "{taken} in {window:?} at {now}");
                    }
                }
            }
            Decision::Wait { until: Some(until), .. } => {
                self.told = until.ticks();
                assert!(until.ticks() > now);
                assert_eq!(self.world.quota.check(until, policy, weight, other), Decision::Proceed);
                let slice = |window: &Window| {
                    let known = policy
                        .windows
                        .iter()
                        .map(|known| known.length)
                        .filter(|known| *known >= window.length);
                    known.min().expect("no override is longer").as_ms() / 64
                };
                let held = self.held_by(other);
                let latest = held.iter().map(|window| self.room_at(*window, weight) + slice(window)).max();
                assert!(late || Some(until.ticks()) <= latest, "{until:?} is later than {latest:?}");
            }
            decision => {
                assert_eq!(decision, NEVER);
                assert!(self.held_by(other).iter().any(|window| window.limit < weight));
            }
        }
    }

    fn apply(&mut self, op: &Op, late: bool) {
        match op {
            Op::Ask { weight, other } => {
                let length = |share: &Index| share.index(self.longest() as usize) as u64 + 1;
                let other = other.as_ref().map(|(limit, share)| window(*limit, length(share)));
                self.ask(*weight, other, late);
            }
            Op::Pass { ms } => self.now += ms,
            Op::Late { ms } => self.now = self.now.max(self.told + ms),
            Op::Back { ms } => self.now = self.now.saturating_sub(*ms),
            Op::GiveBack { which, share } => {
                if self.takes.is_empty() {
                    return;
                }
                let which = which.index(self.takes.len());
                let (time, weight, told) = self.takes[which];
                let back = weight.div_ceil(*share);
                // By a clock that was set back nothing is found, which is harmless but late.
                self.world.give_back(if late { told } else { time }, back);
                self.takes[which].1 -= back;
            }
            Op::Reload { clock } => {
                let now = self.ticks();
                self.world.reload(now, *clock);
                // The list is told by the new clock. What lies in the future counts as now.
                let known = self.longest();
                self.takes.retain(|take| take.0 + known > now);
                for take in &mut self.takes {
                    let time = (take.0 + clock - now).min(*clock);
                    *take = (time, take.1, time);
                }
                (self.now, self.told, self.latest) = (*clock, *clock, *clock);
            }
            Op::Reshape { windows: list } => {
                // Nobody knows what was taken before the longest of the old windows.
                let (now, known) = (self.ticks(), self.longest());
                self.takes.retain(|take| take.0 + known > now);
                self.world.reshape(windows(list));
            }
        }
    }
}

fn some_window() -> impl Strategy<Value = Window> {
    let length =
        prop_oneof![1..200_u64, Just(64), Just(127), Just(128), 200..5_000_u64, Just(MINUTE), Just(HOUR)];
    (prop_oneof![1..8_u32, 1..200_u32], length).prop_map(|(limit, length)| window(limit, length))
}

fn some_windows() -> impl Strategy<Value = Vec<Window>> {
    prop::collection::vec(some_window(), 1..4)
}

fn common_op() -> impl Strategy<Value = Op> {
    let other = prop::option::weighted(0.2, (1..100_u32, any::<Index>()));
    prop_oneof![
        8 => (prop_oneof![3 => Just(1_u32), 1 => 0..20_u32], other).prop_map(|(weight, other)| Op::Ask { weight, other }),
        4 => prop_oneof![0..30_u64, 0..2_000_u64, 0..100_000_u64].prop_map(|ms| Op::Pass { ms }),
        3 => prop_oneof![Just(0_u64), 0..50_u64, 0..DAY].prop_map(|ms| Op::Late { ms }),
        1 => prop_oneof![0..100_u64, 0..HOUR].prop_map(|ms| Op::Back { ms }),
        2 => (any::<Index>(), 1..4_u32).prop_map(|(which, share)| Op::GiveBack { which, share }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => common_op(),
        // Past the length of every window, so that no take lies before the origin of the list's clock.
        1 => (DAY..2 * DAY).prop_map(|clock| Op::Reload { clock }),
        1 => some_windows().prop_map(|windows| Op::Reshape { windows }),
    ]
}

fn runs(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(runs(300))]

    #[test]
    fn no_window_ever_holds_more_than_its_limit_and_none_waits_longer_than_a_64th_of_it(
        list in some_windows(),
        ops in prop::collection::vec(common_op(), 1..200),
    ) {
        let mut exact = Exact::new(windows(&list));
        ops.iter().for_each(|op| exact.apply(op, false));
    }

    #[test]
    fn no_window_ever_holds_more_than_its_limit_through_reloads_and_other_limits(
        list in some_windows(),
        ops in prop::collection::vec(any_op(), 1..200),
    ) {
        let mut exact = Exact::new(windows(&list));
        ops.iter().for_each(|op| exact.apply(op, true));
    }

    #[test]
    fn starts_of_a_smooth_quota_are_never_closer_than_the_pace(
        list in some_windows(),
        interval in prop_oneof![Just(0_u64), 1..500_u64],
        starts in prop::collection::vec((1..6_u32, prop_oneof![4 => Just(0_u64), 1 => 0..3_u64, 1 => 0..5_000_u64]), 1..100),
    ) {
        let mut exact = Exact::new(Policy { interval: ms(interval), smooth: true, ..windows(&list) });
        for (weight, late) in starts {
            let weight = weight.min(list.iter().map(|window| window.limit).min().unwrap_or(1));
            exact.ask(weight, None, true);
            exact.now = exact.now.max(exact.told) + late;
        }
        for (first, from) in exact.takes.iter().enumerate() {
            let mut units = 0;
            for (next, to) in exact.takes.iter().enumerate().skip(first + 1) {
                units += u64::from(exact.takes[next - 1].1);
                for window in &list {
                    // A start lies at most a millisecond behind where it was due.
                    let due = units * window.length.as_ms();
                    prop_assert!((to.0 - from.0 + 1) * u64::from(window.limit) > due, "{from:?} {to:?} {window:?}");
                }
                prop_assert!(to.0 - from.0 >= interval * (next - first) as u64);
            }
        }
    }

    #[test]
    fn when_it_is_idle_nothing_is_left(
        list in some_windows(),
        interval in 0..1_000_u64,
        smooth in any::<bool>(),
        ops in prop::collection::vec(common_op(), 1..60),
    ) {
        let mut exact = Exact::new(Policy { interval: ms(interval), smooth, ..windows(&list) });
        ops.iter().for_each(|op| exact.apply(op, true));
        let idle_at = exact.world.quota.idle_at();
        prop_assert_eq!(exact.world.quota.dump(idle_at, &exact.world.policy), Dump::default());
        let least = list.iter().map(|window| window.limit).min().unwrap_or(1);
        prop_assert_eq!(exact.world.quota.check(idle_at, &exact.world.policy, least, None), Decision::Proceed);
    }

    #[test]
    fn a_log_and_its_dump_stay_short(
        list in some_windows(),
        steps in prop::collection::vec((0..3_000_u64, 1..50_u32), 1..600),
    ) {
        let mut world = World::of(&list);
        let mut now = 0;
        for (step, weight) in steps {
            now += step;
            world.quota.take(at(now), &world.policy, weight);
            let dump = world.dump(now);
            for window in &list {
                let slices = dump.entries.iter().filter(|kept| kept.length == window.length).count() as u64;
                let length = window.length.as_ms();
                prop_assert!(slices <= length / (length / 64).max(1) + 1, "{} slices of {:?}", slices, window);
                prop_assert!(slices < 130);
            }
        }
    }
}
