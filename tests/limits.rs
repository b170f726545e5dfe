//! Limits of a service in virtual time: slots, quotas and the line as one admission step.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use support::world::{Event, Options, What, World, word_for};
use support::{REFUSED, at, ms, refused_for};
use tidegate::decision::{Reason, Transition, Verdict};
use tidegate::limits::LimitsConfig;
use tidegate::queue::{Rest, Terms};
use tidegate::quota::{Policy, Window};
use tidegate::service::{Admission, Call};
use tidegate::slots::SlotsConfig;

fn window(limit: u32, length_ms: u64) -> Window {
    Window { limit, length: ms(length_ms) }
}

fn windows(windows: &[Window]) -> Policy {
    Policy { windows: windows.to_vec(), ..Policy::default() }
}

fn interval(interval_ms: u64) -> Policy {
    Policy { interval: ms(interval_ms), ..Policy::default() }
}

fn quotas(policies: Vec<Policy>) -> LimitsConfig {
    LimitsConfig { policies, ..LimitsConfig::default() }
}

fn slots(global: u32) -> LimitsConfig {
    LimitsConfig {
        slots: SlotsConfig { global: Some(global), ..SlotsConfig::default() },
        ..LimitsConfig::default()
    }
}

fn in_lane(lane: u32) -> Options {
    Options { terms: Terms { lane, weight: 1, ..Terms::NONE }, ..Options::default() }
}

fn attempts(world: &mut World) -> Vec<(u64, String)> {
    let started = |Event { at, what }: Event| match what {
        What::Attempt { who, .. } => Some((at, who)),
        _ => None,
    };
    world.news().into_iter().filter_map(started).collect()
}

fn starts(world: &mut World) -> Vec<u64> {
    attempts(world).into_iter().map(|(at, _)| at).collect()
}

#[test]
fn a_call_that_waits_for_a_quota_holds_no_slot() {
    let mut world = World::limited(LimitsConfig { policies: vec![windows(&[window(1, 1_000)])], ..slots(1) });
    let voice = world.lane(0, &[0]);
    let sms = world.lane(1, &[]);
    world.begin_with("first call", in_lane(voice)).end("first call", Verdict::Success);
    world.begin_with("second call", in_lane(voice)).begin_with("message", in_lane(sms));
    assert_eq!(world.attempting(), ["message"], "the slot is free, and the message needs no other");
    world.until(1_000);
    assert_eq!(world.waiting(), ["second call"], "and now it is taken");
    world.until(1_500).end("message", Verdict::Success);
    assert_eq!(world.attempting(), ["second call"]);
}

#[test]
fn what_one_waits_for_with_a_quota_in_hand_is_not_taken_before_all_is_there() {
    let limits = LimitsConfig { policies: vec![windows(&[window(1, 10_000)])], ..slots(1) };
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[0]), world.lane(0, &[0]));
    world.begin_with("busy", in_lane(one)).begin_with("waits", in_lane(other));
    assert_eq!(
        world
            .service
            .limits()
            .quotas_of(other)
            .map(|(quota, policy)| quota.used(at(0), 0, policy))
            .sum::<u32>(),
        0
    );
    world.cancel("waits").end("busy", Verdict::Success).begin_with("next", in_lane(other));
    assert_eq!(world.attempting(), ["next"], "who gave up while waiting for a slot has spent nothing");
}

