//! Imports in virtual time: tables of what becomes of a row, and promises about whole imports against a server that
//! refuses, fails, loses requests and answers, and holds on to every row that it has written.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate::bulk::{
    BatchName, BatchSize, Counts, Job, JobConfig, Next, Outcome, Reason, SEGMENT_BYTES, SEGMENT_ROWS, Stop,
    StopWhen,
};
use tidegate::pacer::Known;
use tidegate::random::Random;
use tidegate::time::{Instant, Span};

const CONFIG: JobConfig = JobConfig {
    idempotent: true,
    verifies: true,
    batch: BatchSize::Fixed(4),
    max_in_flight: 100,
    max_rate: None,
    stop_when: None,
    known: None,
};

/// For tables: nothing of the pace gets into their way.
const QUICK: JobConfig =
    JobConfig { known: Some(Known { rate: 1000.0, cap: None, bans: false, cost: 0.0 }), ..CONFIG };

fn at(ms: u64) -> Instant {
    Instant::from_ms(ms as f64)
}

/// A job, and the time.
struct Desk {
    job: Job,
    now: u64,
}

impl Desk {
    fn new(config: JobConfig, rows: u32) -> Self {
        let mut job = Job::new(config, 1);
        job.add(rows);
        job.close();
        Self { job, now: 0 }
    }

    fn now(&self) -> Instant {
        at(self.now)
    }

    fn next(&mut self) -> Next {
        self.job.next(at(self.now))
    }

    /// What is to be done next, after at most so long a wait.
    fn within(&mut self, ms: u64) -> Next {
        let end = self.now + ms;
        loop {
            match self.next() {
                Next::Wait { until: Some(until), .. } if until.ticks() <= end => self.now = until.ticks(),
                next => return next,
            }
        }
    }

    /// The same until that time.
    fn next_until(&mut self, ms: u64) -> Next {
        self.within(ms.saturating_sub(self.now))
    }

    fn send(&mut self) -> (BatchName, Vec<u32>) {
        match self.within(60_000) {
            Next::Send { batch } => (batch, self.job.rows(batch).to_vec()),
            next => panic!("{next:?} at {}", self.now),
        }
    }

    fn verify(&mut self) -> (BatchName, u32) {
        match self.within(60_000) {
            Next::Verify { batch, row } => (batch, row),
            next => panic!("{next:?} at {}", self.now),
        }
    }

    fn answer(&mut self, batch: BatchName, outcome: Outcome) {
        let rows = self.job.rows(batch).to_vec();
        self.now += 50;
        self.job.answered(self.now(), batch, Span::from_ms(50), None);
        for row in rows {
            self.job.settle(self.now(), row, outcome);
        }
    }

    fn outcomes(&self) -> Vec<Option<Outcome>> {
        (0..self.job.counts().total()).map(|row| self.job.outcome(row)).collect()
    }
}

// ---- One row after the other ----------------------------------------------------------------------------------------

#[test]
fn an_empty_import_is_done_once_it_is_closed() {
    let mut job = Job::new(CONFIG, 1);
    assert_eq!(job.next(at(0)), Next::Hungry { until: None });
    job.close();
    assert_eq!(job.next(at(0)), Next::Done);
}

#[test]
fn rows_go_in_their_order_and_those_that_are_decided_stay() {
    let mut desk = Desk::new(QUICK, 7);
    assert!(desk.job.decide(1, Outcome::Duplicate) && desk.job.decide(4, Outcome::Skipped));
    assert!(!desk.job.decide(7, Outcome::Skipped), "there is none");
    let (first, rows) = desk.send();
    assert_eq!(rows, [0, 2, 3, 5]);
    assert!(!desk.job.decide(0, Outcome::Skipped), "it is on its way");
    let (second, rows) = desk.send();
    assert_eq!(rows, [6]);
    assert_eq!(desk.next(), Next::Wait { until: None, reason: Reason::InFlight });
    assert_eq!(desk.job.counts(), Counts { in_flight: 5, duplicate: 1, skipped: 1, ..Counts::default() });
    desk.answer(first, Outcome::Ignored);
    desk.answer(second, Outcome::Imported);
    assert_eq!(desk.next(), Next::Done);
    assert_eq!(desk.job.counts(), Counts { imported: 1, duplicate: 5, skipped: 1, ..Counts::default() });
}

#[test]
fn what_came_back_goes_first_in_its_order_and_together() {
    let mut desk = Desk::new(QUICK, 16);
    let sent: Vec<_> = (0..3).map(|_| desk.send()).collect();
    for place in [2, 0, 1] {
        desk.job.throttled(desk.now(), sent[place].0, None, None);
    }
    assert_eq!(desk.job.attempt(0), 1, "a refusal because of a limit is no attempt");
    let rows: Vec<Vec<u32>> = (0..4)
        .map(|_| {
            let (batch, rows) = desk.send();
            desk.answer(batch, Outcome::Imported);
            rows
        })
        .collect();
    assert_eq!(rows, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]);
    assert_eq!((desk.job.stats().throttled, desk.job.stats().requests, desk.job.stats().retries), (3, 7, 0));
}

