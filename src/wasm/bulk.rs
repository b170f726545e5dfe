//! `bulk` for JavaScript: numbers in, numbers out. What the numbers mean is in `js/import/core-desk.ts` too.

use wasm_bindgen::prelude::wasm_bindgen;

use crate::bulk::{BatchSize, Job, JobConfig, Next, Outcome, Stop, StopWhen};
use crate::classify::{Advertised, advertised};
use crate::pacer::Known;
use crate::time::{Instant, Span, WallTime};

use super::handles::{Handle, Handles};
use super::numbers::{instant, number};

/// An import, and what the answer that is told of next said about the limit.
struct Desk {
    job: Job,
    heard: Option<Advertised>,
}

static DESKS: Handles<Desk> = Handles::new();

/// A new import. NaN: no `rate` that is never exceeded, no ratio of failures at which it gives up, nothing known about
/// the server. `cap` 0: none.
#[expect(clippy::too_many_arguments, reason = "numbers cross for nothing, objects do not")]
#[wasm_bindgen]
pub fn job(
    idempotent: bool,
    verifies: bool,
    adaptive: bool,
    batch: u32,
    max_in_flight: u32,
    max_rate: f64,
    failed_ratio: f64,
    after: u32,
    rate: f64,
    cap: u32,
    bans: bool,
    cost: f64,
    seed: f64,
) -> Handle {
    let batch = if adaptive { BatchSize::Adaptive { max: batch } } else { BatchSize::Fixed(batch) };
    let known = Known { rate, cap: (cap > 0).then_some(cap), bans, cost };
    let config = JobConfig {
        idempotent,
        verifies,
        batch,
        max_in_flight,
        max_rate: number(max_rate),
        stop_when: number(failed_ratio).map(|failed_ratio| StopWhen { failed_ratio, after }),
        known: number(rate).map(|_| known),
    };
    DESKS.add(Desk { job: Job::new(config, seed.to_bits()), heard: None })
}

/// Forgets the import; the handle is free for another.
#[wasm_bindgen]
pub fn job_free(job: Handle) {
    DESKS.free(job);
}

/// Appends rows.
#[wasm_bindgen]
pub fn job_add(job: Handle, count: u32) {
    ask(job, |desk| desk.job.add(count));
}

/// What happens to it from outside: 0 no more rows come, 1 pause, 2 resume, 3 hold until then (NaN: until 4), 4 release,
/// 5 and more: stop, for the reason of that number.
#[wasm_bindgen]
pub fn job_tell(job: Handle, what: u32, until: f64) {
    ask(job, |desk| match what {
        0 => desk.job.close(),
        1 => desk.job.pause(),
        2 => desk.job.resume(),
        3 => desk.job.hold(number(until).map(instant)),
        4 => desk.job.release(),
        5 => desk.job.stop(Stop::Cancelled),
        6 => desk.job.stop(Stop::Refused),
        7 => desk.job.stop(Stop::FailedRatio),
        _ => desk.job.stop(Stop::Trouble),
    });
}

/// Decides a row that is not on its way. False: it is, or there is none.
#[wasm_bindgen]
pub fn job_decide(job: Handle, row: u32, outcome: u32) -> bool {
    ask(job, |desk| desk.job.decide(row, outcome_of(outcome)))
}

/// Takes up a segment of the journal.
#[wasm_bindgen]
pub fn job_restore(job: Handle, segment: u32, bits: &[u8]) {
    ask(job, |desk| desk.job.restore(segment, bits));
}

/// What to do: 0 nothing more; 1 send, batch, rows; 2 look up, batch, row; 3 wait, reason, until; 4 more rows, 0, until.
/// A time is its lower and its upper half; all ones: nobody knows.
#[wasm_bindgen]
pub fn job_next(job: Handle, now: f64) -> Vec<u32> {
    ask(job, |desk| match desk.job.next(instant(now)) {
        Next::Done => Vec::from([0]),
        Next::Send { batch } => [&[1, batch], desk.job.rows(batch)].concat(),
        Next::Verify { batch, row } => Vec::from([2, batch, row]),
        Next::Wait { until, reason } => waiting(3, reason as u32, until),
        Next::Hungry { until } => waiting(4, 0, until),
    })
}

/// How often a row came to be judged, times 8, and its outcome; 7: none yet. Outcomes have the order of their enum.
#[wasm_bindgen]
pub fn job_row(job: Handle, row: u32) -> u32 {
    ask(job, |desk| {
        let outcome = desk.job.outcome(row).map_or(7, |outcome| outcome as u32);
        desk.job.attempt(row).wrapping_mul(8) | outcome
    })
}