#[test]
fn nobody_overtakes_in_a_lane_not_even_with_a_looser_limit() {
    let mut world = World::limited(quotas(vec![windows(&[window(2, 1_000)])]));
    let lane = world.lane(0, &[0]);
    let looser = Options {
        terms: Terms { lane, weight: 1, limit: 10, length: ms(1_000), ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(lane)).begin_with("b", in_lane(lane));
    world.begin_with("c", in_lane(lane)).begin_with("d", looser);
    assert_eq!(world.waiting(), ["c", "d"]);
    world.until(1_000);
    assert_eq!(world.attempting(), ["a", "b", "c", "d"]);
    let order: Vec<String> = attempts(&mut world).into_iter().map(|(_, who)| who).collect();
    assert_eq!(order, ["a", "b", "c", "d"]);
}

#[test]
fn overrides_use_the_same_counters_with_other_limits() {
    let mut world = World::limited(quotas(vec![windows(&[window(5, 1_000)])]));
    let lane = world.lane(0, &[0]);
    let tighter = Options {
        terms: Terms { lane, weight: 1, limit: 2, length: ms(500), ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(lane)).begin_with("b", tighter).begin_with("c", tighter);
    assert_eq!(world.attempting(), ["a", "b"], "the first one counts for the third");
    world.until(499);
    assert_eq!(world.waiting(), ["c"]);
    world.until(500);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn an_override_of_the_concurrency_counts_all_of_the_operation() {
    let mut world = World::limited(slots(10));
    let (one, other) = (world.lane(0, &[]), world.lane(0, &[]));
    let few = Options {
        terms: Terms { lane: other, weight: 1, concurrency: 2, ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(one)).begin_with("b", in_lane(one)).begin_with("c", few);
    assert_eq!(world.waiting(), ["c"]);
    world.begin_with("d", in_lane(one));
    assert_eq!(world.waiting(), ["c", "d"], "d needs the operation's slots too and came later");
    world.end("a", Verdict::Success);
    assert_eq!(world.waiting(), [""; 0], "c goes, and then d, which needs no more than is free");
}

#[test]
fn a_shared_quota_is_claimed_by_who_waits_first() {
    let mut world = World::limited(quotas(vec![windows(&[window(3, 1_000)]), windows(&[window(9, 1_000)])]));
    // Two sessions of one agent: the agent's quota is needed by both lanes.
    let first = world.lane(0, &[0, 1]);
    let second = world.lane(0, &[]);
    world.service.limits_mut().need(second, 0);
    let heavy = Options { terms: Terms { lane: first, weight: 3, ..Terms::NONE }, ..Options::default() };
    world.begin_with("one unit", in_lane(second)).begin_with("heavy", heavy);
    assert_eq!(world.waiting(), ["heavy"], "three of three are never free beside one");
    world.until(400).begin_with("light", in_lane(second));
    assert_eq!(world.waiting(), ["heavy", "light"], "else light ones would keep the heavy one out for ever");
    world.until(1_000);
    assert_eq!(world.waiting(), ["light"]);
    world.until(2_000);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn who_leaves_gives_up_its_claim_at_once() {
    let mut world = World::limited(quotas(vec![windows(&[window(3, 1_000)])]));
    let (first, second) = (world.lane(0, &[0]), world.lane(0, &[]));
    world.service.limits_mut().need(second, 0);
    let heavy = Options { terms: Terms { lane: first, weight: 3, ..Terms::NONE }, ..Options::default() };
    world.begin_with("one unit", in_lane(second)).begin_with("heavy", heavy);
    world.until(400).begin_with("light", in_lane(second)).until(500).cancel("heavy");
    assert_eq!(world.attempting(), ["light", "one unit"]);
}

#[test]
fn global_slots_are_handed_on_in_the_order_of_the_line_over_all_lanes() {
    let mut world = World::limited(slots(1));
    let lanes: Vec<u32> = (0..3).map(|operation| world.lane(operation, &[])).collect();
    world.begin_with("busy", in_lane(lanes[0]));
    for (index, who) in ["a", "b", "c", "d"].into_iter().enumerate() {
        world.until(index as u64 + 1).begin_with(who, in_lane(lanes[index % 3]));
    }
    for who in ["busy", "a", "b", "c", "d"] {
        world.end(who, Verdict::Success);
    }
    let order: Vec<String> = attempts(&mut world).into_iter().map(|(_, who)| who).collect();
    assert_eq!(order, ["busy", "a", "b", "c", "d"]);
}

#[test]
fn a_full_key_lets_the_other_keys_pass() {
    let mut limits = slots(10);
    limits.slots.per_key = Some(1);
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[]), world.lane(0, &[]));
    world.begin_with("a", in_lane(one)).begin_with("b", in_lane(one)).begin_with("c", in_lane(other));
    assert_eq!(world.attempting(), ["a", "c"]);
    world.end("c", Verdict::Success);
    assert_eq!(world.waiting(), ["b"], "another key's slot is no use to it");
    world.end("a", Verdict::Success);
    assert_eq!(world.attempting(), ["b"]);
}

#[test]
fn an_operation_that_is_full_lets_the_other_operations_pass_and_wakes_one_at_a_time() {
    let mut limits = slots(10);
    limits.slots.per_operation = vec![Some(1), None];
    let mut world = World::limited(limits);
    let calls: Vec<u32> = (0..3).map(|_| world.lane(0, &[])).collect();
    let message = world.lane(1, &[]);
    for (index, who) in ["a", "b", "c"].into_iter().enumerate() {
        world.begin_with(who, in_lane(calls[index]));
    }
    world.begin_with("m", in_lane(message));
    assert_eq!(world.attempting(), ["a", "m"]);
    world.end("a", Verdict::Success);
    assert_eq!(world.attempting(), ["b", "m"]);
    world.cancel("b");
    assert_eq!(world.attempting(), ["c", "m"]);
}

#[test]
fn the_first_of_a_full_operation_that_gives_up_lets_the_next_one_be_asked() {
    let mut limits = slots(10);
    limits.slots.per_operation = vec![Some(2)];
    let mut world = World::limited(limits);
    let lanes: Vec<u32> = (0..4).map(|_| world.lane(0, &[])).collect();
    let alone = Options {
        terms: Terms { lane: lanes[2], weight: 1, concurrency: 1, ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(lanes[0])).begin_with("b", in_lane(lanes[1]));
    world.begin_with("wants to be alone", alone).begin_with("d", in_lane(lanes[3]));
    world.end("a", Verdict::Success);
    assert_eq!(world.waiting(), ["d", "wants to be alone"], "nobody overtakes");
    world.cancel("wants to be alone");
    assert_eq!(world.attempting(), ["b", "d"]);
}

#[test]
fn a_lease_that_runs_out_lets_the_next_one_go_and_the_late_release_harms_nobody() {
    let mut limits = slots(1);
    limits.slots.lease = Some(ms(600_000));
    let mut world = World::limited(limits);
    let lane = world.lane(0, &[]);
    world.begin_with("leaks", in_lane(lane)).begin_with("waits", in_lane(lane));
    world.begin_with("waits too", in_lane(lane));
    world.until(599_999);
    assert_eq!(world.waiting(), ["waits", "waits too"]);
    world.until(600_000);
    assert_eq!(world.waiting(), ["waits too"]);
    world.end("leaks", Verdict::Success);
    assert_eq!(world.waiting(), ["waits too"], "its slot is no longer its own");
    world.end("waits", Verdict::Success);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn set_to_reject_it_says_at_once_which_window_is_full_and_until_when() {
    let policy = windows(&[window(2, 1_000), window(3, 60_000)]);
    let mut world = World::limited(LimitsConfig { reject: true, ..quotas(vec![policy]) });
    let lane = world.lane(0, &[0]);
    world.begin_with("a", in_lane(lane)).begin_with("b", in_lane(lane)).begin_with("c", in_lane(lane));
    let rejection = world.rejection("c").expect("rejected");
    assert_eq!((rejection.reason, rejection.retry_after), (Reason::Quota, Some(ms(1_000))));
    assert_eq!(rejection.window, Some(window(2, 1_000)));
    world.until(1_000).begin_with("d", in_lane(lane)).begin_with("e", in_lane(lane));
    let rejection = world.rejection("e").expect("rejected");
    assert_eq!((rejection.retry_after, rejection.window), (Some(ms(59_000)), Some(window(3, 60_000))));
}

#[test]
fn calls_beyond_the_cap_are_refused_and_never_failed_otherwise() {
    let mut world = World::limited(LimitsConfig { reject: true, ..slots(3) });
    let lane = world.lane(0, &[]);
    for number in 0..10 {
        world.begin_with(&format!("call {number}"), in_lane(lane));
    }
    assert_eq!(world.attempting().len(), 3);
    for number in 3..10 {
        let rejection = world.rejection(&format!("call {number}")).expect("rejected");
        assert_eq!(rejection.reason, Reason::Slots);
    }
    world.end("call 0", Verdict::Success).begin_with("again", in_lane(lane));
    assert!(world.attempting().contains(&"again".to_owned()));
}

#[test]
fn more_than_a_window_holds_is_never_let_wait() {
    let mut world = World::limited(quotas(vec![windows(&[window(2, 1_000)])]));
    let lane = world.lane(0, &[0]);
    let heavy = Options { terms: Terms { lane, weight: 3, ..Terms::NONE }, ..Options::default() };
    world.begin_with("too heavy", heavy);
    let rejection = world.rejection("too heavy").expect("rejected");
    assert_eq!((rejection.reason, rejection.retry_after), (Reason::Quota, None));
}

#[test]
fn so_many_may_wait_and_a_retry_is_never_turned_away() {
    let mut world = World::limited(LimitsConfig { max_queue: 1, ..slots(1) });
    let lane = world.lane(0, &[]);
    world.begin_with("a", in_lane(lane)).begin_with("b", in_lane(lane)).begin_with("c", in_lane(lane));
    assert_eq!(world.rejection("c").map(|rejection| rejection.reason), Some(Reason::QueueFull));
    world.end("a", REFUSED);
    assert_eq!(world.waiting(), ["a", "b"], "it was accepted before: it waits, however many do");
    world.until(1_000).end("b", Verdict::Success).end("a", Verdict::Success);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn a_wait_that_does_not_fit_the_deadline_ends_at_once() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 1_000)])]));
    let lane = world.lane(0, &[0]);
    world.begin_with("a", in_lane(lane));
    world.begin_with("hurried", Options { deadline_ms: Some(900), ..in_lane(lane) });
    let rejection = world.rejection("hurried").expect("rejected");
    assert_eq!((rejection.reason, rejection.retry_after), (Reason::Deadline, Some(ms(1_000))));
    world.begin_with("b", in_lane(lane));
    world.begin_with("behind", Options { deadline_ms: Some(1_500), ..in_lane(lane) });
    world.until(1_000);
    let rejection = world.rejection("behind").expect("its turn would come at 2,000");
    assert_eq!((rejection.reason, rejection.retry_after), (Reason::Deadline, Some(ms(1_000))));
}

