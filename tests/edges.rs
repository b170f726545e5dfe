//! Edges of single rooms, which a service meets once in a long while: very many retries, a clock beyond the wait, the
//! last tick of a window.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that panics fails, and that is what it is for")]

mod support;

use support::world::{Options, World};
use support::{REFUSED, at, ms};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::cooldown::Cooldown;
use tidegate::decision::{Decision, Permit};
use tidegate::limits::LimitsConfig;
use tidegate::queue::{Line, Terms, Waiter};
use tidegate::quota::{Policy, Window};
use tidegate::service::{Admission, Call, Config, Ending, Next, Service};
use tidegate::slots::SlotsConfig;
use tidegate::time::{Instant, Span};

// ---- The backoff ---------------------------------------------------------------------------------------------------

#[test]
fn a_pause_of_nothing_stays_nothing_after_any_number_of_retries() {
    let backoff = Backoff { initial: ms(0), max: ms(30_000), jitter: Jitter::None };
    for retry in [0, 1, 1_022, 1_023, 1_024, u32::MAX] {
        assert_eq!(backoff.delay(retry, None, 0.5), ms(0), "retry {retry}");
    }
}

// ---- The cooldown --------------------------------------------------------------------------------------------------

/// An alarm for what has passed goes off at once, and is set again at once.
#[test]
fn no_cooldown_asks_for_an_alarm_at_a_moment_that_has_come() {
    let held = |until| {
        let mut cooldown = Cooldown::new(ms(30_000));
        cooldown.restore(at(until), 1);
        cooldown
    };
    let holding = held(1_000);
    let mut barred = held(0);
    barred.bar(at(0), ms(1_000), 1);
    let mut releasing = held(0);
    assert_eq!(releasing.check(at(970)), Decision::Proceed);
    releasing.take(at(970), &Permit::new(2));

    for (cooldown, due) in [(holding, 1_000), (barred, 1_000), (releasing, 30_970)] {
        assert_eq!(cooldown.poll_timeout(at(due - 1)), Some(at(due)), "{cooldown:?}");
        assert_eq!(cooldown.poll_timeout(at(due)), None, "{cooldown:?}");
        assert_eq!(cooldown.poll_timeout(at(due + 1)), None, "{cooldown:?}");
        assert_eq!(cooldown.check(at(due)), Decision::Proceed, "{cooldown:?}");
    }
}

// ---- The queue -----------------------------------------------------------------------------------------------------

/// A name is used again after its bearer left: the lower one is not the earlier.
#[test]
fn equals_that_slept_go_and_run_out_of_time_in_the_order_they_came_whatever_they_are_called() {
    let (arrival, deadline) = (at(0), Some(at(900)));
    let waiter = Waiter { arrival, priority: 0, since: arrival, deadline, group: 0, terms: Terms::NONE };
    let mut line = Line::new();
    for gone in [line.stand(waiter), line.stand(waiter)] {
        line.leave(gone);
    }
    let [first, second] = [0; 2].map(|_| line.sleep(waiter, at(500)));
    assert!(first > second, "names are given anew");

    assert_eq!(line.out_of_time(at(900)), Some(first));
    line.wake(at(500));
    assert_eq!(line.front(), Some(first));
    line.leave(first);
    assert_eq!(line.front(), Some(second));
    assert_eq!(line.out_of_time(at(900)), Some(second));
}

// ---- The service ---------------------------------------------------------------------------------------------------

const CALL: Call = Call { arrival: Instant::ZERO, deadline: None, priority: 0, group: 0, terms: Terms::NONE };

