//! So many at once: never more than a cap allows, and nothing is lost of what is given back, reclaimed or neither.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use support::{at, ms};
use tidegate::decision::Permit;
use tidegate::slots::{Full, Slots, SlotsConfig};
use tidegate::time::Instant;

/// Issues permits in order, and knows whose they are.
struct World {
    slots: Slots,
    now: u64,
    whose: Vec<(u32, u32)>,
}

impl World {
    fn new(config: SlotsConfig) -> Self {
        Self { slots: Slots::new(config), now: 0, whose: Vec::new() }
    }

    fn check(&self, lane: u32, operation: u32) -> Option<Full> {
        self.slots.check(at(self.now), lane, operation, None)
    }

    /// The number of the permit.
    fn take(&mut self, lane: u32, operation: u32) -> u64 {
        self.whose.push((lane, operation));
        let number = self.whose.len() as u64;
        self.slots.take(at(self.now), &Permit::new(number), lane, operation);
        number
    }

    fn try_take(&mut self, lane: u32, operation: u32) -> Result<u64, Full> {
        match self.check(lane, operation) {
            Some(full) => Err(full),
            None => Ok(self.take(lane, operation)),
        }
    }

    fn release(&mut self, number: u64) -> bool {
        let (lane, operation) = self.whose[number as usize - 1];
        self.slots.release(&Permit::new(number), lane, operation)
    }

    fn renew(&mut self, number: u64) -> Option<Instant> {
        self.slots.renew(at(self.now), &Permit::new(number))
    }

    fn reclaim_all(&mut self) -> Vec<(u32, u32)> {
        std::iter::from_fn(|| self.slots.reclaim(at(self.now))).collect()
    }
}

/// 600 s, as telephony has it.
fn leased(global: u32) -> SlotsConfig {
    SlotsConfig { global: Some(global), lease: Some(ms(600_000)), ..SlotsConfig::default() }
}

#[test]
fn the_narrowest_full_cap_is_told() {
    let config =
        SlotsConfig { global: Some(4), per_key: Some(1), per_operation: vec![Some(2), None], lease: None };
    let mut world = World::new(config);
    for (lane, operation, expected) in [
        (0, 0, Ok(1)),
        (0, 0, Err(Full::Key)),
        (1, 0, Ok(2)),
        (1, 0, Err(Full::Key)),
        (2, 0, Err(Full::Operation)),
        (3, 1, Ok(3)),
        (4, 7, Ok(4)),
        (5, 1, Err(Full::Global)),
        (6, 0, Err(Full::Operation)),
        (3, 1, Err(Full::Key)),
    ] {
        assert_eq!(world.try_take(lane, operation), expected, "lane {lane}, operation {operation}");
    }
    assert_eq!(world.slots.in_flight(), 4);
    assert_eq!(world.slots.in_flight_of_operation(0), 2);
    assert_eq!(world.slots.in_flight_of_lane(3), 1);
    assert!(world.release(2));
    assert_eq!(world.check(6, 0), None);
}

#[test]
fn an_override_replaces_the_cap_of_the_operation_and_no_other() {
    let config =
        |global, operation| SlotsConfig { global, per_operation: vec![operation], ..SlotsConfig::default() };
    for (global, configured, cap, running, expected) in [
        (None, Some(2), Some(1), 1, Some(Full::Operation)),
        (None, Some(2), Some(1), 0, None),
        (None, Some(2), Some(5), 4, None),
        (None, Some(2), Some(5), 5, Some(Full::Operation)),
        (None, Some(2), None, 2, Some(Full::Operation)),
        (None, None, Some(3), 3, Some(Full::Operation)),
        (Some(4), Some(2), Some(9), 4, Some(Full::Global)),
        (None, None, Some(0), 0, Some(Full::Operation)),
    ] {
        let mut world = World::new(config(global, configured));
        (0..running).for_each(|lane| {
            world.take(lane, 0);
        });
        let said = world.slots.check(at(0), 99, 0, cap);
        assert_eq!(said, expected, "{global:?} {configured:?} {cap:?} {running}");
    }
}

#[test]
fn without_caps_nobody_is_refused() {
    let mut world = World::new(SlotsConfig::default());
    (0..10_000).for_each(|_| assert!(world.try_take(0, 0).is_ok()));
    assert_eq!(world.slots.in_flight(), 10_000);
    assert_eq!(world.slots.poll_timeout(), None);
    assert_eq!(world.slots.reclaim(Instant::MAX), None);
}

