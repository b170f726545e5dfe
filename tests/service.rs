//! What a service promises, in virtual time: one section per row of the configuration table, then the paragraphs
//! about parallel callers, the line, the circuit and what is counted.
//!
//! A story has one line per event: milliseconds, who, what. Without a word about jitter every draw is 0.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::collections::VecDeque;

use support::load::Load;
use support::server::{FixedWindow, Headers, Server, TokenBucket};
use support::world::{Options, World};
use support::{LOST, REFUSED, REFUSED_ALONE, UNWELL, ms, refused_for, vectors};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::budget::BudgetConfig;
use tidegate::circuit::Trip;
use tidegate::decision::{Phase, Reason, Verdict};
use tidegate::record::rejection_index;
use tidegate::service::{Config, RetryTransient};
use tidegate::time::Span;

/// Retries and nothing else: no budget, no cooldown, a circuit that never opens. Each test adds what it is about.
fn retries_only() -> Config {
    Config { retry_budget: None, shared_cooldown: false, circuit_threshold: 1_000_000, ..Config::default() }
}

fn with_cooldown() -> Config {
    Config { shared_cooldown: true, ..retries_only() }
}

fn with_circuit(threshold: u32) -> Config {
    Config { circuit_threshold: threshold, max_retries: 0, ..retries_only() }
}

/// An open circuit at 0 ms.
fn opened(config: Config) -> World {
    let mut world = World::new(config);
    while world.phase() != Phase::Open {
        world.begin("opener").end("opener", REFUSED);
    }
    world.so_far_so_good();
    world
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c{n:02}")).collect()
}

fn begin_all(world: &mut World, callers: &[String]) {
    for who in callers {
        world.begin(who);
    }
}

fn end_all(world: &mut World, callers: &[String], verdict: Verdict) {
    for who in callers {
        world.end(who, verdict);
    }
}

// ---- The configuration table -----------------------------------------------------------------------------------

#[test]
fn the_defaults_are_those_of_the_public_interface() {
    let promised = Config {
        trip: Trip::Events,
        max_retries: 3,
        backoff: Backoff { initial: ms(100), max: ms(10_000), jitter: Jitter::Proportional { factor: 0.2 } },
        respect_retry_after: true,
        max_retry_after: ms(60_000),
        circuit_threshold: 5,
        circuit_reset: ms(60_000),
        half_open_probes: 1,
        probe_timeout: ms(30_000),
        retry_transient: RetryTransient::Never,
        retry_budget: Some(BudgetConfig { ratio: 0.2, min_per_second: 5.0, window: ms(10_000) }),
        shared_cooldown: true,
    };
    assert_eq!(Config::default(), promised);
}

#[test]
fn max_retries_n_is_up_to_n_plus_one_attempts() {
    for (configured, of_this_call, attempts) in
        [(0, None, 1), (1, None, 2), (3, None, 4), (1_000, None, 1_001), (3, Some(0), 1), (0, Some(2), 3)]
    {
        let mut world = World::new(Config { max_retries: configured, ..retries_only() });
        world.begin_with("a", Options { max_retries: of_this_call, ..Options::default() });
        let mut made = 0;
        while world.rejection("a").is_none() {
            made += 1;
            world.end("a", REFUSED);
            world.until(world.now() + 10_000);
        }
        assert_eq!(made, attempts, "maxRetries {configured}, of the call {of_this_call:?}");
        assert_eq!(world.rejection("a").map(|rejection| rejection.reason), Some(Reason::MaxRetries));
    }
}

#[test]
fn a_retry_that_succeeds_ends_the_call() {
    let mut world = World::new(retries_only());
    world
        .begin("a")
        .until(20)
        .end("a", REFUSED)
        .until(120)
        .end("a", REFUSED)
        .until(320)
        .end("a", Verdict::Success);
    let told = [
        "0 a attempt 1",
        "20 a waits for backoff until 120",
        "120 a attempt 2",
        "120 a waits for backoff until 320",
    ];
    assert_eq!(world.story(), [&told[..], &["320 a attempt 3", "320 a done"]].concat());
    assert!(!world.service.has_waiters());
}

#[test]
fn the_pause_doubles_from_initial_delay_to_max_delay() {
    for (initial, max, draw, jitter, pauses) in [
        (100, 10_000, 0.0, Jitter::Proportional { factor: 0.2 }, [100, 200, 400, 800, 1_600]),
        (100, 10_000, 0.5, Jitter::Proportional { factor: 0.2 }, [110, 220, 440, 880, 1_760]),
        (100, 350, 0.5, Jitter::Proportional { factor: 1.0 }, [150, 300, 525, 525, 525]),
        (100, 400, 0.5, Jitter::Full, [50, 100, 200, 200, 200]),
        (100, 400, 0.5, Jitter::Equal, [75, 150, 300, 300, 300]),
        (100, 400, 0.9, Jitter::None, [100, 200, 400, 400, 400]),
        (0, 400, 0.9, Jitter::None, [0, 0, 0, 0, 0]),
        (7, 7, 0.9, Jitter::None, [7, 7, 7, 7, 7]),
        // Each is drawn between the initial pause and three times the one before: 100..300, 100..600, 100..1050 …
        (100, 10_000, 0.5, Jitter::Decorrelated, [200, 350, 575, 913, 1_420]),
        (100, 1_000, 1.0, Jitter::Decorrelated, [300, 900, 1_000, 1_000, 1_000]),
    ] {
        let backoff = Backoff { initial: ms(initial), max: ms(max), jitter };
        let mut world = World::new(Config { backoff, max_retries: 5, ..retries_only() });
        world.draw = Some(draw);
        world.begin("a");
        let waited = pauses.map(|_| {
            let began = world.now();
            world.end("a", REFUSED);
            while world.attempting().is_empty() {
                world.until(world.next_alarm().expect("a retry"));
            }
            world.now() - began
        });
        assert_eq!(waited, pauses, "{jitter:?} {initial}..{max}, draw {draw}");
    }
}

#[test]
fn randomness_out_of_its_range_does_not_lengthen_the_jitter() {
    for (draw, pause) in [(-3.0, 100), (1.0, 120), (7.0, 120), (f64::INFINITY, 120)] {
        let mut world = World::new(retries_only());
        world.draw = Some(draw);
        world.begin("a").end("a", REFUSED);
        assert_eq!(world.next_alarm(), Some(pause), "draw {draw}");
    }
}

#[test]
fn a_hint_replaces_a_shorter_backoff_and_only_that() {
    for (hint, respect, draw, expected) in [
        (None, true, 0.0, "0 a waits for backoff until 100"),
        (Some(0), true, 0.0, "0 a waits for backoff until 100"),
        (Some(99), true, 0.0, "0 a waits for backoff until 100"),
        (Some(2_000), true, 0.0, "0 a waits for backoff until 2000"),
        (Some(2_000), true, 0.5, "0 a waits for backoff until 2200"),
        (Some(59_999), true, 1.0, "0 a waits for backoff until 64999"),
        (Some(60_000), true, 0.0, "0 a waits for backoff until 60000"),
        (Some(60_001), true, 0.0, "0 a rejected RATE_LIMIT_RETRY_AFTER_TOO_LONG, again in 60001"),
        (Some(2_000), false, 0.0, "0 a waits for backoff until 100"),
        (Some(86_400_000), false, 0.0, "0 a waits for backoff until 100"),
    ] {
        let mut world = World::new(Config { respect_retry_after: respect, ..retries_only() });
        world.draw = Some(draw);
        world.begin("a").so_far_so_good().end("a", hint.map_or(REFUSED, refused_for));
        assert_eq!(world.story(), [expected], "hint {hint:?}, respected {respect}, draw {draw}");
    }
}

