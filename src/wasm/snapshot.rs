//! What is handed out as an object: the circuit's state and the counters. Never on the path of a call.

use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::circuit::CircuitSnapshot;
use crate::decision::Phase;
use crate::record::{Histogram, Recorder, Stats};
use crate::time::Instant;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Circuit {
    is_open: bool,
    state: &'static str,
    consecutive_failures: u32,
    last_failure_time: f64,
    time_since_last_failure: f64,
    retry_after_ms: f64,
}

#[derive(Serialize)]
struct Metrics {
    total: Counts,
    groups: Vec<Counts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    calls: f64,
    attempts: f64,
    successes: f64,
    throttled: f64,
    retries: f64,
    failures: f64,
    rejected: Vec<f64>,
    waits: Durations,
    attempt_durations: Durations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Durations {
    count: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(super) fn circuit(snapshot: &CircuitSnapshot, now: Instant) -> JsValue {
    hand_out(&Circuit {
        is_open: matches!(snapshot.phase, Phase::Open | Phase::Isolated),
        state: phase_name(snapshot.phase),
        consecutive_failures: snapshot.consecutive,
        last_failure_time: snapshot.last_failure.map_or(0.0, Instant::as_ms),
        time_since_last_failure: snapshot.last_failure.map_or(0.0, |time| now.since(time).as_f64()),
        retry_after_ms: snapshot.retry_after.map_or(f64::INFINITY, |span| span.as_f64()),
    })
}

pub(super) fn metrics(record: &Recorder) -> JsValue {
    hand_out(&Metrics { total: counts(record.total()), groups: record.groups().iter().map(counts).collect() })
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Closed => "closed",
        Phase::Open => "open",
        Phase::HalfOpen => "half-open",
        Phase::Isolated => "isolated",
    }
}

fn counts(stats: &Stats) -> Counts {
    Counts {
        calls: stats.calls as f64,
        attempts: stats.attempts as f64,
        successes: stats.successes as f64,
        throttled: stats.throttled as f64,
        retries: stats.retries as f64,
        failures: stats.failures as f64,
        rejected: stats.rejected.iter().map(|&count| count as f64).collect(),
        waits: durations(&stats.waits),
        attempt_durations: durations(&stats.durations),
    }
}

fn durations(histogram: &Histogram) -> Durations {
    Durations {
        count: histogram.count() as f64,
        p50_ms: histogram.percentile(50).as_f64(),
        p95_ms: histogram.percentile(95).as_f64(),
        p99_ms: histogram.percentile(99).as_f64(),
        max_ms: histogram.longest().as_f64(),
    }
}

/// Plain structs of numbers and short strings always serialise; `null` would say that this changed.
fn hand_out(value: &impl Serialize) -> JsValue {
    serde_wasm_bindgen::to_value(value).unwrap_or(JsValue::NULL)
}