#[test]
fn leaked_leases_come_back_after_600_seconds() {
    let mut world = World::new(leased(100));
    (0..100).for_each(|lane| assert!(world.try_take(lane, 3).is_ok()));
    assert_eq!(world.slots.poll_timeout(), Some(at(600_000)));
    world.now = 599_999;
    assert_eq!(world.check(200, 3), Some(Full::Global));
    assert_eq!(world.slots.reclaim(at(599_999)), None);
    world.now = 600_000;
    assert_eq!(world.check(200, 3), None, "free for whoever asks, reclaimed or not");
    let mut back = world.reclaim_all();
    back.sort_unstable();
    assert_eq!(back, (0..100).map(|lane| (lane, 3)).collect::<Vec<_>>());
    assert_eq!((world.slots.in_flight(), world.slots.in_flight_of_operation(3)), (0, 0));
    assert_eq!(world.slots.poll_timeout(), None);
}

#[test]
fn a_release_after_reclaim_takes_nobody_elses_slot() {
    let mut world = World::new(leased(1));
    let slow = world.take(0, 0);
    world.now = 600_000;
    assert_eq!(world.reclaim_all(), [(0, 0)]);
    let next = world.try_take(0, 0).expect("reclaimed");
    assert!(!world.release(slow));
    assert_eq!(world.check(0, 0), Some(Full::Global), "the next one still runs");
    assert!(world.release(next));
    assert_eq!(world.check(0, 0), None);
}

#[test]
fn a_second_release_takes_nobody_elses_slot() {
    let mut world = World::new(leased(2));
    let [one, other] = [world.take(0, 0), world.take(0, 0)];
    assert!(world.release(one));
    assert!(!world.release(one));
    assert_eq!(world.slots.in_flight(), 1);
    assert!(world.release(other));
    assert!(!world.slots.release(&Permit::new(99), 0, 0), "a permit that nobody has");
    assert_eq!(world.slots.in_flight(), 0);
}

#[test]
fn what_has_run_out_may_still_be_given_back_until_it_is_reclaimed() {
    let mut world = World::new(leased(1));
    let slow = world.take(0, 0);
    world.now = 700_000;
    assert!(world.release(slow));
    assert_eq!(world.reclaim_all(), []);
    assert_eq!(world.slots.in_flight(), 0);
}

#[test]
fn one_that_has_run_out_makes_room_for_one() {
    let mut world = World::new(leased(2));
    world.take(0, 0);
    world.now = 1;
    world.take(0, 0);
    world.now = 600_000;
    assert!(world.try_take(0, 0).is_ok());
    assert_eq!(world.slots.in_flight(), 3, "counted until it is reclaimed");
    assert_eq!(world.check(0, 0), Some(Full::Global));
    assert_eq!(world.reclaim_all(), [(0, 0)]);
    assert_eq!(world.check(0, 0), Some(Full::Global));
}

#[test]
fn only_its_own_cap_is_freed_by_a_lease_that_has_run_out() {
    let mut world = World::new(SlotsConfig {
        per_key: Some(1),
        per_operation: vec![Some(1), Some(1)],
        lease: Some(ms(100)),
        ..SlotsConfig::default()
    });
    world.take(0, 0);
    world.now = 50;
    world.take(1, 1);
    world.now = 100;
    assert_eq!(world.check(0, 0), None);
    assert_eq!(world.check(1, 0), Some(Full::Key));
    assert_eq!(world.check(2, 1), Some(Full::Operation));
}

#[test]
fn a_renewed_lease_ends_later_and_one_that_is_gone_stays_gone() {
    let mut world = World::new(leased(2));
    let [long, short] = [world.take(0, 0), world.take(1, 0)];
    world.now = 400_000;
    assert_eq!(world.renew(long), Some(at(1_000_000)));
    assert_eq!(world.slots.poll_timeout(), Some(at(600_000)));
    world.now = 600_000;
    assert_eq!(world.renew(short), None, "its slot may have been taken already");
    assert_eq!(world.reclaim_all(), [(1, 0)]);
    assert_eq!(world.renew(short), None);
    assert_eq!(world.slots.poll_timeout(), Some(at(1_000_000)));
    assert!(world.release(long));
    assert_eq!(world.renew(long), None);
    assert_eq!(world.renew(99), None);
}