#[test]
fn a_row_that_the_server_ignores_is_imported_if_it_may_be_from_us() {
    type End = fn(&mut Job, Instant, BatchName);
    let table: [(End, Outcome); 6] = [
        (|job, now, batch| job.lost(now, batch, true), Outcome::Imported),
        (|job, now, batch| job.lost(now, batch, false), Outcome::Duplicate),
        (|job, now, batch| job.failed(now, batch, true), Outcome::Imported),
        (|job, now, batch| job.failed(now, batch, false), Outcome::Duplicate),
        (|job, now, batch| job.throttled(now, batch, None, None), Outcome::Duplicate),
        (|job, now, batch| job.refused(now, batch), Outcome::Duplicate),
    ];
    for (case, (end, expected)) in table.into_iter().enumerate() {
        let mut desk = Desk::new(QUICK, 2);
        let (batch, _) = desk.send();
        end(&mut desk.job, at(10), batch);
        desk.now = 10;
        while let Next::Send { batch } = desk.within(60_000) {
            desk.answer(batch, Outcome::Ignored);
        }
        assert_eq!(desk.outcomes(), [Some(expected); 2], "case {case}");
    }
}

#[test]
fn what_fails_again_and_again_is_given_up_later_and_later() {
    for (maybe_applied, expected) in [(true, Outcome::Unknown), (false, Outcome::Failed)] {
        let mut desk = Desk::new(QUICK, 2);
        let mut pauses = Vec::new();
        let mut before = 0;
        while let Next::Send { batch } = desk.within(120_000) {
            pauses.push(desk.now - before);
            before = desk.now;
            assert_eq!(desk.job.attempt(1) as usize, pauses.len());
            desk.job.failed(desk.now(), batch, maybe_applied);
        }
        assert_eq!(pauses.len(), 8, "{pauses:?}");
        assert!(pauses[1] >= 400 && pauses[4] >= 3000 && desk.now > 50_000, "{pauses:?}");
        assert_eq!(desk.outcomes(), [Some(expected); 2]);
    }
}

#[test]
fn while_one_batch_fails_the_others_go_on() {
    let mut desk = Desk::new(QUICK, 40);
    let (bad, _) = desk.send();
    desk.job.failed(desk.now(), bad, false);
    for _ in 0..9 {
        let (batch, rows) = desk.send();
        if rows[0] == 0 {
            desk.job.failed(desk.now(), batch, false);
        } else {
            desk.answer(batch, Outcome::Imported);
        }
    }
    assert!(desk.now < 3000 && desk.job.counts().imported >= 32, "{:?} at {}", desk.job.counts(), desk.now);
}

#[test]
fn a_server_in_trouble_for_ten_minutes_ends_the_import() {
    let mut desk = Desk::new(QUICK, 10_000);
    let mut requests = 0;
    while let Next::Send { batch } = desk.within(120_000) {
        requests += 1;
        desk.job.failed(desk.now(), batch, false);
    }
    assert_eq!((desk.next(), desk.job.stopped()), (Next::Done, Some(Stop::Trouble)));
    assert!((300_000..1_200_000).contains(&desk.now) && requests < 40, "{requests} until {}", desk.now);
    assert!(desk.job.counts().failed <= 8, "an outage is not the rows' fault: {:?}", desk.job.counts());
}

#[test]
fn many_that_fail_at_once_are_one_event() {
    let mut desk =
        Desk::new(JobConfig { known: Some(Known { rate: 1e5, ..QUICK.known.unwrap() }), ..QUICK }, 400);
    let mut sent = Vec::new();
    while let Next::Send { batch } = desk.within(100) {
        sent.push(batch);
    }
    assert!(sent.len() > 24, "{}", sent.len());
    sent.into_iter().for_each(|batch| desk.job.failed(at(5000), batch, false));
    assert_eq!((desk.job.stopped(), desk.job.counts().open), (None, 400));
}

#[test]
fn an_outage_is_no_row_s_own_fault() {
    for idempotent in [true, false] {
        let config = JobConfig { idempotent, batch: BatchSize::Fixed(1), max_in_flight: 10, ..QUICK };
        let mut job = Job::new(config, 1);
        job.add(30);
        job.close();
        let (mut now, back) = (1_000, 250_000);
        loop {
            let (batch, row) = match job.next(at(now)) {
                Next::Done => break,
                Next::Send { batch } => (batch, job.rows(batch)[0]),
                Next::Verify { batch, row } => (batch, row),
                Next::Wait { until, .. } | Next::Hungry { until } => {
                    now = until.expect("nothing is in flight").ticks().max(now + 1);
                    continue;
                }
            };
            now += 10;
            if now < back {
                job.lost(at(now), batch, true);
            } else {
                job.answered(at(now), batch, Span::from_ms(10), None);
                job.settle(at(now), row, Outcome::Imported);
            }
        }
        assert_eq!((job.counts().imported, job.stopped()), (30, None), "idempotent: {idempotent}");
    }
}

#[test]
fn while_much_fails_nothing_new_is_begun() {
    let mut desk = Desk::new(JobConfig { batch: BatchSize::Fixed(1), ..QUICK }, 1000);
    let mut failed = 0;
    // Before the first of them goes again.
    while let Next::Send { batch } = desk.next_until(390) {
        if desk.job.stats().requests.is_multiple_of(2) {
            failed += 1;
            desk.job.failed(desk.now(), batch, false);
        } else {
            let rows = desk.job.rows(batch).to_vec();
            desk.job.answered(desk.now(), batch, Span::from_ms(1), None);
            desk.job.settle(desk.now(), rows[0], Outcome::Imported);
        }
    }
    assert_eq!(failed, 64);
}

