//! Fifty clients, each with a service of its own, half an hour of virtual time, and a server that loses half of its
//! capacity for five minutes of it. Nobody talks to anybody: all that holds the crowd together is what each core
//! decides for its own callers.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

mod support;

use std::fmt;
use std::ops::Range;

use support::load::{Load, Request};
use support::server::{Changing, Headers, Server, TokenBucket};
use tidegate::backoff::{Backoff, Jitter};
use tidegate::random::Random;
use tidegate::service::Config;
use tidegate::time::Span;

const CLIENTS: usize = 50;
const MINUTE: u64 = 60_000;
const END: u64 = 30 * MINUTE;
const HALVED: Range<u64> = 10 * MINUTE..15 * MINUTE;

/// Two minutes later every circuit has closed again.
const SETTLED: u64 = 17 * MINUTE;

/// Requests a second that the server can do, and that its clients want, all together.
const CAPACITY: f64 = 50.0;
const DEMAND: f64 = 40.0;

/// What a client without a core does: the loop around the call that everybody writes.
fn usual_loop() -> Config {
    Config {
        backoff: Backoff { initial: Span::from_ms(100), max: Span::from_ms(10_000), jitter: Jitter::None },
        respect_retry_after: false,
        circuit_threshold: u32::MAX,
        retry_budget: None,
        shared_cooldown: false,
        ..Config::default()
    }
}

/// The application itself refuses, and five refusals cost it as much as one request that it does. This is where
/// retries take an overloaded server down: what it could do goes into saying no.
#[test]
fn where_refusals_cost_something_the_clients_leave_the_server_most_of_its_capacity() {
    let refusal_cost = 0.2;
    for headers in [Headers::None, Headers::RetryAfter] {
        let report = simulate(Config::default(), headers, refusal_cost, 1);
        println!("core, {headers:?}, a refusal costs {refusal_cost}\n{report}");
        report.assert_calm_before_and_after();
        // 25 is all there is.
        assert!(report.halved.goodput > 18.0, "{headers:?}: {report}");
        assert!(report.halved.refused < 25.0, "{headers:?}: {report}");
        assert!(report.halved.worst_second > 0, "{headers:?}: nobody served for a second: {report}");
        assert!(report.halved.busiest_second < 120, "{headers:?}: {report}");
    }
    let usual = simulate(usual_loop(), Headers::None, refusal_cost, 1);
    println!("usual loop, a refusal costs {refusal_cost}\n{usual}");
    assert!(usual.halved.goodput < 5.0, "the comparison still compares: {usual}");
    assert!(usual.halved.refused > 100.0, "{usual}");
}

/// A gateway refuses for nothing. Then the usual loop gets all of the capacity too, and only what it throws at the
/// gateway tells the difference; caution must not cost more than a tenth.
#[test]
fn where_refusals_are_free_caution_costs_little() {
    for headers in [Headers::None, Headers::RetryAfter] {
        let report = simulate(Config::default(), headers, 0.0, 1);
        println!("core, {headers:?}, refusals are free\n{report}");
        report.assert_calm_before_and_after();
        assert!(report.halved.goodput > 22.5, "{headers:?}: {report}");
        assert!(report.halved.refused < 25.0, "{headers:?}: {report}");
        assert!(report.halved.busiest_second < 120, "{headers:?}: {report}");
    }
    let usual = simulate(usual_loop(), Headers::None, 0.0, 1);
    println!("usual loop, refusals are free\n{usual}");
    assert!(usual.halved.refused > 60.0, "the comparison still compares: {usual}");
}

#[test]
fn the_same_seed_gives_the_same_half_hour() {
    let run = |seed| simulate(Config::default(), Headers::RetryAfter, 0.2, seed).to_string();
    assert_eq!(run(3), run(3));
}

#[derive(Debug)]
struct Report {
    before: Stretch,
    halved: Stretch,
    /// The first two minutes with all of the capacity again.
    recovery: Stretch,
    rest: Stretch,
}