fn begun(service: &mut Service) -> Permit {
    match service.begin(at(0), &CALL) {
        Admission::Go(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn refused(permit: Permit, retries: u32, initial_delay: Option<Span>) -> Ending {
    Ending {
        permit,
        started: at(0),
        verdict: REFUSED,
        online: true,
        retries,
        max_retries: 20,
        previous_delay: None,
        idempotent: false,
        initial_delay,
        keeps_slot: false,
    }
}

/// Attempts may share the latest permit, until something is wrong.
#[test]
fn only_the_latest_permit_of_a_service_without_trouble_is_calm() {
    let mut service = Service::new(Config::default(), 0);
    let first = begun(&mut service);
    assert!(service.is_calm(&first));
    let second = begun(&mut service);
    assert!(!service.is_calm(&first));
    assert!(service.is_calm(&second));
    service.end(at(0), &refused(first, 0, None), &CALL, Some(0.0));
    assert!(!service.is_calm(&second), "a cooldown holds, and somebody waits");
}

#[test]
fn a_call_may_have_a_first_pause_of_its_own_beyond_the_longest_too() {
    for (own, retries, expected) in [
        (None, 0, 100),
        (Some(250), 0, 250),
        (Some(250), 2, 1_000),
        (Some(250), 9, 10_000),
        (Some(0), 3, 0),
        (Some(60_000), 0, 60_000),
        (Some(60_000), 3, 60_000),
    ] {
        let mut service = Service::new(Config::default(), 0);
        let ending = refused(begun(&mut service), retries, own.map(ms));
        let next = service.end(at(0), &ending, &CALL, Some(0.0));
        assert!(
            matches!(next, Next::Retry { delay, until, .. } if delay == ms(expected) && until == at(expected)),
            "{own:?}, retry {retries}: {next:?}"
        );
    }
}

#[test]
fn the_next_leave_is_that_of_an_ordinary_call_of_the_lane() {
    let windows = vec![Window { limit: 1, length: ms(1_000) }];
    let policies = vec![Policy { windows, ..Policy::default() }];
    let mut world = World::limited(LimitsConfig { policies, ..LimitsConfig::default() });
    let (limited, free) = (world.lane(0, &[0]), world.lane(0, &[]));
    let next_leave = |world: &World, lane| world.service.next_leave(at(400), lane);
    assert_eq!(next_leave(&world, limited), Some(at(400)));

    let terms = Terms { lane: limited, weight: 1, ..Terms::NONE };
    world.begin_with("call", Options { terms, ..Options::default() });
    assert_eq!(next_leave(&world, limited), Some(at(1_000)));
    assert_eq!(next_leave(&world, free), Some(at(400)));
}

fn with_one_slot(lease: Option<Span>) -> (Service, Call) {
    let slots = SlotsConfig { global: Some(1), lease, ..SlotsConfig::default() };
    let limits = LimitsConfig { slots, max_queue: 1, ..LimitsConfig::default() };
    let mut service = Service::limited(Config::default(), limits, 0);
    let lane = service.lane(at(0), 0).expect("room for a lane");
    (service, Call { terms: Terms { lane, weight: 1, ..Terms::NONE }, ..CALL })
}

#[test]
fn a_lease_is_renewed_through_the_service_until_it_has_run_out() {
    let (mut service, call) = with_one_slot(Some(ms(1_000)));
    let Admission::Go(permit) = service.begin(at(0), &call) else { panic!("nobody is before it") };
    assert_eq!(service.renew(at(600), &permit), Some(at(1_600)));
    assert_eq!(service.renew(at(1_600), &permit), None);
}

/// A host that does not ask by itself is told to ask.
#[test]
fn whoever_waits_for_a_slot_that_came_free_may_be_asked_at_once() {
    let (mut service, call) = with_one_slot(None);
    let Admission::Go(permit) = service.begin(at(0), &call) else { panic!("nobody is before it") };
    assert!(matches!(service.begin(at(0), &call), Admission::Wait { until: None, .. }));
    assert_eq!(service.poll_timeout(at(10)), None, "nothing comes by the passing of time");
    service.succeed(at(10), &permit, at(0), call.group, call.terms.lane);
    assert_eq!(service.poll_timeout(at(10)), Some(at(10)));
}