#[test]
fn a_row_that_is_decided_while_it_waits_to_go_again_does_not_go() {
    let mut desk = Desk::new(QUICK, 5);
    let (batch, _) = desk.send();
    desk.job.throttled(desk.now(), batch, None, None);
    assert!(desk.job.decide(1, Outcome::Skipped));
    assert_eq!(desk.send().1, [0, 2, 3]);

    let mut desk = Desk::new(QUICK, 4);
    let (batch, rows) = desk.send();
    desk.job.throttled(desk.now(), batch, None, None);
    rows.iter().for_each(|row| assert!(desk.job.decide(*row, Outcome::Skipped)));
    assert_eq!(desk.within(1000), Next::Done);
}

#[test]
fn what_had_no_answer_for_long_goes_in_smaller_batches_from_then_on() {
    for (after, size) in [(100, 10), (5000, 5)] {
        let mut desk = Desk::new(JobConfig { batch: BatchSize::Adaptive { max: 100 }, ..QUICK }, 100);
        let (batch, rows) = desk.send();
        desk.job.lost(at(desk.now + after), batch, true);
        assert_eq!((rows.len(), desk.job.batch_size()), (10, size));
    }
}

#[test]
fn a_batch_that_is_too_much_goes_in_halves_and_a_row_that_is_fails() {
    let mut desk = Desk::new(JobConfig { batch: BatchSize::Fixed(8), ..QUICK }, 24);
    let mut largest = Vec::new();
    while let Next::Send { batch } = desk.within(60_000) {
        let rows = desk.job.rows(batch).to_vec();
        largest.push(rows.len());
        if rows.len() > 5 || rows.contains(&3) {
            desk.job.too_large(desk.now(), batch);
        } else {
            desk.answer(batch, Outcome::Imported);
        }
    }
    assert_eq!(desk.job.counts(), Counts { imported: 23, failed: 1, ..Counts::default() });
    assert_eq!(desk.job.outcome(3), Some(Outcome::Failed));
    // Once to learn it, once to see whether it is still so.
    assert!(largest.iter().filter(|rows| **rows > 5).count() <= 2, "{largest:?}");
}

// ---- Not idempotent ------------------------------------------------------------------------------------------------

#[test]
fn a_lost_row_is_looked_up_where_sending_twice_doubles() {
    let mut desk = Desk::new(JobConfig { idempotent: false, ..QUICK }, 4);
    let (batch, _) = desk.send();
    desk.job.lost(desk.now(), batch, true);
    assert_eq!(desk.job.counts(), Counts { to_verify: 4, ..Counts::default() });

    let (found, row) = desk.verify();
    assert_eq!(row, 0);
    desk.answer(found, Outcome::Ignored);

    let (unanswered, row) = desk.verify();
    assert_eq!(row, 1);
    desk.job.lost(desk.now(), unanswered, true);

    for expected in [2, 3] {
        let (missing, row) = desk.verify();
        assert_eq!(row, expected);
        desk.job.answered(desk.now(), missing, Span::from_ms(20), None);
        desk.job.missing(desk.now(), row);
    }
    let (batch, rows) = desk.send();
    assert_eq!(rows, [2, 3]);
    desk.answer(batch, Outcome::Ignored);
    let (again, row) = desk.verify();
    assert_eq!(row, 1);
    desk.answer(again, Outcome::Unknown);
    let expected = [Outcome::Imported, Outcome::Unknown, Outcome::Duplicate, Outcome::Duplicate];
    assert_eq!(desk.outcomes(), expected.map(Some));
}

#[test]
fn a_lost_row_is_looked_up_when_nobody_writes_it_any_more() {
    let mut desk = Desk::new(JobConfig { idempotent: false, ..QUICK }, 5);
    let (batch, _) = desk.send();
    desk.now += 100;
    desk.job.lost(desk.now(), batch, true);
    let lost = desk.now;
    // Others go on meanwhile.
    let (batch, rows) = desk.send();
    assert_eq!(rows, [4]);
    desk.answer(batch, Outcome::Imported);
    let early = desk.within(lost + 9_990 - desk.now);
    assert!(matches!(early, Next::Wait { until: Some(_), reason: Reason::Cooldown }), "{early:?}");
    let (_, row) = desk.verify();
    assert_eq!((row, desk.now >= lost + 10_000), (0, true));
}

#[test]
fn what_was_certainly_not_sent_goes_again_and_what_nobody_can_look_up_is_unknown() {
    let mut desk = Desk::new(JobConfig { idempotent: false, verifies: false, ..QUICK }, 8);
    let (unsent, first) = desk.send();
    let (lost, second) = desk.send();
    desk.job.lost(desk.now(), unsent, false);
    desk.job.lost(desk.now(), lost, true);
    assert_eq!(desk.job.counts(), Counts { open: 4, unknown: 4, ..Counts::default() });
    let (batch, rows) = desk.send();
    assert_eq!(rows, first);
    desk.answer(batch, Outcome::Imported);
    assert_eq!(desk.job.find(0, Outcome::Unknown), Some(second[0]));
}