#[test]
fn a_refusal_holds_every_lane_and_a_quota_goes_on_counting_meanwhile() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 1_000)])]));
    let (limited, free) = (world.lane(0, &[0]), world.lane(1, &[]));
    world.begin_with("a", in_lane(limited)).end("a", refused_for(3_000));
    world.begin_with("b", in_lane(free));
    assert_eq!(world.waiting(), ["a", "b"]);
    world.until(2_999);
    assert_eq!(world.attempting(), [""; 0]);
    world.until(3_000);
    assert_eq!(world.attempting().len(), 1, "one goes alone after a cooldown");
}

#[test]
fn other_limits_are_in_force_at_once_for_those_who_wait() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 60_000)])]));
    let lane = world.lane(0, &[0]);
    for who in ["a", "b", "c", "d"] {
        world.begin_with(who, in_lane(lane));
    }
    assert_eq!(world.attempting(), ["a"]);
    world.until(10).service.limit(quotas(vec![windows(&[window(3, 60_000)])]));
    world.look_around();
    assert_eq!(world.attempting(), ["a", "b", "c"], "what was used stays used");
}

#[test]
fn the_minimum_interval_of_a_service_is_shared_by_its_operations() {
    let mut world = World::limited(quotas(vec![windows(&[window(9, 1_000)]), interval(2_000)]));
    let one = world.lane(0, &[0, 1]);
    let other = world.lane(1, &[0]);
    world.service.limits_mut().need(other, 1);
    for (index, who) in ["a", "b", "c", "d"].into_iter().enumerate() {
        world.begin_with(who, in_lane([one, other][index % 2]));
    }
    world.until(10_000);
    assert_eq!(starts(&mut world), [0, 2_000, 4_000, 6_000]);
}