#[test]
fn a_hint_that_is_too_long_ends_the_call_even_without_retries_left() {
    let mut world = World::new(Config { max_retries: 0, ..retries_only() });
    world.begin("a").end("a", refused_for(61_000));
    assert_eq!(world.rejection("a").map(|rejection| rejection.reason), Some(Reason::RetryAfterTooLong));
}

#[test]
fn a_hint_of_just_max_retry_after_is_waited_for_by_everybody() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", refused_for(60_000)).so_far_so_good().begin("b").cancel("a").until(60_000);
    let told = ["0 b waits for cooldown until 60000", "0 a cancelled", "60000 b attempt 1"];
    assert_eq!(world.story(), told);
}

#[test]
fn a_hint_that_is_too_long_rejects_everybody_until_it_ends() {
    let mut world = World::new(with_cooldown());
    world.begin("asleep").end("asleep", REFUSED).begin("in line");
    world.until(100).end("asleep", Verdict::Success).until(200).so_far_so_good();
    world.begin("a").begin("b").begin("c").end("b", REFUSED_ALONE).end("a", refused_for(90_000));
    assert_eq!(
        world.story(),
        [
            "200 a attempt 1",
            "200 b attempt 1",
            "200 c attempt 1",
            "200 b waits for backoff until 300",
            "200 cooldown until 90200",
            "200 a rejected RATE_LIMIT_RETRY_AFTER_TOO_LONG, again in 90000",
            "200 b rejected RATE_LIMIT_RETRY_AFTER_TOO_LONG, again in 90000",
        ]
    );
    world.until(90_199).begin("d").until(90_200).begin("e").begin("f");
    assert_eq!(world.rejection("d").map(|rejection| rejection.retry_after), Some(Some(ms(1))));
    assert_eq!(world.attempting(), ["c", "e", "f", "in line"]);
}

#[test]
fn everybody_is_rejected_for_an_hour_at_most() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", refused_for(86_400_000)).so_far_so_good();
    world.until(3_599_999).begin("b").until(3_600_000).begin("c");
    assert_eq!(world.rejection("b").map(|rejection| rejection.retry_after), Some(Some(ms(1))));
    assert_eq!(world.attempting(), ["c"]);
}

#[test]
fn a_shorter_hint_of_the_same_event_does_not_end_the_bar_early() {
    let mut world = World::new(with_cooldown());
    world.begin("a").begin("b").end("a", refused_for(600_000)).end("b", refused_for(70_000)).so_far_so_good();
    world.until(70_000).begin("c");
    assert_eq!(world.story(), ["70000 c rejected RATE_LIMIT_RETRY_AFTER_TOO_LONG, again in 530000"]);
}

#[test]
fn a_hint_that_outlasts_the_bar_holds_everybody_after_it() {
    let mut world = World::new(with_cooldown());
    world.begin("a").begin("b").end("a", refused_for(61_000)).until(50_000).end("b", refused_for(60_000));
    world.so_far_so_good().until(61_000).begin("c").until(109_999);
    assert_eq!(world.attempting(), [""; 0], "the server asked everybody to stay away until 110000");
}

#[test]
fn the_bar_is_announced_and_so_is_its_end() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", refused_for(61_000)).until(61_000).begin("b").end("b", Verdict::Success);
    let told: Vec<String> = world.story().into_iter().filter(|line| line.contains("cooldown")).collect();
    assert_eq!(told, ["0 cooldown until 61000", "61000 cooldown over"]);
}

#[test]
fn without_a_shared_cooldown_a_hint_concerns_the_refused_call_only() {
    for hint in [5_000, 90_000] {
        let mut world = World::new(retries_only());
        world.begin("a").end("a", refused_for(hint)).begin("b");
        assert_eq!(world.attempting(), ["b"], "hint {hint}");
    }
}

#[test]
fn transient_failures_are_retried_where_the_configuration_says_so() {
    for (configured, idempotent, expected) in [
        (RetryTransient::Never, false, "0 a passed on"),
        (RetryTransient::Never, true, "0 a passed on"),
        (RetryTransient::Idempotent, false, "0 a passed on"),
        (RetryTransient::Idempotent, true, "0 a waits for backoff until 100"),
        (RetryTransient::Always, false, "0 a waits for backoff until 100"),
    ] {
        for verdict in [UNWELL, LOST] {
            let mut world = World::new(Config { retry_transient: configured, ..retries_only() });
            world.begin_with("a", Options { idempotent, ..Options::default() }).so_far_so_good();
            world.end("a", verdict);
            assert_eq!(world.story(), [expected], "{configured:?}, idempotent {idempotent}, {verdict:?}");
        }
    }
}

#[test]
fn when_transient_retries_run_out_the_last_error_passes() {
    let budget =
        |per_second| Some(BudgetConfig { ratio: 0.0, min_per_second: per_second, window: ms(1_000) });
    for (what, max_retries, deadline_ms, retry_budget) in [
        ("no retries left", 0, None, None),
        ("the wait does not fit the deadline", 3, Some(100), None),
        ("the budget is spent", 3, None, budget(0.0)),
    ] {
        let config =
            Config { retry_transient: RetryTransient::Always, max_retries, retry_budget, ..retries_only() };
        let mut world = World::new(config);
        world.begin_with("a", Options { deadline_ms, ..Options::default() }).so_far_so_good();
        world.end("a", UNWELL);
        assert_eq!(world.story(), ["0 a passed on"], "{what}");
    }
}

#[test]
fn a_transient_failure_while_everybody_is_rejected_passes_at_once() {
    for (what, trouble) in [("barred", refused_for(61_000)), ("open", REFUSED)] {
        let threshold = if what == "open" { 1 } else { 1_000_000 };
        let config = Config {
            retry_transient: RetryTransient::Always,
            circuit_threshold: threshold,
            ..with_cooldown()
        };
        let mut world = World::new(config);
        world.begin("a").begin("b").end("a", trouble).so_far_so_good().end("b", UNWELL);
        assert_eq!(world.story(), ["0 b passed on"], "{what}");
        assert_eq!(world.service.record().total().retries, 0, "{what}: no retry was made");
    }
}

#[test]
fn a_refusal_while_everybody_is_rejected_ends_the_call_at_once() {
    let budget = BudgetConfig { ratio: 0.0, min_per_second: 1.0, window: ms(1_000) };
    let mut world = World::new(Config { retry_budget: Some(budget), ..with_cooldown() });
    world.begin("a").begin("b").end("a", refused_for(61_000)).so_far_so_good().end("b", REFUSED);
    let reason = world.rejection("b").map(|rejection| rejection.reason);
    assert_eq!(reason, Some(Reason::RetryAfterTooLong));
    assert_eq!(
        world.service.record().total().retries,
        0,
        "no retry was made, so none is counted or paid for"
    );
}