#[test]
fn a_lookup_that_never_succeeds_ends_as_unknown() {
    let mut desk = Desk::new(JobConfig { idempotent: false, ..QUICK }, 1);
    let (batch, _) = desk.send();
    desk.job.failed(desk.now(), batch, true);
    let mut lookups = 0;
    while let Next::Verify { batch, .. } = desk.within(120_000) {
        lookups += 1;
        desk.job.lost(desk.now(), batch, true);
    }
    assert_eq!((lookups, desk.outcomes()), (7, vec![Some(Outcome::Unknown)]));
}

#[test]
fn a_row_that_is_lost_each_time_and_never_there_fails_in_the_end() {
    let mut desk = Desk::new(JobConfig { idempotent: false, ..QUICK }, 1);
    let mut sent = 0;
    loop {
        match desk.within(120_000) {
            Next::Send { batch } => {
                sent += 1;
                desk.job.lost(desk.now(), batch, true);
            }
            Next::Verify { batch, row } => {
                desk.job.answered(desk.now(), batch, Span::from_ms(20), None);
                desk.job.missing(desk.now(), row);
            }
            next => break assert_eq!(next, Next::Done),
        }
    }
    assert_eq!((sent, desk.outcomes()), (8, vec![Some(Outcome::Failed)]));
}

// ---- Life ----------------------------------------------------------------------------------------------------------

#[test]
fn it_pauses_and_holds_and_goes_on() {
    let mut desk = Desk::new(QUICK, 100);
    let (batch, _) = desk.send();
    desk.job.pause();
    assert_eq!(desk.next(), Next::Wait { until: None, reason: Reason::Paused });
    desk.answer(batch, Outcome::Imported);
    desk.job.hold(Some(at(5000)));
    desk.job.resume();
    assert_eq!(desk.next(), Next::Wait { until: Some(at(5000)), reason: Reason::Held });
    assert_eq!(desk.job.progress(desk.now()).waiting, Some((Reason::Held, Some(at(5000)))));
    desk.now = 5000;
    assert!(matches!(desk.next(), Next::Send { .. }), "that time has come");
    desk.job.hold(None);
    desk.now = 9_000_000;
    assert_eq!(desk.next(), Next::Wait { until: None, reason: Reason::Held });
    assert_eq!(desk.job.progress(desk.now()).eta, None);
    desk.job.release();
    desk.send();
    assert_eq!(desk.job.progress(desk.now()).waiting, None);
}

#[test]
fn when_it_is_cancelled_what_is_in_flight_settles_and_nothing_stays_undecided() {
    let mut desk = Desk::new(QUICK, 20);
    let sent: Vec<_> = (0..4).map(|_| desk.send().0).collect();
    desk.job.lost(desk.now(), sent[1], true);
    desk.job.pause();
    desk.job.cancel();
    desk.job.stop(Stop::Refused);
    assert_eq!(desk.job.stopped(), Some(Stop::Cancelled), "the first reason counts");
    assert_eq!(desk.job.counts(), Counts { in_flight: 12, unknown: 4, skipped: 4, ..Counts::default() });
    assert_eq!(desk.next(), Next::Wait { until: None, reason: Reason::InFlight });
    desk.answer(sent[0], Outcome::Imported);
    desk.job.throttled(desk.now(), sent[2], None, None);
    desk.job.lost(desk.now(), sent[3], true);
    assert_eq!(desk.next(), Next::Done);
    desk.job.add(3);
    assert_eq!(desk.next(), Next::Done);
    assert_eq!(desk.job.counts(), Counts { imported: 4, unknown: 8, skipped: 11, ..Counts::default() });
}

#[test]
fn too_many_failures_stop_it() {
    for (failing, stopped) in [(0, None), (1, None), (2, Some(Stop::FailedRatio))] {
        let stop_when = Some(StopWhen { failed_ratio: 0.5, after: 40 });
        let mut desk = Desk::new(JobConfig { stop_when, ..QUICK }, 100);
        while let Next::Send { batch } = desk.within(60_000) {
            let rows = desk.job.rows(batch).to_vec();
            desk.job.answered(desk.now(), batch, Span::from_ms(20), None);
            for row in rows {
                let outcome = if row % 4 < failing { Outcome::Failed } else { Outcome::Imported };
                desk.job.settle(desk.now(), row, outcome);
            }
        }
        let counts = desk.job.counts();
        assert_eq!((desk.job.stopped(), counts.total(), counts.undecided()), (stopped, 100, 0));
        if stopped.is_some() {
            assert_eq!((counts.failed, counts.skipped), (20, 60));
        }
    }
}

#[test]
fn a_stream_is_asked_for_more_and_memory_is_a_byte_a_row() {
    let mut job = Job::new(QUICK, 1);
    let mut now = 0;
    let mut left = 1000;
    let mut most_open = 0;
    loop {
        while left > 0 && job.wants() > 0 {
            job.add(1);
            left -= 1;
        }
        if left == 0 {
            job.close();
        }
        most_open = most_open.max(job.counts().open);
        match job.next(at(now)) {
            Next::Send { batch } => {
                let rows = job.rows(batch).to_vec();
                job.answered(at(now), batch, Span::from_ms(20), None);
                rows.iter().for_each(|row| job.settle(at(now), *row, Outcome::Imported));
            }
            Next::Wait { until: Some(until), .. } => now = until.ticks(),
            Next::Done => break,
            next => panic!("{next:?}"),
        }
    }
    assert_eq!((job.counts().imported, most_open), (1000, 8));
}