#[test]
fn five_calls_a_second_apart_take_four_seconds_and_the_first_goes_at_once() {
    for policy in [interval(1_000), windows(&[window(1, 1_000)])] {
        let mut world = World::limited(quotas(vec![policy]));
        let lane = world.lane(0, &[0]);
        for who in ["a", "b", "c", "d", "e"] {
            world.begin_with(who, in_lane(lane));
        }
        world.until(60_000);
        assert_eq!(starts(&mut world), [0, 1_000, 2_000, 3_000, 4_000]);
    }
}

#[test]
fn eighty_percent_of_a_window_are_told_once() {
    let mut world = World::limited(quotas(vec![windows(&[window(5, 1_000)])]));
    let lane = world.lane(0, &[0]);
    for who in ["a", "b", "c", "d", "e"] {
        world.begin_with(who, in_lane(lane));
    }
    let warned: Vec<Transition> = world
        .news()
        .into_iter()
        .filter_map(|event| if let What::Changed(change) = event.what { Some(change) } else { None })
        .collect();
    assert_eq!(warned, [Transition::Warned { quota: 0, limit: 5, length: ms(1_000), used: 4 }]);
}

#[test]
fn a_key_is_forgotten_only_when_it_is_idle_and_a_new_one_is_refused_before() {
    let limits = LimitsConfig { max_keys: 2, ..quotas(vec![windows(&[window(1, 1_000)])]) };
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[0]), world.lane(0, &[0]));
    world.begin_with("a", in_lane(one)).end("a", Verdict::Success);
    world.until(500).begin_with("b", in_lane(other)).end("b", Verdict::Success);
    assert!(world.service.lane(at(500), 0).is_err_and(|after| after <= ms(1_000)), "both are remembered");
    assert_eq!(world.until(1_000).service.lane(at(1_000), 0), Ok(one));
    assert_eq!(world.service.limits_mut().freed(), Some(0));
    assert_eq!(world.service.limits_mut().freed(), None);
    assert!(world.service.lane(at(1_001), 0).is_ok(), "a lane that needs nothing is idle at once");
    world.begin_with("c", in_lane(other));
    world.until(3_000).begin_with("d", in_lane(other));
    assert_eq!(world.service.lane(at(3_000), 0), Ok(one), "in the other one somebody is under way");
}

#[test]
fn the_lane_of_one_who_sleeps_before_a_retry_is_not_given_to_another_key() {
    let mut world = World::limited(LimitsConfig { max_keys: 1, ..slots(5) });
    let lane = world.lane(0, &[]);
    world.begin_with("a", in_lane(lane)).end("a", REFUSED);
    assert_eq!(world.waiting(), ["a"]);
    assert!(world.service.lane(at(0), 0).is_err());
    world.until(5_000).end("a", Verdict::Success);
    assert_eq!(world.service.lane(at(5_000), 0), Ok(lane));
}