#[test]
fn errors_that_are_no_refusal_pass_at_once() {
    for verdict in [Verdict::Permanent, Verdict::Ignored, UNWELL, LOST] {
        let mut world = World::new(Config::default());
        world.begin("a").so_far_so_good().until(7).end("a", verdict);
        assert_eq!(world.story(), ["7 a passed on"], "{verdict:?}");
    }
}

// ---- The retry budget ------------------------------------------------------------------------------------------

#[test]
fn a_spent_budget_ends_the_call() {
    let budget = BudgetConfig { ratio: 0.0, min_per_second: 2.0, window: ms(1_000) };
    let mut world = World::new(Config { retry_budget: Some(budget), ..retries_only() });
    begin_all(&mut world, &names(3));
    world.so_far_so_good();
    end_all(&mut world, &names(3), REFUSED);
    assert_eq!(
        world.story(),
        [
            "0 c00 waits for backoff until 100",
            "0 c01 waits for backoff until 100",
            "0 c02 rejected RATE_LIMIT_BUDGET_EXHAUSTED, again in 100",
        ]
    );
    world.until(1_016).begin("later").so_far_so_good().end("later", REFUSED);
    assert_eq!(world.waiting(), ["later"], "a window and a slice of it later there is budget again");
}

#[test]
fn calls_earn_retries_by_the_ratio() {
    for (ratio, calls, retries) in [(0.0, 20, 0), (0.2, 20, 4), (0.2, 4, 0), (0.5, 7, 3), (1.0, 3, 3)] {
        let budget = BudgetConfig { ratio, min_per_second: 0.0, window: ms(10_000) };
        let mut world = World::new(Config { retry_budget: Some(budget), ..retries_only() });
        let callers = names(calls);
        begin_all(&mut world, &callers);
        end_all(&mut world, &callers, REFUSED);
        assert_eq!(world.waiting().len(), retries, "ratio {ratio}, {calls} calls");
    }
}

#[test]
fn a_new_service_may_spend_the_whole_budget_at_once_and_null_is_no_budget() {
    for (retry_budget, retries) in [(Config::default().retry_budget, 50 + 40), (None, 200)] {
        let mut world = World::new(Config { retry_budget, ..retries_only() });
        let callers = names(200);
        begin_all(&mut world, &callers);
        end_all(&mut world, &callers, REFUSED);
        assert_eq!(world.waiting().len(), retries, "{retry_budget:?}");
    }
}

#[test]
fn who_is_held_spends_no_retry() {
    let budget = BudgetConfig { ratio: 0.0, min_per_second: 1.0, window: ms(1_000) };
    let mut world = World::new(Config { retry_budget: Some(budget), max_retries: 1, ..with_cooldown() });
    world.begin("refused").end("refused", REFUSED).begin("held").until(100).end("refused", Verdict::Success);
    assert_eq!(world.attempting(), ["held"]);
    assert_eq!(world.service.record().total().retries, 1);
    world.so_far_so_good().until(1_200).end("held", REFUSED);
    assert_eq!(world.story(), ["1200 cooldown until 1300", "1200 held waits for backoff until 1300"]);
}

// ---- Deadlines -------------------------------------------------------------------------------------------------

fn within(deadline_ms: u64) -> Options {
    Options { deadline_ms: Some(deadline_ms), ..Options::default() }
}

#[test]
fn a_call_whose_deadline_has_passed_sends_nothing() {
    let mut world = World::new(Config::default());
    world.begin_with("a", within(0));
    assert_eq!(world.story(), ["0 a rejected RATE_LIMIT_DEADLINE_EXCEEDED"]);
}

#[test]
fn a_retry_that_cannot_fit_the_deadline_is_not_waited_for() {
    for (deadline_ms, expected) in [
        (100, "0 a rejected RATE_LIMIT_DEADLINE_EXCEEDED, again in 100"),
        (101, "0 a waits for backoff until 100"),
    ] {
        let mut world = World::new(retries_only());
        world.begin_with("a", within(deadline_ms)).so_far_so_good().end("a", REFUSED);
        assert_eq!(world.story(), [expected]);
    }
}

#[test]
fn a_cooldown_that_cannot_fit_the_deadline_is_not_waited_for() {
    for (deadline_ms, expected) in [
        (1_000, "0 b rejected RATE_LIMIT_DEADLINE_EXCEEDED, again in 1000"),
        (1_001, "0 b waits for cooldown until 1000"),
    ] {
        let mut world = World::new(with_cooldown());
        world.begin("a").end("a", refused_for(1_000)).so_far_so_good().begin_with("b", within(deadline_ms));
        assert_eq!(world.story(), [expected]);
    }
}

#[test]
fn a_retry_is_not_waited_for_when_the_cooldown_lasts_beyond_the_deadline() {
    let mut world = World::new(with_cooldown());
    world.begin("a").begin_with("b", within(2_000)).end("a", refused_for(5_000)).so_far_so_good();
    world.end("b", REFUSED_ALONE);
    let rejection = world.rejection("b").map(|rejection| (rejection.reason, rejection.retry_after));
    assert_eq!(rejection, Some((Reason::Deadline, Some(ms(5_000)))), "its own backoff would end at 100");
    assert_eq!(world.service.record().total().retries, 1, "only that of a");
}

#[test]
fn a_wait_that_no_longer_fits_the_deadline_ends_at_once() {
    let mut world = World::new(with_cooldown());
    world
        .begin("a")
        .begin("slow")
        .end("a", refused_for(1_000))
        .begin_with("b", within(2_000))
        .so_far_so_good();
    // News of the same event: the server asks for more time than b has.
    world.until(500).end("slow", refused_for(5_000));
    let rejection = world.rejection("b").map(|rejection| (rejection.reason, rejection.retry_after));
    assert_eq!(rejection, Some((Reason::Deadline, Some(ms(5_000)))), "not only when its time is over");
}

#[test]
fn nobody_is_called_after_its_deadline_however_late_the_alarm_is() {
    for what in ["in line", "asleep"] {
        let mut world = World::new(with_cooldown());
        if what == "in line" {
            world.begin("a").end("a", refused_for(1_000)).cancel("a").begin_with("b", within(1_500));
        } else {
            world.begin_with("b", within(1_500)).end("b", refused_for(1_000));
        }
        // The tab was in the background, the laptop asleep: what is sent now would be sent for nobody.
        world.so_far_so_good().jump(600_000).look_around();
        assert_eq!(world.story(), ["600000 b rejected RATE_LIMIT_DEADLINE_EXCEEDED"], "{what}");
    }
}

#[test]
fn a_deadline_that_comes_while_waiting_ends_the_call_and_leaves_the_line() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", refused_for(1_000)).begin_with("b", within(1_500)).begin("c");
    // The probe hangs: b would be the next to go.
    world.until(1_500).so_far_so_good().end("a", Verdict::Success);
    assert_eq!(world.story(), ["1500 a done", "1500 cooldown over", "1500 c attempt 1"].map(String::from));
}

#[test]
fn a_deadline_that_comes_during_an_attempt_says_nothing_about_the_server() {
    let mut world = opened(with_circuit(1));
    world.until(60_000).begin_with("probe", within(500)).until(60_500);
    assert_eq!(
        world.story(),
        [
            "60000 circuit open > half-open",
            "60000 probe attempt 1",
            "60500 probe rejected RATE_LIMIT_DEADLINE_EXCEEDED"
        ]
    );
    world.begin("next");
    assert_eq!(world.attempting(), ["next"], "its place is free again");
}