/// What the answer that is told of next said about the limit: the fields of its headers that may tell of one, a line
/// `name:value` for each. `wall`: when it came, by the clock of its server where that is known.
#[wasm_bindgen]
pub fn job_heard(job: Handle, fields: &str, wall: f64) {
    let field = |name: &str| {
        let mut named = fields.lines().filter_map(|line| line.split_once(':'));
        named.find(|(field, _)| *field == name).map(|(_, value)| value.to_owned())
    };
    let heard = advertised(&field, WallTime::from_ms(wall));
    ask(job, |desk| desk.heard = heard);
}

/// How a batch ends: 0 answered (`detail`: how long that took), 1 throttled (the delay that the server asked for; NaN:
/// none), 2 lost (0: it did not reach the server), 3 the server failed (0: before it wrote anything), 4 refused, 5 too
/// large.
#[wasm_bindgen]
pub fn job_end(job: Handle, now: f64, batch: u32, ending: u32, detail: f64) {
    let now = instant(now);
    let perhaps = detail != 0.0;
    ask(job, |Desk { job, heard }| {
        let heard = heard.take();
        match ending {
            0 => job.answered(now, batch, Span::from_ms_ceil(detail), heard),
            1 => job.throttled(now, batch, number(detail).map(Span::from_ms_ceil), heard),
            2 => job.lost(now, batch, perhaps),
            3 => job.failed(now, batch, perhaps),
            4 => job.refused(now, batch),
            _ => job.too_large(now, batch),
        }
    });
}

/// Gives a row of a batch that was answered its outcome; 6: it was looked up and is not there.
#[wasm_bindgen]
pub fn job_settle(job: Handle, now: f64, row: u32, outcome: u32) {
    let now = instant(now);
    ask(job, |desk| match outcome {
        6 => desk.job.missing(now, row),
        _ => desk.job.settle(now, row, outcome_of(outcome)),
    });
}

/// The segments that changed since they were asked for last.
#[wasm_bindgen]
pub fn job_changed(job: Handle) -> Vec<u32> {
    ask(job, |desk| std::iter::from_fn(|| desk.job.next_changed()).collect())
}

/// A segment, as the journal keeps it.
#[wasm_bindgen]
pub fn job_bits(job: Handle, segment: u32) -> Vec<u8> {
    ask(job, |desk| desk.job.bits(segment).to_vec())
}

/// How it stands, in the order of the lists below. NaN: nobody can tell how long the rest takes, nothing was learned. A cap
/// of 0 is none, and so is a reason to stop.
#[wasm_bindgen]
pub fn job_numbers(job: Handle, now: f64) -> Vec<f64> {
    ask(job, |Desk { job, .. }| {
        let counts = job.counts();
        let stats = job.stats();
        let progress = job.progress(instant(now));
        let [from, to] = progress.eta.map_or([f64::NAN; 2], |eta| eta.map(Span::as_f64));
        let pace = job.pace();
        let none = Known { rate: f64::NAN, cap: None, bans: false, cost: 0.0 };
        let known = job.learned().unwrap_or(none);
        #[rustfmt::skip]
        let counted = [
            counts.imported, counts.duplicate, counts.failed, counts.skipped, counts.unknown,
            counts.open, counts.in_flight, counts.to_verify,
            stats.requests, stats.throttled, stats.retries,
            pace.cap.unwrap_or(0), job.batch_size(), job.wants(),
            known.cap.unwrap_or(0), u32::from(known.bans),
            job.stopped().map_or(0, |stop| STOP.wrapping_add(stop as u32)),
        ];
        let measured = [progress.rows_per_second, from, to, pace.rate, known.rate, known.cost];
        counted.into_iter().map(f64::from).chain(measured).collect()
    })
}

fn ask<A>(job: Handle, question: impl FnOnce(&mut Desk) -> A) -> A {
    DESKS.ask(job, question)
}

fn waiting(what: u32, reason: u32, until: Option<Instant>) -> Vec<u32> {
    let [low, high] = until.map_or([u32::MAX; 2], |until| {
        let ticks = until.ticks();
        [ticks, ticks >> 32].map(lower_half)
    });
    Vec::from([what, reason, low, high])
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it does")]
const fn lower_half(number: u64) -> u32 {
    number as u32
}

fn outcome_of(code: u32) -> Outcome {
    match code {
        0 => Outcome::Imported,
        1 => Outcome::Duplicate,
        2 => Outcome::Ignored,
        3 => Outcome::Failed,
        4 => Outcome::Skipped,
        _ => Outcome::Unknown,
    }
}

/// The first of the reasons to stop, as `job_tell` takes them.
const STOP: u32 = 5;