#[test]
fn the_time_left_is_a_range_around_what_it_will_be() {
    let mut desk = Desk::new(JobConfig { max_rate: Some(5.0), ..QUICK }, 2000);
    assert_eq!(desk.job.progress(desk.now()).eta, None);
    while desk.now < 20_000 {
        let (batch, _) = desk.send();
        desk.answer(batch, Outcome::Imported);
    }
    let progress = desk.job.progress(desk.now());
    let left = u64::from(desk.job.counts().undecided()) * 1000 / 20;
    let [low, high] = progress.eta.expect("it is under way");
    assert!((18.0..22.0).contains(&progress.rows_per_second), "{progress:?}");
    assert!(
        low.as_ms() <= left + 5000 && left <= high.as_ms() && high.as_ms() < left * 3 / 2,
        "{low:?} {left} {high:?}"
    );
    // An hour of pause says nothing about the pace.
    desk.job.pause();
    desk.now += 3_600_000;
    desk.job.resume();
    for _ in 0..100 {
        let (batch, _) = desk.send();
        desk.answer(batch, Outcome::Imported);
    }
    let [_, high] = desk.job.progress(desk.now()).eta.expect("it is under way");
    assert!(high.as_ms() < left * 3 / 2, "{high:?}");
}

// ---- Against a server ----------------------------------------------------------------------------------------------

/// What goes wrong, as parts of 1, and what the server takes.
#[derive(Clone, Debug)]
struct Weather {
    seed: u64,
    rows: u32,
    batch: BatchSize,
    idempotent: bool,
    lost_before: f64,
    lost_after: f64,
    failed: f64,
    throttled: f64,
    /// Every so many rows one is bad; 0: none.
    bad_every: u32,
    /// It says so for each row, and takes the others; else it refuses the batch.
    per_item: bool,
    /// Rows in one request.
    most: usize,
    /// Requests a second, in a bucket of one second.
    limit: f64,
    /// Part of the lookups that say nothing.
    blind: f64,
}

const CALM: Weather = Weather {
    seed: 1,
    rows: 100,
    batch: BatchSize::Fixed(10),
    idempotent: true,
    lost_before: 0.0,
    lost_after: 0.0,
    failed: 0.0,
    throttled: 0.0,
    bad_every: 0,
    per_item: false,
    most: usize::MAX,
    limit: 50.0,
    blind: 0.0,
};

enum Reply {
    Answered(Vec<(u32, Outcome)>),
    Missing(u32),
    Throttled,
    Lost,
    Failed { maybe_applied: bool },
    Refused,
    TooLarge,
}

struct Server {
    weather: Weather,
    random: Random,
    /// How often each row was written.
    written: Vec<u32>,
    tokens: f64,
    filled: u64,
    requests: u32,
}

impl Server {
    fn new(weather: &Weather) -> Self {
        Self {
            random: Random::seeded(weather.seed),
            written: vec![0; weather.rows as usize],
            tokens: weather.limit,
            filled: 0,
            requests: 0,
            weather: weather.clone(),
        }
    }

    fn happens(&mut self, part: f64) -> bool {
        self.random.draw() < part
    }

    fn is_bad(&self, row: u32) -> bool {
        self.weather.bad_every > 0 && row % self.weather.bad_every == self.weather.bad_every / 2
    }

    fn admits(&mut self, now: u64) -> bool {
        self.requests += 1;
        let limit = self.weather.limit;
        self.tokens = (self.tokens + limit * (now - self.filled) as f64 / 1e3).min(limit);
        self.filled = now;
        if self.tokens < 1.0 || self.happens(self.weather.throttled) {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn take(&mut self, now: u64, rows: &[u32]) -> Reply {
        if self.happens(self.weather.lost_before) {
            return Reply::Lost;
        }
        if !self.admits(now) {
            return Reply::Throttled;
        }
        if rows.len() > self.weather.most {
            return Reply::TooLarge;
        }
        let fails = self.happens(self.weather.failed);
        if fails && self.happens(0.5) {
            return Reply::Failed { maybe_applied: self.happens(0.5) };
        }
        if !self.weather.per_item && rows.iter().any(|row| self.is_bad(*row)) {
            return Reply::Refused;
        }
        let answers = rows.iter().map(|row| (*row, self.write(*row))).collect();
        if fails {
            return Reply::Failed { maybe_applied: true };
        }
        if self.happens(self.weather.lost_after) { Reply::Lost } else { Reply::Answered(answers) }
    }

    fn write(&mut self, row: u32) -> Outcome {
        if self.is_bad(row) {
            return Outcome::Failed;
        }
        let written = &mut self.written[row as usize];
        if self.weather.idempotent && *written > 0 {
            return Outcome::Ignored;
        }
        *written += 1;
        Outcome::Imported
    }

    fn look_up(&mut self, now: u64, row: u32) -> Reply {
        if self.happens(self.weather.lost_after) {
            return Reply::Lost;
        }
        if !self.admits(now) {
            return Reply::Throttled;
        }
        if self.happens(self.weather.blind) {
            return Reply::Answered(vec![(row, Outcome::Unknown)]);
        }
        if self.written[row as usize] > 0 {
            Reply::Answered(vec![(row, Outcome::Ignored)])
        } else {
            Reply::Missing(row)
        }
    }
}

/// A shell: sends, tells, keeps a journal.
struct Shell<'a> {
    job: Job,
    server: &'a mut Server,
    now: u64,
    steps: u32,
    /// By time of arrival, then in turn.
    air: BTreeMap<(u64, u32), (BatchName, Reply)>,
    journal: BTreeMap<u32, [u8; SEGMENT_BYTES]>,
}

impl<'a> Shell<'a> {
    fn new(server: &'a mut Server, journal: BTreeMap<u32, [u8; SEGMENT_BYTES]>, now: u64) -> Self {
        let Weather { idempotent, batch, seed, rows, .. } = server.weather;
        let mut job = Job::new(JobConfig { idempotent, batch, ..CONFIG }, seed);
        if !journal.is_empty() {
            job.add(rows);
            journal.iter().for_each(|(segment, bits)| job.restore(*segment, bits));
        }
        Self { job, server, now, steps: 0, air: BTreeMap::new(), journal }
    }