// ---- Scope "call" ----------------------------------------------------------------------------------------------

#[test]
fn a_refusal_of_scope_call_concerns_nobody_else() {
    let mut world = World::new(Config { circuit_threshold: 1, max_retries: 1, ..with_cooldown() });
    world.begin("a").so_far_so_good().end("a", REFUSED_ALONE).begin("b").until(100).end("a", REFUSED_ALONE);
    assert_eq!(
        world.story(),
        [
            "0 a waits for backoff until 100",
            "0 b attempt 1",
            "100 a attempt 2",
            "100 a rejected RATE_LIMIT_MAX_RETRIES_EXCEEDED, again in 200",
        ]
    );
    let circuit = world.service.circuit(support::at(100));
    assert_eq!((circuit.phase, circuit.consecutive, circuit.last_failure), (Phase::Closed, 0, None));
}

// ---- Parallel callers ------------------------------------------------------------------------------------------

#[test]
fn ten_parallel_refusals_are_one_event() {
    let mut world = World::new(Config { shared_cooldown: true, ..with_circuit(5) });
    for round in 1..=5 {
        let callers = names(10);
        begin_all(&mut world, &callers);
        // They leave the cooldown of the round before one by one; all are out when the first is refused.
        while world.attempting().len() < 10 {
            let at_a_time = world.now() + 30_000;
            world.until(at_a_time);
        }
        let expected = if round < 5 { Phase::Closed } else { Phase::Open };
        world.so_far_so_good();
        end_all(&mut world, &callers, REFUSED);
        assert_eq!(world.phase(), expected, "round {round}");
        assert_eq!(world.service.circuit(support::at(world.now())).consecutive, round);
        let cooldowns = world.story().iter().filter(|line| line.contains("cooldown until")).count();
        assert_eq!(cooldowns, 1, "round {round}: one event is told once");
    }
}

#[test]
fn held_callers_leave_one_two_four() {
    let mut world = World::new(with_cooldown());
    world.begin("refused").end("refused", refused_for(1_000));
    begin_all(&mut world, &names(30));
    world.until(1_000);
    let mut left = Vec::new();
    while !world.attempting().is_empty() {
        let out = world.attempting();
        left.push(out.len());
        world.until(world.now() + 50);
        end_all(&mut world, &out, Verdict::Success);
    }
    assert_eq!(left, [1, 2, 4, 8, 16]);
}

#[test]
fn the_one_that_waited_longest_goes_first_alone() {
    let mut world = World::new(with_cooldown());
    world.begin("a").until(10).begin("b").until(20).end("a", refused_for(1_000)).until(30).begin("c");
    world.until(40).end("b", refused_for(1_000)).until(2_000);
    // The cooldown lasts as long as the longest of the two waits; a and b sleep, c stands in line.
    assert_eq!(world.attempting(), ["a"], "its call is the oldest");
    world.end("a", Verdict::Success);
    assert_eq!(world.attempting(), ["b", "c"]);
}

#[test]
fn a_refusal_of_the_one_that_went_begins_a_new_cooldown() {
    let mut world = World::new(with_cooldown());
    world
        .begin("a")
        .end("a", refused_for(1_000))
        .until(10)
        .begin("b")
        .begin("c")
        .until(1_000)
        .so_far_so_good();
    world.until(1_050).end("a", refused_for(2_000)).until(3_050);
    assert_eq!(
        world.story(),
        ["1050 cooldown until 3050", "1050 a waits for backoff until 3050", "3050 a attempt 3"]
    );
}

#[test]
fn without_an_answer_the_next_one_goes_after_the_probe_timeout() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", refused_for(1_000)).begin("b").begin("c").until(30_999);
    assert_eq!(world.attempting(), ["a"]);
    world.until(31_000);
    assert_eq!(world.attempting(), ["a", "b"]);
    world.until(61_000);
    assert_eq!(world.attempting(), ["a", "b", "c"]);
}

#[test]
fn an_answer_to_what_was_sent_before_the_cooldown_lets_nobody_go() {
    let mut world = World::new(with_cooldown());
    world.begin("a").begin("slow").end("a", refused_for(1_000)).until(10).begin("b").begin("c").until(1_000);
    assert_eq!(world.attempting(), ["a", "slow"]);
    world.end("slow", Verdict::Success);
    assert_eq!(world.attempting(), ["a"], "it says nothing about now");
}

#[test]
fn one_that_gives_up_hands_its_place_to_one_other() {
    for cancelled in ["in line", "on its way"] {
        let mut world = World::new(with_cooldown());
        world.begin("a").end("a", refused_for(1_000)).begin("b").begin("c").begin("d");
        if cancelled == "in line" {
            world.cancel("b").until(1_000).end("a", Verdict::Success);
            assert_eq!(world.attempting(), ["c", "d"]);
        } else {
            world.until(1_000).cancel("a");
            assert_eq!(world.attempting(), ["b"]);
        }
    }
}

#[test]
fn a_cooldown_without_a_hint_ends_with_the_refused_calls_own_backoff() {
    let mut world = World::new(with_cooldown());
    world.begin("a").end("a", REFUSED).until(10).begin("b").so_far_so_good();
    world.until(100).end("a", REFUSED).until(300);
    assert_eq!(
        world.story(),
        ["100 a attempt 2", "100 cooldown until 300", "100 a waits for backoff until 300", "300 a attempt 3"]
    );
}

#[test]
fn a_call_without_retries_left_holds_the_others_all_the_same() {
    let mut world = World::new(Config { max_retries: 0, ..with_cooldown() });
    world.begin("a").end("a", refused_for(1_000)).so_far_so_good().begin("b").until(1_000);
    assert_eq!(world.story(), ["0 b waits for cooldown until 1000", "1000 b attempt 1"]);
}

#[test]
fn slow_news_of_an_event_that_is_over_holds_nobody_again() {
    let mut world = World::new(with_cooldown());
    world.begin("a").begin("slow").end("a", REFUSED).until(100).end("a", Verdict::Success).so_far_so_good();
    world.until(5_000).end("slow", REFUSED).begin("b");
    assert_eq!(world.story(), ["5000 slow waits for backoff until 5100", "5000 b attempt 1"]);
}

/// Ten workers, each with one row at a time. A row that is rejected goes back in the line; its worker comes again
/// when the rejection says so, or after a second. Returns how long it took and the longest time without an answer
/// that let a row in.
fn import<S: Server>(config: Config, server: S, rows: usize, seed: u64) -> (u64, u64, Load<S>) {
    let mut load = Load::new(config, 1, server, (40, 80), seed);
    let mut to_do: VecDeque<String> = (0..rows).map(|row| format!("row {row}")).collect();
    for row in to_do.drain(..10) {
        load.plan().begin(0, 0, row);
    }
    let mut imported = 0;
    let mut last = 0;
    load.run(600_000, |plan, ended| {
        let mut again = ended.at;
        match ended.rejection {
            None => {
                imported += 1;
                last = ended.at;
            }
            Some(rejection) => {
                to_do.push_back(ended.who);
                again += rejection.retry_after.map_or(1_000, Span::as_ms).max(1);
            }
        }
        if let Some(row) = to_do.pop_front() {
            plan.begin(again, 0, row);
        }
    });
    assert_eq!(imported, rows, "every row arrives");
    let accepted: Vec<u64> =
        load.requests().iter().filter(|request| request.accepted).map(|r| r.at).collect();
    let pause = accepted.windows(2).map(|pair| pair[1] - pair[0]).max().expect("more than one row");
    (last, pause, load)
}