#[test]
fn a_day_of_sleep_lets_everybody_go_by_the_limits_that_hold_then() {
    let mut world = World::limited(quotas(vec![windows(&[window(2, 60_000)])]));
    let lane = world.lane(0, &[0]);
    for who in ["a", "b", "c", "d", "e"] {
        world.begin_with(who, in_lane(lane));
    }
    let day = 86_400_000;
    world.jump(day).look_around();
    assert_eq!(world.attempting(), ["a", "b", "c", "d"]);
    world.jump(day - 3_600_000).look_around();
    assert_eq!(world.waiting(), ["e"], "an hour back: what was taken stays taken");
    world.jump(day + 60_000).look_around();
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn who_waits_for_his_own_quota_does_not_keep_others_from_one_that_he_shares() {
    // A session that has made its calls for today, and the pause between any two calls of the service.
    let day = 86_400_000;
    let mut world = World::limited(quotas(vec![windows(&[window(1, day)]), interval(2_000)]));
    let (spent, fresh) = (world.lane(0, &[0, 1]), world.lane(0, &[0]));
    world.service.limits_mut().need(fresh, 1);
    world.begin_with("first", in_lane(spent)).begin_with("tomorrow", in_lane(spent));
    world.begin_with("other session", in_lane(fresh)).until(2_000);
    assert_eq!(world.waiting(), ["tomorrow"]);
}

#[test]
fn who_needs_no_units_is_not_behind_those_who_wait_for_some() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 1_000)])]));
    let (one, other) = (world.lane(0, &[0]), world.lane(0, &[]));
    world.service.limits_mut().need(other, 0);
    world.begin_with("a", in_lane(one)).begin_with("b", in_lane(one));
    let free = Options { terms: Terms { lane: other, ..Terms::NONE }, ..Options::default() };
    world.begin_with("free", free);
    assert_eq!(world.waiting(), ["b"]);
}

#[test]
fn equals_share_a_quota_in_the_order_they_came_whoever_claimed_it_first() {
    let mut limits = quotas(vec![windows(&[window(1, 1_000)])]);
    limits.slots.per_operation = vec![Some(1)];
    let mut world = World::limited(limits);
    let (busy, first, second) = (world.lane(0, &[]), world.lane(0, &[0]), world.lane(1, &[]));
    world.service.limits_mut().need(second, 0);
    world.begin_with("taker", in_lane(second)).begin_with("busy", in_lane(busy));
    world.begin_with("first", in_lane(first)).begin_with("second", in_lane(second));
    world.end("busy", Verdict::Success).until(1_000);
    assert_eq!(world.waiting(), ["second"], "they came in the same millisecond");
}

#[test]
fn a_full_line_turns_nobody_away_who_need_not_wait() {
    let mut world =
        World::limited(LimitsConfig { max_queue: 1, ..quotas(vec![windows(&[window(1, 60_000)])]) });
    let (full, free) = (world.lane(0, &[0]), world.lane(0, &[0]));
    world.begin_with("a", in_lane(full)).begin_with("b", in_lane(full)).begin_with("c", in_lane(free));
    assert_eq!(world.rejection("c"), None);
    assert_eq!(world.attempting(), ["a", "c"]);
    world.begin_with("d", in_lane(free));
    assert_eq!(world.rejection("d").map(|rejection| rejection.reason), Some(Reason::QueueFull));
}

#[test]
fn a_full_line_turns_away_who_would_stand_behind_others() {
    let mut limits = LimitsConfig { max_queue: 1, ..slots(10) };
    limits.slots.per_operation = vec![Some(2)];
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[]), world.lane(0, &[]));
    let alone = Options {
        terms: Terms { lane: one, weight: 1, concurrency: 1, ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(one)).begin_with("alone", alone).begin_with("b", in_lane(other));
    assert_eq!(world.rejection("b").map(|rejection| rejection.reason), Some(Reason::QueueFull));
    assert_eq!(world.waiting(), ["alone"]);
    world.end("a", Verdict::Success);
    assert_eq!(world.attempting(), ["alone"]);
}

/// What an attempt that waits for nothing is told; one that may start goes under way.
fn tried(world: &mut World, lane: u32) -> Result<(), Reason> {
    let arrival = at(world.now());
    let terms = Terms { lane, weight: 1, ..Terms::NONE };
    let call = Call { arrival, deadline: None, priority: 0, group: 0, terms };
    match world.service.attempt(arrival, &call) {
        Admission::Go(_) => Ok(()),
        Admission::Reject(rejection) => Err(rejection.reason),
        Admission::Wait { .. } => panic!("it waits for nothing"),
    }
}

#[test]
fn an_attempt_that_does_not_wait_overtakes_nobody_whose_alarm_is_late() {
    let mut limits = slots(1);
    limits.slots.lease = Some(ms(1_000));
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[]), world.lane(1, &[]));
    world.begin_with("leaks", in_lane(one)).begin_with("waits", in_lane(one)).jump(1_000);
    assert_eq!(tried(&mut world, other), Err(Reason::Queue));
    world.look_around();
    assert_eq!(world.waiting(), [""; 0]);

    let mut world = World::limited(quotas(vec![windows(&[window(1, 1_000)])]));
    let (one, other) = (world.lane(0, &[0]), world.lane(1, &[]));
    world.service.limits_mut().need(other, 0);
    world.begin_with("a", in_lane(one)).begin_with("b", in_lane(one)).jump(1_000);
    assert_eq!(tried(&mut world, other), Err(Reason::Quota));
    world.look_around();
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn an_attempt_that_does_not_wait_overtakes_nobody_of_its_operation() {
    let mut limits = slots(10);
    limits.slots.per_operation = vec![Some(2)];
    let mut world = World::limited(limits);
    let (one, other) = (world.lane(0, &[]), world.lane(0, &[]));
    let alone = Options {
        terms: Terms { lane: one, weight: 1, concurrency: 1, ..Terms::NONE },
        ..Options::default()
    };
    world.begin_with("a", in_lane(one)).begin_with("alone", alone);
    assert_eq!(tried(&mut world, other), Err(Reason::Slots));
    world.cancel("alone");
    assert_eq!(tried(&mut world, other), Ok(()));
}