    /// Goes on for so many steps; whether all is done.
    fn run(&mut self, steps: u32) -> bool {
        for _ in 0..steps {
            if !self.step() {
                return true;
            }
        }
        false
    }

    fn step(&mut self) -> bool {
        self.steps += 1;
        let next = self.job.next(at(self.now));
        // What is about to be sent is on disk before.
        while let Some(segment) = self.job.next_changed() {
            self.journal.insert(segment, self.job.bits(segment));
        }
        match next {
            Next::Send { batch } => {
                let rows = self.job.rows(batch).to_vec();
                let reply = self.server.take(self.now, &rows);
                self.fly(batch, reply);
            }
            Next::Verify { batch, row } => {
                let reply = self.server.look_up(self.now, row);
                self.fly(batch, reply);
            }
            Next::Wait { until, .. } => self.wait(until),
            Next::Hungry { .. } => {
                let left = self.server.weather.rows - self.job.counts().total();
                self.job.add(left.min(1 + self.steps % 37));
                if left == 0 {
                    self.job.close();
                }
            }
            Next::Done => return false,
        }
        true
    }

    fn fly(&mut self, batch: BatchName, reply: Reply) {
        let latency = 20 + (self.server.random.draw() * 130.0) as u64;
        self.air.insert((self.now + latency, self.steps), (batch, reply));
    }

    fn wait(&mut self, until: Option<Instant>) {
        let arrives = self.air.first_key_value().map(|((time, _), _)| *time);
        let until = until.map(Instant::ticks);
        assert!(until.is_none_or(|until| until > self.now), "a wait until now");
        if arrives.is_some_and(|arrives| until.is_none_or(|until| arrives <= until)) {
            let ((time, _), (batch, reply)) = self.air.pop_first().unwrap();
            self.now = time;
            self.tell(batch, reply);
        } else {
            self.now = until.expect("a wait for something");
        }
    }

    fn tell(&mut self, batch: BatchName, reply: Reply) {
        let now = at(self.now);
        let answered = |job: &mut Job| job.answered(now, batch, Span::from_ms(80), None);
        match reply {
            Reply::Answered(answers) => {
                answered(&mut self.job);
                answers.into_iter().for_each(|(row, outcome)| self.job.settle(now, row, outcome));
            }
            Reply::Missing(row) => {
                answered(&mut self.job);
                self.job.missing(now, row);
            }
            Reply::Throttled => self.job.throttled(now, batch, None, None),
            Reply::Lost => self.job.lost(now, batch, true),
            Reply::Failed { maybe_applied } => self.job.failed(now, batch, maybe_applied),
            Reply::Refused => self.job.refused(now, batch),
            Reply::TooLarge => self.job.too_large(now, batch),
        }
    }
}

/// The counts, added up anew from the rows.
fn recount(job: &Job) -> Counts {
    let mut counts = Counts { open: job.counts().undecided(), ..Counts::default() };
    for row in 0..job.counts().total() {
        match job.outcome(row) {
            None => {}
            Some(Outcome::Imported) => counts.imported += 1,
            Some(Outcome::Duplicate | Outcome::Ignored) => counts.duplicate += 1,
            Some(Outcome::Failed) => counts.failed += 1,
            Some(Outcome::Skipped) => counts.skipped += 1,
            Some(Outcome::Unknown) => counts.unknown += 1,
        }
    }
    counts
}

/// Outcome by outcome, what the job says is what the server holds.
fn agree(job: &Job, server: &Server) {
    let counts = job.counts();
    assert_eq!((counts.undecided(), counts.total()), (0, server.weather.rows));
    assert_eq!(recount(job), counts);
    for (row, written) in (0..).zip(&server.written) {
        let outcome = job.outcome(row).unwrap();
        match outcome {
            Outcome::Imported => assert_eq!(*written, 1, "row {row} is imported"),
            Outcome::Unknown => assert!(*written <= 1, "row {row} is doubled"),
            _ => assert_eq!(*written, 0, "row {row} is {outcome:?}"),
        }
    }
}

fn weathers() -> impl Strategy<Value = Weather> {
    let batch = prop_oneof![
        (1_u32..60).prop_map(BatchSize::Fixed),
        (1_u32..120).prop_map(|max| BatchSize::Adaptive { max })
    ];
    let trouble = (0.0..0.1, 0.0..0.1, 0.0..0.1, 0.0..0.2);
    let server = (0_u32..40, any::<bool>(), prop_oneof![1_usize..30, Just(usize::MAX)], 5.0..200.0, 0.0..0.3);
    (any::<u64>(), 0_u32..600, batch, any::<bool>(), trouble, server).prop_map(
        |(seed, rows, batch, idempotent, trouble, (bad_every, per_item, most, limit, blind))| {
            let (lost_before, lost_after, failed, throttled) = trouble;
            Weather {
                seed,
                rows,
                batch,
                idempotent,
                lost_before,
                lost_after,
                failed,
                throttled,
                bad_every,
                per_item,
                most,
                limit,
                blind,
            }
        },
    )
}

/// Far more than any of these takes.
const STEPS: u32 = 200_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_row_ends_once_and_the_server_agrees(weather in weathers()) {
        let mut server = Server::new(&weather);
        let mut shell = Shell::new(&mut server, BTreeMap::new(), 0);
        prop_assert!(shell.run(STEPS), "it ends");
        let job = shell.job;
        agree(&job, &server);
        prop_assert_eq!(job.counts().duplicate + job.counts().skipped, 0);
        // Eight setbacks in a row: three in ten at most, so nobody is given up but by very bad luck.
        if weather.idempotent {
            let bad = (0..weather.rows).filter(|row| server.is_bad(*row)).count() as u32;
            prop_assert!(job.counts().imported + bad + 60 >= weather.rows);
            prop_assert!(job.counts().failed >= bad.saturating_sub(job.counts().unknown));
        }
    }