#[test]
fn an_import_with_ten_in_flight_against_an_empty_bucket_does_not_stall() {
    // 300 rows, 20 per second, nothing saved up: the limit alone costs 15 s.
    for headers in [Headers::None, Headers::RetryAfter] {
        for seed in 1..=5 {
            let server = TokenBucket::new(20.0, 20.0, headers).emptied();
            let (took, pause, load) = import(Config::default(), server, 300, seed);
            check_import(&format!("bucket, {headers:?}, seed {seed}"), (took, 22_500), pause, &load);
        }
    }
}

#[test]
fn an_import_with_ten_in_flight_against_a_used_up_window_does_not_stall() {
    // 300 rows, 20 in each second, none left in the first: the limit alone costs 15 s. `Retry-After` in whole seconds
    // with jitter on top leads beyond the beginning of the next window, so that twice that is the worst.
    for headers in [Headers::None, Headers::RetryAfter] {
        for seed in 1..=5 {
            let server = FixedWindow::new(20, 1_000, headers).used_up();
            let (took, pause, load) = import(Config::default(), server, 300, seed);
            check_import(&format!("window, {headers:?}, seed {seed}"), (took, 30_000), pause, &load);
        }
    }
}

fn check_import<S: Server>(what: &str, (took, at_most): (u64, u64), pause: u64, load: &Load<S>) {
    let refused = load.requests().iter().filter(|request| !request.accepted).count();
    println!("{what}: {took} ms, longest pause {pause} ms, {refused} refused");
    assert!((15_000..at_most).contains(&took), "{what}: {took} ms");
    assert!(pause < 2_500, "{what}: nothing for {pause} ms");
    assert!(refused < 300, "{what}: {refused} refused");
    assert_eq!(load.client(0).service.record().total().rejected[1], 0, "{what}: the circuit stays closed");
}

// ---- The line --------------------------------------------------------------------------------------------------

fn urgent(priority: i32) -> Options {
    Options { priority, ..Options::default() }
}

/// Who goes in which order when each success of one lets the next go.
fn order_of_going(world: &mut World) -> Vec<String> {
    let mut order = Vec::new();
    world.service.has_waiters().then(|| world.until(world.next_alarm().expect("an alarm")));
    while let Some(who) = world.attempting().into_iter().find(|who| !order.contains(who)) {
        order.push(who.clone());
        // A cancelled attempt gives its place to exactly one other.
        world.cancel(&who);
    }
    order
}

#[test]
fn higher_priority_goes_first_and_ten_seconds_of_waiting_are_worth_one_step() {
    let mut world = World::new(with_cooldown());
    world.begin("refused").end("refused", refused_for(30_000)).cancel("refused");
    world.begin_with("background", urgent(-1)).until(5_000).begin("normal").until(6_000).begin("normal too");
    world.begin_with("urgent", urgent(1)).until(19_999).begin_with("late but urgent", urgent(1));
    world.until(20_001).begin_with("too late, though urgent", urgent(1));
    assert_eq!(
        order_of_going(&mut world),
        ["urgent", "normal", "normal too", "late but urgent", "background", "too late, though urgent"]
    );
}

#[test]
fn nobody_overtakes_those_in_line() {
    let mut world = World::new(with_cooldown());
    world
        .begin("refused")
        .end("refused", refused_for(1_000))
        .cancel("refused")
        .begin("first")
        .begin("second");
    // The time is over and nobody has looked yet: the alarm is late.
    world.jump(1_005).begin("newcomer");
    assert_eq!(world.attempting(), ["first"]);
    world.end("first", Verdict::Success);
    assert_eq!(world.attempting(), ["newcomer", "second"]);
}

#[test]
fn nobody_overtakes_a_sleeper_whose_time_has_come() {
    let mut world = World::new(with_cooldown());
    world.begin("refused").end("refused", REFUSED).jump(105).begin("newcomer");
    assert_eq!(world.attempting(), ["refused"], "its backoff was over at 100; only the alarm was late");
}

#[test]
fn a_sleeper_whose_time_has_come_keeps_the_cooldown_going() {
    let mut world = World::new(with_cooldown());
    let callers = names(6);
    begin_all(&mut world, &callers);
    end_all(&mut world, &callers[..1], REFUSED);
    world.until(50);
    end_all(&mut world, &callers[1..], REFUSED_ALONE);
    world.until(100);
    assert_eq!(world.attempting(), ["c00"], "the other five sleep until 150");
    world.jump(151).end("c00", Verdict::Success);
    assert_eq!(
        world.attempting().len(),
        2,
        "the alarm was late, but the five are no reason to go all at once"
    );
}

#[test]
fn a_retry_comes_before_calls_that_began_later() {
    let mut world = World::new(with_cooldown());
    world.begin("old").until(50).end("old", refused_for(1_000)).until(60).begin("young").until(1_050);
    assert_eq!(world.attempting(), ["old"]);
}

// ---- The circuit -----------------------------------------------------------------------------------------------

#[test]
fn so_many_refusals_in_a_row_open_it() {
    for threshold in [1, 2, 5] {
        let mut world = World::new(with_circuit(threshold));
        for refusal in 1..=threshold {
            assert_eq!(world.phase(), Phase::Closed, "threshold {threshold}, refusal {refusal}");
            world.begin("a").end("a", REFUSED);
        }
        assert_eq!(world.phase(), Phase::Open);
        let rejection = world.rejection("a").map(|rejection| (rejection.reason, rejection.retry_after));
        assert_eq!(rejection, Some((Reason::CircuitOpened, Some(ms(60_000)))), "this one opened it");
        world.begin("b");
        let rejection = world.rejection("b").map(|rejection| (rejection.reason, rejection.retry_after));
        assert_eq!(rejection, Some((Reason::CircuitOpen, Some(ms(60_000)))), "this one found it open");
    }
}

#[test]
fn an_answer_starts_the_count_anew_and_silence_does_not() {
    for (verdict, phase) in [
        (Verdict::Success, Phase::Closed),
        (Verdict::Permanent, Phase::Closed),
        (UNWELL, Phase::Closed),
        (REFUSED_ALONE, Phase::Open),
        (LOST, Phase::Open),
        (Verdict::Ignored, Phase::Open),
    ] {
        let mut world = World::new(with_circuit(2));
        for verdict in [REFUSED, verdict, REFUSED] {
            world.begin("a").end("a", verdict);
        }
        assert_eq!(world.phase(), phase, "{verdict:?}");
    }
}