/// What happened between two points in time; rates are per second.
#[derive(Debug)]
struct Stretch {
    goodput: f64,
    refused: f64,
    /// The fewest accepted in one second.
    worst_second: usize,
    /// The most sent in one second.
    busiest_second: usize,
    calls_rejected: usize,
}

impl Report {
    fn assert_calm_before_and_after(&self) {
        assert_eq!(self.before.calls_rejected, 0, "{self}");
        assert!(self.before.goodput > 0.98 * DEMAND, "{self}");
        // The price: circuits that opened in the last minute of the trouble stay open for a minute.
        assert!(self.recovery.goodput > 0.7 * DEMAND, "{self}");
        assert_eq!(self.rest.calls_rejected, 0, "nobody is rejected for what is long over: {self}");
        assert!(self.rest.goodput > 0.98 * DEMAND, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stretches = [
            ("before", &self.before),
            ("halved", &self.halved),
            ("recovery", &self.recovery),
            ("rest", &self.rest),
        ];
        for (name, stretch) in stretches {
            let Stretch { goodput, refused, worst_second, busiest_second, calls_rejected } = stretch;
            write!(
                f,
                "  {name:<9} goodput {goodput:5.1}/s, refused {refused:5.1}/s, worst second {worst_second:3}, "
            )?;
            writeln!(f, "busiest second {busiest_second:3}, calls rejected {calls_rejected}")?;
        }
        Ok(())
    }
}

fn simulate(config: Config, headers: Headers, refusal_cost: f64, seed: u64) -> Report {
    let bucket = TokenBucket::new(CAPACITY, CAPACITY, headers).with_refusal_cost(refusal_cost);
    let plan = vec![(HALVED.start, CAPACITY / 2.0), (HALVED.end, CAPACITY)];
    let mut load = Load::new(config, CLIENTS, Changing { bucket, plan }, (40, 120), seed);
    let mut random = Random::seeded(seed.wrapping_add(1));
    for client in 0..CLIENTS {
        plan_calls(&mut load, client, &mut random);
    }
    let mut rejected = Vec::new();
    load.run(END, |_, ended| rejected.extend(ended.rejection.is_some().then_some(ended.at)));
    let stretch = |range: Range<u64>| stretch(load.requests(), &rejected, &range);
    Report {
        before: stretch(0..HALVED.start),
        halved: stretch(HALVED),
        recovery: stretch(HALVED.end..SETTLED),
        rest: stretch(SETTLED..END),
    }
}

/// People click when they like: the times between their calls are exponential, and nobody waits for an answer first.
fn plan_calls<S: Server>(load: &mut Load<S>, client: usize, random: &mut Random) {
    let mean_ms = 1_000.0 * CLIENTS as f64 / DEMAND;
    let mut at = 0.0;
    for call in 0.. {
        at -= (1.0 - random.draw()).ln() * mean_ms;
        if at >= END as f64 {
            return;
        }
        load.plan().begin(at as u64, client, format!("call {call}"));
    }
}

fn stretch(requests: &[Request], rejected: &[u64], range: &Range<u64>) -> Stretch {
    let seconds = ((range.end - range.start) / 1_000) as usize;
    let mut accepted = vec![0; seconds];
    let mut sent = vec![0; seconds];
    for request in requests.iter().filter(|request| range.contains(&request.at)) {
        let second = ((request.at - range.start) / 1_000) as usize;
        sent[second] += 1;
        accepted[second] += usize::from(request.accepted);
    }
    let (all_sent, all_accepted): (usize, usize) = (sent.iter().sum(), accepted.iter().sum());
    Stretch {
        goodput: all_accepted as f64 / seconds as f64,
        refused: (all_sent - all_accepted) as f64 / seconds as f64,
        worst_second: accepted.into_iter().min().unwrap_or(0),
        busiest_second: sent.into_iter().max().unwrap_or(0),
        calls_rejected: rejected.iter().filter(|at| range.contains(at)).count(),
    }
}