#[test]
fn renewing_under_a_shorter_lease_takes_no_time_away() {
    let mut world = World::new(leased(1));
    let one = world.take(0, 0);
    world.slots.reconfigure(SlotsConfig { lease: Some(ms(1_000)), ..leased(1) });
    assert_eq!(world.renew(one), Some(at(600_000)));
    world.now = 599_500;
    assert_eq!(world.renew(one), Some(at(600_500)));
}

#[test]
fn with_fewer_slots_nobody_new_until_enough_came_back() {
    let mut world = World::new(leased(5));
    let running: Vec<u64> = (0..5).map(|lane| world.take(lane, 0)).collect();
    world.slots.reconfigure(leased(2));
    assert_eq!(world.slots.in_flight(), 5);
    for (came_back, number) in running.into_iter().enumerate() {
        assert_eq!(world.check(9, 0).is_none(), came_back > 3, "{came_back}");
        assert!(world.release(number));
    }
    world.slots.reconfigure(leased(0));
    assert_eq!(world.check(9, 0), Some(Full::Global));
}

#[test]
fn leases_that_run_keep_their_end_and_the_others_have_none() {
    let without = SlotsConfig { lease: None, ..leased(10) };
    let mut world = World::new(leased(10));
    let [early, abandoned] = [world.take(0, 0), world.take(1, 0)];
    world.slots.reconfigure(without.clone());
    let [plain, endless] = [world.take(2, 0), world.take(3, 0)];
    assert_eq!(world.slots.poll_timeout(), Some(at(600_000)));
    assert_eq!(world.renew(early), Some(at(600_000)), "there is no length to renew it by");
    assert_eq!(world.renew(plain), None);
    world.slots.reconfigure(leased(10));
    let late = world.take(4, 0);
    world.slots.reconfigure(without);
    // Leases were given since `plain` began, and it is still out.
    let after = world.take(5, 0);
    assert_eq!(world.renew(after), None);
    world.now = 600_000;
    let mut back = world.reclaim_all();
    back.sort_unstable();
    assert_eq!(back, [(0, 0), (1, 0), (4, 0)]);
    for (number, held) in [
        (abandoned, false),
        (plain, true),
        (late, false),
        (after, true),
        (after, false),
        (endless, true),
        (early, false),
    ] {
        assert_eq!(world.release(number), held, "{number}");
    }
    assert_eq!(world.slots.in_flight(), 0);
    assert!((0..6).all(|lane| world.slots.in_flight_of_lane(lane) == 0));
    assert_eq!(world.slots.reclaim(Instant::MAX), None);
}

#[test]
fn a_day_asleep_ends_every_lease_once() {
    let mut world = World::new(leased(1_000));
    (0..1_000).for_each(|lane| {
        world.now += 1;
        world.take(lane % 7, 0);
    });
    world.now += 86_400_000;
    let back = world.reclaim_all();
    assert_eq!(
        back,
        (0..1_000).map(|lane| (lane % 7, 0)).collect::<Vec<_>>(),
        "who began first comes back first"
    );
    assert_eq!(world.slots.in_flight(), 0);
}

#[test]
fn a_clock_set_back_only_makes_leases_longer() {
    let mut world = World::new(leased(1));
    world.now = 3_600_000;
    world.take(0, 0);
    world.now = 0;
    assert_eq!(world.check(0, 0), Some(Full::Global));
    assert_eq!(world.slots.poll_timeout(), Some(at(4_200_000)));
    world.now = 4_200_000;
    assert_eq!(world.reclaim_all(), [(0, 0)]);
}

#[test]
fn a_million_leases() {
    const MILLION: u64 = 1_000_000;
    let mut world = World::new(leased(MILLION as u32));
    (0..MILLION).for_each(|i| {
        world.now = i / 1_000;
        world.take((i % 100) as u32, 0);
    });
    assert_eq!(world.check(0, 0), Some(Full::Global));
    // Out of order: 7919 has no divisor in common with a million.
    (0..MILLION / 2).for_each(|i| assert!(world.release(i * 7_919 % MILLION + 1)));
    (MILLION / 2..MILLION / 4 * 3).for_each(|i| assert!(world.renew(i * 7_919 % MILLION + 1).is_some()));
    assert_eq!(world.slots.in_flight(), 500_000);
    assert_eq!(world.slots.poll_timeout(), Some(at(600_000)));
    world.now = 600_998;
    let (early, renewed) = (world.reclaim_all().len(), 250_000);
    assert!((249_500..250_000).contains(&early), "{early}: all but the last thousand's");
    world.now = 600_999;
    assert_eq!(world.reclaim_all().len(), 250_000 - early + renewed);
    assert_eq!(world.slots.in_flight(), 0);
}