#[test]
fn when_it_opens_those_who_wait_are_rejected_at_once() {
    let mut world = World::new(Config { circuit_threshold: 2, ..with_cooldown() });
    world.begin("asleep").begin("a").begin("slow").end("asleep", REFUSED_ALONE).end("a", refused_for(1_000));
    world.begin("in line").until(1_000).so_far_so_good();
    // Both have slept; the older one went alone and is refused: the second event.
    assert_eq!(world.attempting(), ["asleep", "slow"]);
    world.end("asleep", REFUSED);
    assert_eq!(
        world.story(),
        [
            "1000 circuit closed > open",
            "1000 cooldown until 1200",
            "1000 asleep rejected RATE_LIMIT_CIRCUIT_OPEN, again in 60000",
            "1000 a rejected RATE_LIMIT_CIRCUIT_OPEN, again in 60000",
            "1000 in line rejected RATE_LIMIT_CIRCUIT_OPEN, again in 60000",
        ]
    );
    assert!(!world.service.has_waiters());
    world.end("slow", REFUSED_ALONE);
    assert_eq!(
        world.rejection("slow").map(|r| r.reason),
        Some(Reason::CircuitOpen),
        "no retry towards a closed door"
    );
}

#[test]
fn a_sleeper_is_rejected_long_before_its_backoff_ends() {
    let mut world = World::new(Config { max_retries: 3, ..with_circuit(2) });
    world
        .begin("asleep")
        .end("asleep", refused_for(50_000))
        .until(1_000)
        .so_far_so_good()
        .begin("a")
        .end("a", REFUSED);
    assert_eq!(world.rejection("asleep").map(|rejection| rejection.reason), Some(Reason::CircuitOpen));
}

#[test]
fn a_longer_hint_prolongs_the_open_time_up_to_max_retry_after() {
    for (hint, reset, max_retry_after, open_until) in [
        (None, 60_000, 60_000, 60_000),
        (Some(10_000), 60_000, 60_000, 60_000),
        (Some(90_000), 60_000, 60_000, 60_000),
        (Some(90_000), 60_000, 120_000, 90_000),
        (Some(600_000), 60_000, 120_000, 120_000),
        (Some(5_000), 1_000, 60_000, 5_000),
        (Some(5_000), 30_000, 2_000, 30_000),
    ] {
        let circuit =
            Config { circuit_reset: ms(reset), max_retry_after: ms(max_retry_after), ..with_circuit(1) };
        let mut world = World::new(circuit);
        world.begin("a").end("a", hint.map_or(REFUSED, refused_for)).until(open_until - 1);
        assert_eq!(world.phase(), Phase::Open, "hint {hint:?}, reset {reset}, at most {max_retry_after}");
        world.until(open_until);
        assert_eq!(world.phase(), Phase::HalfOpen, "hint {hint:?}, reset {reset}, at most {max_retry_after}");
    }
}

#[test]
fn half_open_lets_so_many_probes_through_and_rejects_the_others() {
    for probes in 1..=3 {
        let mut world = opened(Config { half_open_probes: probes, ..with_circuit(1) });
        world.until(60_000);
        let callers = names(5);
        begin_all(&mut world, &callers);
        assert_eq!(world.attempting(), callers[..probes as usize], "the first {probes}");
        let late = world.rejection("c04").map(|rejection| (rejection.reason, rejection.retry_after));
        assert_eq!(late, Some((Reason::CircuitOpen, Some(ms(30_000)))));
        for success in 1..=probes {
            assert_eq!(world.phase(), Phase::HalfOpen, "{success} of {probes}");
            world.end(&callers[success as usize - 1], Verdict::Success);
        }
        assert_eq!(world.phase(), Phase::Closed);
    }
}

#[test]
fn with_a_shared_cooldown_half_open_lets_as_many_probes_through() {
    let config = Config { half_open_probes: 3, shared_cooldown: true, ..with_circuit(1) };
    let mut world = opened(config);
    world.until(60_000);
    begin_all(&mut world, &names(5));
    assert_eq!(world.attempting().len(), 3);
    assert_eq!(world.waiting(), [""; 0], "the others are rejected at once");
}

#[test]
fn one_refused_probe_opens_it_again_whatever_the_threshold_is() {
    let mut world = opened(Config { half_open_probes: 2, ..with_circuit(5) });
    world.until(60_000).begin("a").begin("b").so_far_so_good().end("a", REFUSED).end("b", Verdict::Success);
    assert_eq!(
        world.story(),
        [
            "60000 circuit half-open > open",
            "60000 a rejected RATE_LIMIT_CIRCUIT_OPEN, again in 60000",
            "60000 b done",
        ]
    );
    assert_eq!(world.phase(), Phase::Open, "the success of the other probe is old news");
}

#[test]
fn a_refused_probe_opens_it_again_also_when_the_threshold_has_been_raised_meanwhile() {
    let mut world = opened(with_circuit(2));
    world.reconfigure(with_circuit(100)).until(60_000).begin("probe").end("probe", REFUSED);
    assert_eq!(world.phase(), Phase::Open);
}

#[test]
fn a_probe_without_an_answer_decides_nothing_and_gives_its_place_back() {
    for verdict in [LOST, Verdict::Ignored, REFUSED_ALONE] {
        let mut world = opened(with_circuit(1));
        world.until(60_000).begin("a").end("a", verdict);
        assert_eq!(world.phase(), Phase::HalfOpen, "{verdict:?}");
        world.begin("b");
        assert_eq!(world.attempting(), ["b"], "{verdict:?}");
    }
}