    #[test]
    fn counts_add_up_at_any_moment(weather in weathers(), every in 1_u32..50) {
        let mut server = Server::new(&weather);
        let mut shell = Shell::new(&mut server, BTreeMap::new(), 0);
        while !shell.run(every) {
            let counts = shell.job.counts();
            let decided = recount(&shell.job);
            prop_assert_eq!(decided.total(), counts.total());
            prop_assert_eq!(Counts { open: 0, ..decided }, Counts { open: 0, in_flight: 0, to_verify: 0, ..counts });
            // Whoever is in the air is in flight; whoever is in flight is in the air.
            let air: usize = shell.air.values().map(|(batch, _)| shell.job.rows(*batch).len()).sum();
            prop_assert_eq!(air as u32, counts.in_flight);
        }
    }

    #[test]
    fn a_crash_at_any_moment_loses_and_doubles_nothing(
        weather in weathers(),
        crashes in prop::collection::vec(0_u32..400, 1..4),
    ) {
        let mut server = Server::new(&weather);
        let (mut journal, mut now) = (BTreeMap::new(), 0);
        for steps in crashes {
            let mut shell = Shell::new(&mut server, journal, now);
            shell.run(steps);
            (journal, now) = (shell.journal, shell.now + 5000);
        }
        let mut shell = Shell::new(&mut server, journal, now);
        prop_assert!(shell.run(STEPS), "it ends");
        let job = shell.job;
        // What the journal says is done otherwise may be unknown: the notes tell that.
        let counts = job.counts();
        prop_assert_eq!((counts.undecided(), counts.total()), (0, weather.rows));
        for (row, written) in (0..).zip(&server.written) {
            prop_assert!(*written <= 1, "row {row} is doubled");
            match job.outcome(row).unwrap() {
                Outcome::Imported => prop_assert_eq!(*written, 1, "row {} is imported", row),
                Outcome::Failed | Outcome::Unknown => {}
                outcome => prop_assert!(false, "row {row} is {outcome:?}"),
            }
            if weather.idempotent && !server.is_bad(row) && weather.failed + weather.lost_before + weather.lost_after < 0.05 {
                prop_assert_eq!(*written, 1, "row {} is lost", row);
            }
        }
    }

    #[test]
    fn a_stop_at_any_moment_leaves_nothing_undecided(weather in weathers(), steps in 0_u32..300) {
        let mut server = Server::new(&weather);
        let mut shell = Shell::new(&mut server, BTreeMap::new(), 0);
        shell.run(steps);
        let rows = shell.job.counts().total();
        let requests = shell.server.requests;
        shell.job.cancel();
        let before = shell.job.counts();
        prop_assert_eq!(before.open + before.to_verify, 0);
        prop_assert!(shell.run(STEPS));
        prop_assert_eq!(shell.server.requests, requests, "nothing is sent any more");
        prop_assert_eq!((shell.job.counts().undecided(), shell.job.counts().total()), (0, rows));
        for row in 0..rows {
            let written = shell.server.written[row as usize];
            match shell.job.outcome(row).unwrap() {
                Outcome::Imported => prop_assert_eq!(written, 1),
                Outcome::Unknown => {}
                outcome => prop_assert_eq!(written, 0, "row {} is {:?}", row, outcome),
            }
        }
    }

    #[test]
    fn halving_finds_the_bad_rows_and_only_them(
        batch in 1_u32..130,
        rows in 1_u32..400,
        bad_every in 1_u32..200,
    ) {
        let weather = Weather { rows, batch: BatchSize::Fixed(batch), bad_every, ..CALM };
        let mut server = Server { tokens: 1e9, weather: Weather { limit: 1e9, ..weather.clone() }, ..Server::new(&weather) };
        let mut shell = Shell::new(&mut server, BTreeMap::new(), 0);
        // All at once: a stream that is read in small pieces makes small batches.
        shell.job.add(rows);
        prop_assert!(shell.run(STEPS));
        let job = shell.job;
        agree(&job, &server);
        let bad: Vec<u32> = (0..rows).filter(|row| server.is_bad(*row)).collect();
        let failed: Vec<u32> = (0..rows).filter(|row| job.outcome(*row) == Some(Outcome::Failed)).collect();
        let depth = batch.next_power_of_two().ilog2();
        let most = rows.div_ceil(batch) + 2 * bad.len() as u32 * depth;
        prop_assert!(server.requests <= most, "{} requests, at most {most}", server.requests);
        prop_assert_eq!(failed, bad);
    }
}