#[test]
fn a_key_whose_lease_has_run_out_makes_room_for_a_new_one() {
    let mut limits = LimitsConfig { max_keys: 1, ..slots(1) };
    limits.slots.lease = Some(ms(1_000));
    let mut world = World::limited(limits);
    let lane = world.lane(0, &[]);
    world.begin_with("leaks", in_lane(lane));
    assert!(world.service.lane(at(0), 0).is_err());
    assert_eq!(
        world.until(1_000).service.lane(at(1_000), 0),
        Ok(lane),
        "there may be nobody else who asks first"
    );
}

#[test]
fn a_cooldown_ends_though_somebody_waits_for_something_else() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 60_000)])]));
    let (spent, free) = (world.lane(0, &[0]), world.lane(1, &[]));
    world.begin_with("a", in_lane(spent)).begin_with("b", in_lane(spent));
    world.begin_with("c", in_lane(free)).end("c", refused_for(1_000)).until(1_000);
    world.so_far_so_good().end("c", Verdict::Success);
    assert_eq!(world.waiting(), ["b"]);
    assert!(world.story().contains(&"1000 cooldown over".to_owned()));
}

#[test]
fn a_policy_that_was_gone_counts_anew_when_it_is_back() {
    let mut world = World::limited(quotas(vec![windows(&[window(2, 60_000)])]));
    let lane = world.lane(0, &[0]);
    world.begin_with("a", in_lane(lane)).begin_with("b", in_lane(lane)).begin_with("c", in_lane(lane));
    world.service.limit(quotas(Vec::new()));
    world.look_around();
    assert_eq!(world.waiting(), [""; 0], "nothing is left to wait for");
    world.service.limit(quotas(vec![windows(&[window(1, 1_000), window(9, 60_000)])]));
    world.until(10).begin_with("d", in_lane(lane));
    assert_eq!(world.waiting(), [""; 0], "what was counted in a minute is not taken for a second's");
}