#[test]
fn a_hung_probe_gives_its_place_back_and_its_late_result_changes_nothing() {
    let mut world = opened(with_circuit(1));
    world.until(60_000).begin("hung").until(89_999).begin("early").until(90_000).begin("next");
    assert_eq!(world.attempting(), ["hung", "next"]);
    world.end("hung", REFUSED);
    assert_eq!(world.phase(), Phase::HalfOpen);
    world.end("next", Verdict::Success);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn the_late_result_of_a_hung_probe_changes_nothing_even_when_another_hangs_too() {
    let mut world = opened(Config { half_open_probes: 2, ..with_circuit(1) });
    world.until(60_000).begin("hung").until(60_001).begin("hung too").until(90_000).begin("next");
    world.until(90_001).end("hung", REFUSED);
    assert_eq!(world.phase(), Phase::HalfOpen, "its place was taken by another long ago");
}

#[test]
fn the_late_result_of_a_hung_probe_changes_nothing_whether_or_not_its_place_was_taken() {
    for verdict in [REFUSED, Verdict::Success] {
        let mut world = opened(with_circuit(1));
        world.until(60_000).begin("hung").until(90_000).end("hung", verdict);
        assert_eq!(world.phase(), Phase::HalfOpen, "{verdict:?}");
    }
}

#[test]
fn late_results_of_an_older_epoch_change_nothing() {
    let mut world = World::new(Config { max_retries: 0, ..with_circuit(1) });
    begin_all(&mut world, &names(4));
    world.end("c00", REFUSED).end("c01", Verdict::Success);
    assert_eq!(world.phase(), Phase::Open);
    world.until(60_000).begin("probe").end("c02", REFUSED);
    assert_eq!(world.phase(), Phase::HalfOpen);
    world.end("probe", Verdict::Success).end("c03", REFUSED);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn a_reset_closes_it_zeroes_the_counts_and_ends_a_cooldown() {
    let mut world = World::new(Config { circuit_threshold: 2, ..with_cooldown() });
    world.begin("slow").begin("a").end("a", refused_for(30_000)).begin("held").reset();
    assert_eq!(world.attempting(), ["held", "slow"], "the cooldown is over; a sleeps out its own hint");
    world.end("slow", REFUSED);
    let circuit = world.service.circuit(support::at(0));
    assert_eq!((circuit.consecutive, circuit.last_failure), (0, None), "what was under way changes nothing");
    let mut world = opened(with_circuit(1));
    world.until(1_000).reset().begin("a");
    assert_eq!(world.story(), ["1000 circuit open > closed", "1000 a attempt 1"]);
}

#[test]
fn isolated_until_reset() {
    let mut world = World::new(with_cooldown());
    world.begin("under way").begin("asleep").end("asleep", REFUSED_ALONE).so_far_so_good().isolate();
    assert_eq!(world.story(), ["0 circuit closed > isolated", "0 asleep rejected RATE_LIMIT_CIRCUIT_OPEN"]);
    world.end("under way", Verdict::Success).until(1 << 40).begin("a");
    assert_eq!(world.rejection("a").map(|r| (r.reason, r.retry_after)), Some((Reason::CircuitOpen, None)));
    world.reset().begin("b");
    assert_eq!(world.attempting(), ["b"]);
}

#[test]
fn three_silences_online_are_one_refusal() {
    for (what, online, times, failures) in [
        ("three within 5 s", true, &[0, 2_000, 4_999][..], 1),
        ("too far apart", true, &[0, 2_000, 5_000], 0),
        ("two", true, &[0, 1], 0),
        ("six", true, &[0, 1, 2, 3, 4, 5], 2),
        ("five", true, &[0, 1, 2, 3, 4], 1),
        ("offline", false, &[0, 1, 2, 3, 4, 5, 6, 7], 0),
    ] {
        let mut world = World::new(with_circuit(100));
        world.online = online;
        for time in times {
            world.until(*time).begin("a").end("a", LOST);
        }
        let circuit = world.service.circuit(support::at(10_000));
        assert_eq!(circuit.consecutive, failures, "{what}");
        assert!(
            world.story().iter().all(|line| !line.contains("rejected")),
            "{what}: the error itself passes on"
        );
    }
}

#[test]
fn what_a_server_answered_is_no_silence_and_a_reset_forgets_the_silences() {
    let mut world = World::new(with_circuit(1));
    for _ in 0..6 {
        world.begin("a").end("a", UNWELL);
    }
    assert_eq!(world.phase(), Phase::Closed);
    world.begin("a").end("a", LOST).begin("a").end("a", LOST).reset().begin("a").end("a", LOST);
    assert_eq!(world.phase(), Phase::Closed);
}

#[test]
fn three_silences_open_the_circuit_and_hold_the_others_like_a_refusal() {
    let mut world = World::new(Config { circuit_threshold: 1, ..retries_only() });
    begin_all(&mut world, &names(3));
    world.so_far_so_good();
    end_all(&mut world, &names(3), LOST);
    assert_eq!(
        world.story(),
        ["0 c00 passed on", "0 c01 passed on", "0 circuit closed > open", "0 c02 passed on"]
    );
    let mut world = World::new(with_cooldown());
    begin_all(&mut world, &names(3));
    end_all(&mut world, &names(3), LOST);
    world.so_far_so_good().begin("a");
    assert_eq!(world.story(), ["0 a waits for cooldown until 100"]);
}

// ---- Other limits while it runs --------------------------------------------------------------------------------

#[test]
fn other_limits_keep_the_counts_and_an_open_circuit() {
    let mut world = World::new(with_circuit(3));
    world.begin("a").end("a", REFUSED).begin("b").end("b", REFUSED);
    world.reconfigure(Config { circuit_threshold: 10, ..with_circuit(3) });
    assert_eq!(world.service.circuit(support::at(0)).consecutive, 2);
    world.reconfigure(with_circuit(3)).begin("c").end("c", REFUSED);
    world.reconfigure(Config { circuit_reset: ms(1), ..with_circuit(100) });
    world.until(59_999);
    assert_eq!(world.phase(), Phase::Open);
    world.until(60_000);
    assert_eq!(world.phase(), Phase::HalfOpen);
    assert_eq!(world.service.record().total().calls, 3);
}

#[test]
fn other_limits_hold_from_the_next_decision_on() {
    let mut world = World::new(retries_only());
    let slower = Backoff { initial: ms(500), max: ms(500), jitter: Jitter::None };
    world.begin("a").end("a", REFUSED).reconfigure(Config {
        backoff: slower,
        max_retry_after: ms(1),
        ..retries_only()
    });
    world.so_far_so_good().until(100).end("a", REFUSED).until(600).end("a", refused_for(2));
    assert_eq!(
        world.story(),
        [
            "100 a attempt 2",
            "100 a waits for backoff until 600",
            "600 a attempt 3",
            "600 a rejected RATE_LIMIT_RETRY_AFTER_TOO_LONG, again in 2",
        ]
    );
}

#[test]
fn the_budget_counts_on_under_other_limits() {
    let budget =
        |per_second| Some(BudgetConfig { ratio: 0.0, min_per_second: per_second, window: ms(1_000) });
    let mut world = World::new(Config { retry_budget: budget(1.0), ..retries_only() });
    begin_all(&mut world, &names(4));
    world.end("c00", REFUSED).reconfigure(Config { retry_budget: budget(2.0), ..retries_only() });
    world.end("c01", REFUSED).end("c02", REFUSED);
    assert_eq!(world.waiting(), ["c00", "c01"]);
    world.reconfigure(retries_only()).end("c03", REFUSED);
    assert_eq!(world.waiting(), ["c00", "c01", "c03"]);
}

#[test]
fn switching_the_shared_cooldown_off_lets_the_held_go() {
    for (what, hint) in [("held", 30_000), ("barred", 90_000)] {
        let mut world = World::new(with_cooldown());
        world.begin("a").end("a", refused_for(hint)).reconfigure(retries_only()).begin("b");
        assert_eq!(world.attempting(), ["b"], "{what}");
    }
}

#[test]
fn switching_the_shared_cooldown_off_while_they_leave_does_not_stall_them() {
    let mut world = World::new(Config { max_retries: 0, ..with_cooldown() });
    world.begin("a").end("a", refused_for(1_000)).begin("b").begin("c").until(1_000);
    world.reconfigure(Config { max_retries: 0, ..retries_only() }).end("b", REFUSED);
    assert_eq!(world.attempting(), ["c"], "not only after the probe timeout");
}

#[test]
fn a_cooldown_is_kept_over_a_restart_of_the_core() {
    let mut world = World::new(with_cooldown());
    world.service.restore_cooldown(support::at(700));
    world.begin("a").begin("b").until(700).end("a", Verdict::Success);
    let told =
        ["0 cooldown until 700", "0 a waits for cooldown until 700", "0 b waits for cooldown until 700"];
    let went = ["700 a attempt 1", "700 a done", "700 cooldown over", "700 b attempt 1"];
    assert_eq!(world.story(), [&told[..], &went].concat());
}

// ---- What is counted -------------------------------------------------------------------------------------------

#[test]
fn transitions_come_in_the_order_in_which_they_happened() {
    let mut world = World::new(Config { circuit_threshold: 1, max_retries: 0, ..with_cooldown() });
    world.begin("a").end("a", REFUSED).until(60_000).begin("b").until(60_010).end("b", Verdict::Success);
    world.until(60_020).isolate().reset();
    let told: Vec<String> =
        world.story().into_iter().filter(|l| l.contains("circuit") || l.contains("cooldown")).collect();
    assert_eq!(
        told,
        [
            "0 circuit closed > open",
            "0 cooldown until 100",
            "60000 circuit open > half-open",
            "60000 cooldown over",
            "60010 circuit half-open > closed",
            "60020 circuit closed > isolated",
            "60020 circuit isolated > closed",
        ]
    );
}

#[test]
fn calls_attempts_retries_and_endings_are_counted() {
    let config = Config { max_retries: 1, retry_transient: RetryTransient::Always, ..retries_only() };
    let mut world = World::new(config);
    world.begin("done").until(10).end("done", Verdict::Success);
    world.begin("gone").end("gone", REFUSED).until(110).end("gone", REFUSED);
    world.begin("wrong").end("wrong", Verdict::Permanent);
    world.begin("unwell").end("unwell", UNWELL).until(210).end("unwell", UNWELL);
    world.begin("cancelled").cancel("cancelled");
    let total = world.service.record().total();
    assert_eq!((total.calls, total.attempts, total.retries), (5, 7, 2));
    assert_eq!(
        (total.successes, total.throttled, total.failures),
        (1, 2, 3),
        "a cancelled attempt is none of these"
    );
    assert_eq!(total.durations.count(), 7);
    assert_eq!(total.waits.count(), 2, "two backoffs");
    assert_eq!(total.waits.longest(), ms(100));
}

#[test]
fn rejections_are_counted_by_reason() {
    let budget = BudgetConfig { ratio: 0.0, min_per_second: 1.0, window: ms(1_000) };
    let mut world = World::new(Config {
        max_retries: 1,
        retry_budget: Some(budget),
        circuit_threshold: 6,
        ..retries_only()
    });
    world.begin("retries").end("retries", REFUSED).until(100).end("retries", REFUSED);
    world.begin("budget").end("budget", REFUSED);
    world.begin("hint").end("hint", refused_for(100_000));
    world.begin_with("late", within(0)).begin_with("in vain", within(50)).end("in vain", REFUSED);
    world.begin("opens").end("opens", REFUSED).begin("finds open");
    let rejected = world.service.record().total().rejected;
    let of = |reason| rejection_index(reason).map(|index| rejected[index]);
    assert_eq!(of(Reason::MaxRetries), Some(1));
    assert_eq!(of(Reason::Budget), Some(1));
    assert_eq!(of(Reason::RetryAfterTooLong), Some(1));
    assert_eq!(of(Reason::Deadline), Some(2));
    assert_eq!(of(Reason::CircuitOpen), Some(2));
    assert_eq!(of(Reason::CircuitOpened), of(Reason::CircuitOpen), "one code, one counter");
    assert_eq!((of(Reason::Backoff), of(Reason::Cooldown)), (None, None));
}

#[test]
fn waits_are_measured_from_their_beginning_to_their_end_however_they_end() {
    let mut world = World::new(with_cooldown());
    world
        .begin("a")
        .end("a", refused_for(1_000))
        .until(100)
        .begin("b")
        .begin_with("c", within(1_200))
        .begin("d");
    world.until(400).cancel("d").until(1_000).until(1_300).end("a", Verdict::Success);
    let waits = &world.service.record().total().waits;
    // d 300, a 1000, c 1200 (its deadline), b 1200.
    assert_eq!((waits.count(), waits.longest()), (4, ms(1_200)));
    assert_eq!(waits.percentile(25), ms(319), "300 and the rest of its bucket");
}

#[test]
fn a_group_is_counted_beside_the_whole() {
    let mut world = World::new(Config { max_retries: 0, ..retries_only() });
    let of = |group| Options { group, ..Options::default() };
    world
        .begin_with("a", of(2))
        .end("a", Verdict::Success)
        .begin_with("b", of(1))
        .end("b", REFUSED)
        .begin("c");
    let record = world.service.record();
    let counts: Vec<_> =
        record.groups().iter().map(|stats| (stats.calls, stats.successes, stats.rejected[0])).collect();
    assert_eq!(counts, [(1, 0, 1), (1, 1, 0)]);
    assert_eq!(record.total().calls, 3);
}

// ---- The golden cases, which the TypeScript shell runs too (tests/vectors/README.md) ----------------------------

#[test]
fn golden_defaults() {
    for (_, config) in vectors::cases("defaults") {
        assert_eq!(config, Config::default());
    }
}

#[test]
fn golden_pauses() {
    for (case, config) in vectors::cases("backoff") {
        let mut world = World::new(config);
        world.begin("a");
        let mut previous = None;
        for (retry, refusal) in (0..).zip(vectors::list(&case["refusals"])) {
            let context = format!("{}, refusal {}: {refusal}", case["name"], retry + 1);
            let hint = refusal["retryAfterMs"].as_u64();
            let random = refusal["random"].as_f64().expect("random");
            let expected = ms(vectors::number(&refusal["delayMs"]));
            let began = world.now();
            world.draw = Some(random);
            world.end("a", hint.map_or(REFUSED, refused_for));
            while world.attempting().is_empty() {
                world.until(world.next_alarm().unwrap_or_else(|| panic!("{context}: no retry")));
            }
            assert_eq!(ms(world.now() - began), expected, "{context}");

            // The same without a service around it.
            let backoff = config.backoff.delay(retry, previous, random);
            let respected = hint.filter(|_| config.respect_retry_after);
            let delay =
                respected.map_or(backoff, |hint| config.backoff.delay_after_hint(ms(hint), backoff, random));
            assert_eq!(delay, expected, "{context}");
            previous = Some(delay);
        }
    }
}

#[test]
fn golden_circuits() {
    for (case, config) in vectors::cases("circuit") {
        let mut world = World::new(config);
        for step in vectors::list(&case["steps"]) {
            let context = format!("{}: {step}", case["name"]);
            world.until(vectors::number(&step["at"])).so_far_so_good();
            if let Some(who) = step["start"].as_str() {
                world.begin(who);
                let goes = step["goes"].as_bool().expect("goes");
                assert_eq!(world.attempting().iter().any(|one| one == who), goes, "{context}");
                if !goes {
                    let after = world.rejection(who).expect("rejected").retry_after;
                    assert_eq!(after.map(Span::as_ms), step["retryAfterMs"].as_u64(), "{context}");
                }
            } else if step["state"].is_object() {
                assert_eq!(vectors::circuit_state(&world), step["state"], "{context}");
            } else {
                vectors::apply(&mut world, step);
            }
        }
    }
}

#[test]
fn golden_stories() {
    for (case, config) in vectors::cases("service") {
        let mut world = World::new(config);
        for step in vectors::list(&case["steps"]) {
            world.until(vectors::number(&step["at"]));
            vectors::apply(&mut world, step);
        }
        let story: Vec<String> =
            world.story().into_iter().filter(|line| !is_about_a_cooldown(line)).collect();
        let expected: Vec<&str> = vectors::list(&case["story"]).iter().map(vectors::text).collect();
        assert_eq!(story, expected, "{}", case["name"]);
    }
}

/// Other clients are told of cooldowns in other words, and more or less often.
fn is_about_a_cooldown(line: &str) -> bool {
    line.split(' ').nth(1) == Some("cooldown")
}