#[test]
fn the_journal_of_a_long_import_is_that_of_each_of_its_segments() {
    let rows = 2 * SEGMENT_ROWS + 100;
    let weather = Weather {
        rows,
        batch: BatchSize::Fixed(100),
        bad_every: 1000,
        limit: 200.0,
        lost_after: 0.02,
        ..CALM
    };
    let mut server = Server::new(&weather);
    let mut shell = Shell::new(&mut server, BTreeMap::new(), 0);
    assert!(shell.run(STEPS));
    for segment in 0..3 {
        assert_eq!(shell.journal[&segment], shell.job.bits(segment), "segment {segment}");
    }
    assert_eq!(shell.job.bits(0)[500 / 4] & 3, 3, "a bad row");
    let job = shell.job;
    agree(&job, &server);
    assert_eq!(job.counts().failed, 8);
    assert!(job.learned().is_none_or(|known| known.rate > 50.0));
}

#[test]
fn what_more_is_known_than_bits_say_counts() {
    let mut bits = [0; SEGMENT_BYTES];
    bits[0] = 0b11_11_10_01;
    for (idempotent, counts) in [
        (true, Counts { open: 3, ..Counts::default() }),
        (false, Counts { open: 2, to_verify: 1, ..Counts::default() }),
    ] {
        let mut desk = Desk::new(JobConfig { idempotent, ..QUICK }, 6);
        assert!(desk.job.decide(3, Outcome::Unknown));
        desk.job.restore(0, &bits);
        desk.job.restore(7, &bits);
        assert_eq!(desk.job.counts(), Counts { imported: 1, failed: 1, unknown: 1, ..counts });
        assert!(desk.job.decide(1, Outcome::Duplicate), "it is remembered as a duplicate");
        assert_eq!(desk.job.counts(), Counts { duplicate: 1, failed: 1, unknown: 1, ..counts });
        if idempotent {
            let (batch, rows) = desk.send();
            assert_eq!(rows, [0, 4, 5]);
            desk.answer(batch, Outcome::Ignored);
            assert_eq!(
                (desk.job.outcome(0), desk.job.outcome(4)),
                (Some(Outcome::Imported), Some(Outcome::Duplicate))
            );
        } else {
            assert_eq!(desk.verify().1, 0);
        }
    }
}

#[test]
fn a_row_from_before_a_crash_that_is_not_there_goes_once() {
    let mut desk = Desk::new(JobConfig { idempotent: false, ..QUICK }, 6);
    desk.job.restore(0, &[0b01_01_00_00]);
    for expected in [2, 3] {
        let (batch, row) = desk.verify();
        assert_eq!(row, expected);
        desk.job.answered(desk.now(), batch, Span::from_ms(20), None);
        desk.job.missing(desk.now(), row);
    }
    let mut sent = Vec::new();
    while let Next::Send { batch } = desk.within(60_000) {
        sent.extend_from_slice(desk.job.rows(batch));
        desk.answer(batch, Outcome::Imported);
    }
    assert_eq!(sent, [0, 1, 2, 3, 4, 5]);
}

/// With `cargo test --release --test bulk million -- --nocapture` it is a million, and prints what a row costs.
#[test]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_million_rows() {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(f64::NAN) * 4096.0
    };
    for (name, batch, lost) in [
        ("batches of 100", BatchSize::Fixed(100), false),
        ("one by one", BatchSize::Fixed(1), false),
        ("one by one, every 50th answer lost", BatchSize::Fixed(1), true),
    ] {
        let (rows, before) = (if cfg!(debug_assertions) { 20_000 } else { 1_000_000 }, resident());
        let started = std::time::Instant::now();
        let mut job = Job::new(JobConfig { batch, ..QUICK }, 1);
        job.add(rows);
        job.close();
        let (mut now, mut answers) = (0, 0_u32);
        loop {
            match job.next(at(now)) {
                Next::Send { batch } => {
                    answers += 1;
                    if lost && answers.is_multiple_of(50) {
                        job.lost(at(now), batch, true);
                        continue;
                    }
                    let rows = job.rows(batch).to_vec();
                    job.answered(at(now), batch, Span::from_ms(20), None);
                    rows.iter().for_each(|row| job.settle(at(now), *row, Outcome::Imported));
                }
                Next::Wait { until, .. } => now = until.unwrap().ticks(),
                next => break assert_eq!(next, Next::Done),
            }
        }
        let ns = started.elapsed().as_nanos() as f64 / f64::from(rows);
        let bytes = (resident() - before) / f64::from(rows);
        assert_eq!(job.counts(), Counts { imported: rows, ..Counts::default() });
        println!("{name}: {ns:.0} ns and {bytes:.2} bytes a row, {} requests", job.stats().requests);
    }
}