#[test]
fn who_gives_units_back_lets_those_of_other_lanes_go() {
    let mut world = World::limited(quotas(vec![windows(&[window(1, 1_000)])]));
    let (one, other) = (world.lane(0, &[0]), world.lane(0, &[]));
    world.service.limits_mut().need(other, 0);
    world.begin_with("a", in_lane(one)).begin_with("b", in_lane(other)).begin_with("c", in_lane(one));
    world.until(10).service.give_back(one, at(0), 1);
    world.look_around();
    assert_eq!(world.attempting(), ["a", "b"]);
    world.service.clear(Some(one));
    world.look_around();
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn a_better_one_that_takes_over_a_claim_keeps_nobody_waiting_longer_than_it_waits() {
    let mut world = World::limited(quotas(vec![windows(&[window(3, 1_000)])]));
    let lanes = [world.lane(0, &[0]), world.lane(0, &[]), world.lane(0, &[])];
    lanes[1..].iter().for_each(|&lane| world.service.limits_mut().need(lane, 0));
    let weighing = |lane, weight, priority| Options {
        terms: Terms { lane, weight, ..Terms::NONE },
        priority,
        ..Options::default()
    };
    world.begin_with("one", weighing(lanes[0], 1, 0)).until(500).begin_with("two", weighing(lanes[0], 2, 0));
    world.begin_with("all", weighing(lanes[1], 3, 0)).begin_with("urgent", weighing(lanes[2], 1, 1));
    world.until(510).begin_with("light", weighing(lanes[0], 1, 0));
    assert_eq!(world.waiting(), ["all", "light", "urgent"]);
    world.cancel("urgent").cancel("all");
    assert_eq!(world.waiting(), ["light"]);
    world.until(1_000);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn who_comes_to_wait_for_a_slot_instead_lets_others_have_the_quota() {
    let mut limits = quotas(vec![windows(&[window(1, 1_000)])]);
    limits.slots.per_operation = vec![None, Some(1)];
    let mut world = World::limited(limits);
    let (free, capped, busy) = (world.lane(0, &[0]), world.lane(1, &[]), world.lane(1, &[]));
    world.service.limits_mut().need(capped, 0);
    world.begin_with("taker", in_lane(free)).begin_with("first", in_lane(capped));
    world.begin_with("busy", in_lane(busy)).begin_with("second", in_lane(free));
    assert_eq!(world.waiting(), ["first", "second"]);
    world.until(1_000);
    assert_eq!(world.waiting(), ["first"], "it has no slot now, and waits for that");
    world.end("busy", Verdict::Success).until(2_000);
    assert_eq!(world.waiting(), [""; 0]);
}

#[test]
fn ten_thousand_keys_that_share_an_interval_go_one_by_one_and_only_the_next_is_asked() {
    let mut world = World::limited(quotas(vec![interval(10)]));
    let first = world.lane(0, &[0]);
    let lanes: Vec<u32> = (1..10_000).map(|_| world.lane(0, &[])).collect();
    for &lane in &lanes {
        world.service.limits_mut().need(lane, 0);
    }
    let call = |lane| {
        let terms = Terms { lane, weight: 1, ..Terms::NONE };
        Call { arrival: at(0), deadline: None, priority: 0, group: 0, terms }
    };
    assert!(matches!(world.service.begin(at(0), &call(first)), Admission::Go(_)));
    for &lane in &lanes {
        assert!(matches!(world.service.begin(at(0), &call(lane)), Admission::Wait { .. }));
    }
    for (&lane, now) in lanes.iter().zip((1..).map(|number| at(number * 10))) {
        assert_eq!(world.service.poll_timeout(at(0)), Some(now));
        assert!(matches!(world.service.poll(now), Some((_, Admission::Go(_)))));
        assert_eq!(world.service.poll(now), None);
        assert_eq!(world.service.line().rest_of(lane), Rest::Empty);
        let asleep = lanes
            .iter()
            .filter(|&&lane| world.service.line().rest_of(lane) == Rest::Asleep(now.plus(ms(10))));
        if now < at(100) {
            assert_eq!(asleep.count(), 1);
        }
    }
}

// ---- Golden cases: tests/js/limits.vectors.test.ts runs the same ----------------------------------------------------

#[test]
fn golden_cases() {
    let golden: Value = serde_json::from_str(include_str!("vectors/limits.json")).expect("JSON");
    for case in golden["cases"].as_array().expect("cases") {
        let story: Vec<String> =
            case["story"].as_array().expect("story").iter().map(|line| text(line).to_owned()).collect();
        assert_eq!(told(case), story, "{}", text(&case["name"]));
    }
}

/// What happens in a golden case.
fn told(case: &Value) -> Vec<String> {
    let mut world = World::limited(plan(&case["limits"]));
    let mut quotas: BTreeMap<(u32, String), u32> = BTreeMap::new();
    let mut lanes = Vec::new();
    for lane in case["lanes"].as_array().expect("lanes") {
        let number = world.lane(whole(&lane["operation"]), &[]);
        for need in lane["needs"].as_array().expect("needs") {
            let limits = world.service.limits_mut();
            let key = (whole(&need[0]), text(&need[1]).to_owned());
            let quota = *quotas.entry(key.clone()).or_insert_with(|| limits.quota(key.0));
            limits.need(number, quota);
        }
        lanes.push(number);
    }
    for step in case["steps"].as_array().expect("steps") {
        world.until(step["at"].as_u64().expect("at"));
        if let Some(who) = step["begin"].as_str() {
            let terms = Terms {
                lane: lanes[whole(&step["lane"]) as usize],
                weight: step["weight"].as_u64().map_or(1, |weight| weight as u32),
                limit: whole(&step["limit"]),
                length: ms(u64::from(whole(&step["windowMs"]))),
                ..Terms::NONE
            };
            let deadline_ms = step["deadlineMs"].as_u64();
            let priority = step["priority"].as_i64().map_or(0, |priority| priority as i32);
            world.begin_with(who, Options { terms, deadline_ms, priority, ..Options::default() });
        } else if let Some(who) = step["end"].as_str() {
            world.end(who, Verdict::Success);
        } else {
            world.cancel(text(&step["cancel"]));
        }
    }
    world.until(case["until"].as_u64().expect("until"));
    world.news().into_iter().filter_map(|Event { at, what }| line(at, what)).collect()
}

fn line(at: u64, what: What) -> Option<String> {
    match what {
        What::Attempt { who, .. } => Some(format!("{at} {who} starts")),
        What::Rejected { who, rejection } => {
            let full = rejection.window.map(|full| format!(" {} per {}", full.limit, full.length.as_ms()));
            let again = rejection.retry_after.map(|after| format!(", again in {}", after.as_ms()));
            let code = word_for(rejection.reason);
            Some(format!("{at} {who} {code}{}{}", full.unwrap_or_default(), again.unwrap_or_default()))
        }
        _ => None,
    }
}

fn plan(given: &Value) -> LimitsConfig {
    let default = LimitsConfig::default();
    let cap = |value: &Value| value.as_u64().map(|cap| cap as u32);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    LimitsConfig {
        policies: list(&given["policies"])
            .iter()
            .map(|policy| Policy {
                windows: list(&policy["windows"])
                    .iter()
                    .map(|each| window(whole(&each["limit"]), u64::from(whole(&each["lengthMs"]))))
                    .collect(),
                interval: ms(u64::from(whole(&policy["intervalMs"]))),
                smooth: policy["smooth"] == true,
            })
            .collect(),
        slots: SlotsConfig {
            global: cap(&given["concurrency"]),
            per_key: cap(&given["concurrencyPerKey"]),
            per_operation: list(&given["concurrencyPerOperation"]).iter().map(cap).collect(),
            lease: given["leaseMs"].as_u64().map(ms),
        },
        max_queue: cap(&given["maxQueue"]).unwrap_or(default.max_queue),
        reject: given["reject"] == true,
        max_keys: default.max_keys,
    }
}

/// 0 where there is none.
fn whole(value: &Value) -> u32 {
    value.as_u64().map_or(0, |number| number as u32)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

// ---- Whatever happens -------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Op {
    Begin { lane: Index, priority: i32, weight: u32, deadline_ms: Option<u64>, concurrency: u32 },
    End { which: Index, verdict: Verdict },
    Cancel { which: Index },
    Pass { ms: u64 },
    Relimit { limit: u32, global: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let verdict = prop_oneof![5 => Just(Verdict::Success), 1 => Just(REFUSED), 1 => Just(Verdict::Permanent)];
    prop_oneof![
        6 => (any::<Index>(), -1..2_i32, 0..3_u32, proptest::option::weighted(0.2, 1..5_000_u64), 0..3_u32)
            .prop_map(|(lane, priority, weight, deadline_ms, concurrency)| Op::Begin { lane, priority, weight, deadline_ms, concurrency }),
        5 => (any::<Index>(), verdict).prop_map(|(which, verdict)| Op::End { which, verdict }),
        1 => any::<Index>().prop_map(|which| Op::Cancel { which }),
        4 => (0..1_500_u64).prop_map(|ms| Op::Pass { ms }),
        1 => (2..6_u32, 1..4_u32).prop_map(|(limit, global)| Op::Relimit { limit, global }),
    ]
}

fn config(limit: u32, global: u32) -> LimitsConfig {
    LimitsConfig {
        policies: vec![windows(&[window(limit, 1_000)]), windows(&[window(3 * limit, 5_000)]), interval(50)],
        slots: SlotsConfig {
            global: Some(global),
            per_key: Some(2),
            per_operation: vec![None, Some(2)],
            lease: Some(ms(20_000)),
        },
        ..LimitsConfig::default()
    }
}

/// Four lanes of two operations; two share a quota, all share the interval.
fn lanes(world: &mut World) -> Vec<u32> {
    let lanes = vec![world.lane(0, &[0, 2]), world.lane(0, &[1]), world.lane(1, &[0]), world.lane(1, &[])];
    for (lane, quota) in [(1, 0), (1, 1), (2, 1), (3, 1)] {
        world.service.limits_mut().need(lanes[lane], quota);
    }
    lanes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn everybody_goes_or_is_told_no_and_no_cap_is_ever_exceeded(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::limited(config(3, 2));
        let lanes = lanes(&mut world);
        let mut lane_of: BTreeMap<String, u32> = BTreeMap::new();
        let mut begun = 0;
        for op in ops {
            match op {
                Op::Begin { lane, priority, weight, deadline_ms, concurrency } => {
                    let lane = *lane.get(&lanes);
                    begun += 1;
                    let terms = Terms { lane, weight, concurrency, ..Terms::NONE };
                    let who = format!("{begun:04}");
                    lane_of.insert(who.clone(), lane);
                    world.begin_with(&who, Options { priority, deadline_ms, terms, ..Options::default() });
                }
                Op::End { which, verdict } => {
                    let attempting = world.attempting();
                    if !attempting.is_empty() {
                        world.end(which.get(&attempting).as_str(), verdict);
                    }
                }
                Op::Cancel { which } => {
                    let waiting = world.waiting();
                    if !waiting.is_empty() {
                        world.cancel(which.get(&waiting).as_str());
                    }
                }
                Op::Pass { ms } => { let now = world.now(); world.until(now + ms); }
                Op::Relimit { limit, global } => { world.service.limit(config(limit, global)); world.look_around(); }
            }
            let attempting = world.attempting();
            prop_assert!(attempting.len() <= 3);
            for lane in &lanes {
                prop_assert!(attempting.iter().filter(|who| lane_of[*who] == *lane).count() <= 2);
            }
        }
        // From here on every attempt succeeds after a while: nobody may be left standing.
        for _ in 0..400 {
            let attempting: VecDeque<String> = world.attempting().into();
            if attempting.is_empty() && world.waiting().is_empty() {
                break;
            }
            let now = world.now();
            for who in attempting {
                world.end(&who, Verdict::Success);
            }
            world.until(now + 500);
        }
        prop_assert_eq!(world.waiting(), Vec::<String>::new(), "somebody was forgotten");
        prop_assert_eq!(world.service.limits().slots().in_flight(), 0);
    }
}