// ---- Against a model ----------------------------------------------------------------------------------------------

const LANES: u32 = 4;
const OPERATIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// If there is a slot.
    Start {
        lane: u32,
        operation: u32,
        cap: Option<u32>,
    },
    /// One of all that ever were, unless it had no lease and was given back.
    Release(Index),
    Renew(Index),
    Pass(u64),
    Reclaim,
    Reconfigure(SlotsConfig),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lane: u32,
    operation: u32,
    end: Option<u64>,
}

/// What is held, by the number of the permit; nothing clever.
struct Model {
    config: SlotsConfig,
    now: u64,
    held: BTreeMap<u64, Held>,
    /// How each permit was issued: whose, and whether with a lease.
    issued: Vec<(u32, u32, bool)>,
}

impl Model {
    fn count(&self, counts: impl Fn(&Held) -> bool) -> u32 {
        self.held.values().filter(|held| counts(held)).count() as u32
    }

    /// Overdue ones do not count.
    fn running(&self, counts: impl Fn(&Held) -> bool) -> u32 {
        self.count(|held| held.end.is_none_or(|end| end > self.now) && counts(held))
    }

    fn check(&self, lane: u32, operation: u32, cap: Option<u32>) -> Option<Full> {
        let reached = |cap: Option<u32>, running: u32| cap.is_some_and(|cap| running >= cap);
        let configured = self.config.per_operation.get(operation as usize).copied().flatten();
        if reached(self.config.per_key, self.running(|held| held.lane == lane)) {
            Some(Full::Key)
        } else if reached(cap.or(configured), self.running(|held| held.operation == operation)) {
            Some(Full::Operation)
        } else if reached(self.config.global, self.running(|_| true)) {
            Some(Full::Global)
        } else {
            None
        }
    }
}

struct Run {
    slots: Slots,
    model: Model,
}

impl Run {
    fn new(config: SlotsConfig) -> Self {
        let model = Model { config: config.clone(), now: 0, held: BTreeMap::new(), issued: Vec::new() };
        Self { slots: Slots::new(config), model }
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let Self { slots, model } = self;
        let now = at(model.now);
        match op {
            Op::Start { lane, operation, cap } => {
                let full = slots.check(now, *lane, *operation, *cap);
                prop_assert_eq!(full, model.check(*lane, *operation, *cap));
                if full.is_none() {
                    let end = model.config.lease.map(|lease| model.now + lease.as_ms());
                    model.issued.push((*lane, *operation, end.is_some()));
                    let number = model.issued.len() as u64;
                    slots.take(now, &Permit::new(number), *lane, *operation);
                    model.held.insert(number, Held { lane: *lane, operation: *operation, end });
                }
            }
            Op::Release(which) if !model.issued.is_empty() => {
                let index = which.index(model.issued.len());
                let (lane, operation, leased) = model.issued[index];
                let number = index as u64 + 1;
                if leased || model.held.contains_key(&number) {
                    let was_held = model.held.remove(&number).is_some();
                    prop_assert_eq!(slots.release(&Permit::new(number), lane, operation), was_held);
                }
            }
            Op::Renew(which) if !model.issued.is_empty() => {
                let number = which.index(model.issued.len()) as u64 + 1;
                let new_end = model.held.get_mut(&number).and_then(|held| {
                    let end = held.end.as_mut().filter(|end| **end > model.now)?;
                    *end = (*end).max(model.now + model.config.lease.map_or(0, |lease| lease.as_ms()));
                    Some(at(*end))
                });
                prop_assert_eq!(slots.renew(now, &Permit::new(number)), new_end);
            }
            Op::Release(_) | Op::Renew(_) => {}
            Op::Pass(ms) => model.now += ms,
            Op::Reclaim => {
                let mut back: Vec<(u32, u32)> = std::iter::from_fn(|| slots.reclaim(now)).collect();
                let overdue = |held: &Held| held.end.is_some_and(|end| end <= model.now);
                let mut expected: Vec<(u32, u32)> = model
                    .held
                    .values()
                    .filter(|held| overdue(held))
                    .map(|held| (held.lane, held.operation))
                    .collect();
                model.held.retain(|_, held| !overdue(held));
                back.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(back, expected);
            }
            Op::Reconfigure(config) => {
                slots.reconfigure(config.clone());
                model.config = config.clone();
            }
        }
        self.agree()
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        let Self { slots, model } = self;
        prop_assert_eq!(slots.in_flight(), model.count(|_| true));
        let first_end = model.held.values().filter_map(|held| held.end).min();
        prop_assert_eq!(slots.poll_timeout(), first_end.map(at));
        for lane in 0..LANES {
            prop_assert_eq!(slots.in_flight_of_lane(lane), model.count(|held| held.lane == lane));
        }
        for operation in 0..OPERATIONS {
            let of_this = model.count(|held| held.operation == operation);
            prop_assert_eq!(slots.in_flight_of_operation(operation), of_this);
        }
        Ok(())
    }
}

