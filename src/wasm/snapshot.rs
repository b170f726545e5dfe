//! What is handed out as a list of numbers: the circuit's state and the counters. Never on the path of a call.
//!
//! The names of the numbers are in `js/metrics.ts` and `js/codes.ts`: handed out with them, they would take 4 kB more.

use wasm_bindgen::JsValue;

use crate::circuit::CircuitSnapshot;
use crate::limits::Limits;
use crate::queue::LaneNumber;
use crate::record::{Histogram, Stats};
use crate::service::Service;
use crate::time::{Instant, Span};

use super::codes::phase_code;

/// The phase, the refusals in a row, when the last one came back (0: never), how long ago that was, and how long until
/// calls may go (infinity: nobody knows).
pub(super) fn circuit(snapshot: &CircuitSnapshot, now: Instant) -> [f64; 5] {
    let failure = snapshot.last_failure;
    [
        f64::from(phase_code(snapshot.phase)),
        f64::from(snapshot.consecutive),
        failure.map_or(0.0, Instant::as_ms),
        failure.map_or(0.0, |time| now.since(time).as_f64()),
        snapshot.retry_after.map_or(f64::INFINITY, Span::as_f64),
    ]
}

/// The counters in the order of [`Stats`], then for both histograms the count, p50, p95, p99 and the longest.
pub(super) fn counts(stats: &Stats) -> Vec<f64> {
    let counters =
        [stats.calls, stats.attempts, stats.successes, stats.throttled, stats.retries, stats.failures];
    let mut row: Vec<f64> = counters.iter().chain(&stats.rejected).map(|&count| count as f64).collect();
    durations(&mut row, &stats.waits);
    durations(&mut row, &stats.durations);
    row
}

/// See `lane_status` in `limits.rs`.
pub(super) fn lane(service: &Service, now: Instant, lane: LaneNumber) -> Vec<f64> {
    let limits = service.limits();
    let slots = limits.slots();
    let operation = limits.operation_of(lane);
    let mut row = Vec::new();
    let standing = [
        service.line().standing_in(lane) as f64,
        f64::from(slots.in_flight_of_lane(lane)),
        f64::from(slots.in_flight_of_operation(operation)),
        service.next_leave(now, lane).map_or(f64::NAN, Instant::as_ms),
    ];
    add(&mut row, &standing);
    for (quota, policy) in limits.quotas_of(lane) {
        for (index, window) in policy.windows.iter().enumerate() {
            let used = f64::from(quota.used(now, index, policy));
            add(&mut row, &[used, f64::from(window.limit), window.length.as_f64()]);
        }
    }
    row
}

/// See `dump` in `limits.rs`.
pub(super) fn dump(limits: &Limits, quota: u32, now: Instant) -> Vec<f64> {
    let Some((quota, policy)) = limits.quota_of(quota) else { return Vec::new() };
    let dump = quota.dump(now, policy);
    let mut row = Vec::new();
    add(&mut row, &[dump.rest.as_f64()]);
    for kept in &dump.entries {
        add(&mut row, &[kept.length.as_f64(), kept.age.as_f64(), f64::from(kept.count)]);
    }
    row
}

fn durations(row: &mut Vec<f64>, histogram: &Histogram) {
    add(row, &[histogram.count() as f64]);
    for percent in [50, 95, 99] {
        add(row, &[histogram.percentile(percent).as_f64()]);
    }
    add(row, &[histogram.longest().as_f64()]);
}

#[inline(never)]
fn add(row: &mut Vec<f64>, numbers: &[f64]) {
    row.extend_from_slice(numbers);
}

/// Hands out after the service was asked: JavaScript runs. Numbers always serialise; `null` would say that this changed.
pub(super) fn hand_out(numbers: &[f64]) -> JsValue {
    serde_wasm_bindgen::to_value(numbers).unwrap_or(JsValue::NULL)
}