fn configs() -> impl Strategy<Value = SlotsConfig> {
    let cap = || prop::option::of(0..6_u32);
    let global = prop::option::of(0..30_u32);
    let lease = prop::option::weighted(0.7, 1..1_000_u64);
    (global, cap(), prop::collection::vec(cap(), 0..=OPERATIONS as usize), lease).prop_map(
        |(global, per_key, per_operation, lease)| SlotsConfig {
            global,
            per_key,
            per_operation,
            lease: lease.map(ms),
        },
    )
}

fn traffic() -> impl Strategy<Value = Op> {
    let cap = prop_oneof![4 => Just(None), 1 => (0..8_u32).prop_map(Some)];
    prop_oneof![
        8 => (0..LANES, 0..OPERATIONS, cap)
            .prop_map(|(lane, operation, cap)| Op::Start { lane, operation, cap }),
        5 => any::<Index>().prop_map(Op::Release),
        2 => any::<Index>().prop_map(Op::Renew),
        3 => prop_oneof![Just(0), 1..50_u64, 1..2_000_u64].prop_map(Op::Pass),
        2 => Just(Op::Reclaim),
    ]
}

fn runs(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(runs(512))]

    #[test]
    fn never_more_than_a_cap_are_running_unless_a_lease_ran_out(
        config in configs(),
        ops in prop::collection::vec(traffic(), 1..150),
    ) {
        let config = SlotsConfig { global: Some(config.global.unwrap_or(9)), ..config };
        let mut run = Run::new(config.clone());
        for op in ops {
            // An override of its own is somebody's wish to go above the cap.
            let op = match op {
                Op::Start { lane, operation, .. } => Op::Start { lane, operation, cap: None },
                op => op,
            };
            run.apply(&op)?;
            prop_assert!(run.model.running(|_| true) <= config.global.unwrap_or(u32::MAX));
            for lane in 0..LANES {
                let running = run.model.running(|held| held.lane == lane);
                prop_assert!(running <= config.per_key.unwrap_or(u32::MAX));
            }
            for (operation, cap) in config.per_operation.iter().enumerate() {
                let running = run.model.running(|held| held.operation as usize == operation);
                prop_assert!(running <= cap.unwrap_or(u32::MAX));
            }
        }
    }

    #[test]
    fn it_counts_as_a_list_of_all_that_is_held_would(
        config in configs(),
        ops in prop::collection::vec(
            prop_oneof![12 => traffic(), 1 => configs().prop_map(Op::Reconfigure)],
            1..250,
        ),
    ) {
        let mut run = Run::new(config);
        for op in ops {
            run.apply(&op)?;
        }
    }

    #[test]
    fn everything_comes_back_when_everybody_releases_or_forgets(
        config in configs(),
        ops in prop::collection::vec(
            prop_oneof![12 => traffic(), 1 => configs().prop_map(Op::Reconfigure)],
            1..150,
        ),
        forgets in any::<bool>(),
    ) {
        let mut run = Run::new(config);
        for op in ops {
            run.apply(&op)?;
        }
        let Run { mut slots, mut model } = run;
        model.now += 1_000;
        while forgets && slots.reclaim(at(model.now)).is_some() {}
        for (index, (lane, operation, leased)) in model.issued.iter().enumerate() {
            let number = index as u64 + 1;
            if *leased || model.held.contains_key(&number) {
                let released = slots.release(&Permit::new(number), *lane, *operation);
                prop_assert_eq!(released, model.held.contains_key(&number) && !(*leased && forgets));
            }
        }
        prop_assert_eq!(slots.in_flight(), 0);
        prop_assert!((0..LANES).all(|lane| slots.in_flight_of_lane(lane) == 0));
        prop_assert!((0..OPERATIONS).all(|operation| slots.in_flight_of_operation(operation) == 0));
        prop_assert_eq!(slots.poll_timeout(), None);
    }
}
