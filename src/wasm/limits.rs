//! The lanes and quotas of a service for JavaScript. A key is a number here: the shell keeps the names.

use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::time::Span;

use super::codes::NONE;
use super::numbers::instant;
use super::service::{Handle, ask};
use super::snapshot;

/// A lane of this operation. Where there are too many it has the number of an idle one, whose name is to be forgotten.
/// `NONE`: none is idle (`after`).
#[wasm_bindgen]
pub fn lane(service: Handle, now: f64, operation: u32) -> u32 {
    ask(service, |core| match core.service.lane(instant(now), operation) {
        Ok(lane) => lane,
        Err(after) => {
            core.no_lane(after);
            NONE
        }
    })
}

/// The number of a quota that went with an idle lane, whose name is to be forgotten; `NONE`: no more.
#[wasm_bindgen]
pub fn freed(service: Handle) -> u32 {
    ask(service, |core| core.service.limits_mut().freed().unwrap_or(NONE))
}

/// A new quota, counted by the policy of this number.
#[wasm_bindgen]
pub fn quota(service: Handle, policy: u32) -> u32 {
    ask(service, |core| core.service.limits_mut().quota(policy))
}

/// The lane needs this quota too.
#[wasm_bindgen]
pub fn need(service: Handle, lane: u32, quota: u32) {
    ask(service, |core| core.service.limits_mut().need(lane, quota));
}

/// Units of the lane's quotas that were taken at `taken` and not used. Returns flags.
#[wasm_bindgen]
pub fn give_back(service: Handle, lane: u32, taken: f64, weight: u32) -> u32 {
    ask(service, |core| {
        core.service.give_back(lane, instant(taken), weight);
        core.flags()
    })
}

/// Forgets what was used of a lane's quotas; lane 0: of all.
#[wasm_bindgen]
pub fn clear(service: Handle, lane: u32) {
    ask(service, |core| core.service.clear((lane != 0).then_some(lane)));
}

/// After a restart: windows of up to a minute count as full from `now` on, because what was taken is not known.
#[wasm_bindgen]
pub fn fill(service: Handle, now: f64) {
    ask(service, |core| core.service.limits_mut().fill(instant(now)));
}

/// How many stand in the lane, how many of it and of its operation are under way, when the next one may go by the quotas,
/// then for each window of each quota: used, limit, length.
#[wasm_bindgen]
pub fn lane_status(service: Handle, now: f64, lane: u32) -> JsValue {
    let now = instant(now);
    let numbers = ask(service, |core| snapshot::lane(&core.service, now, lane));
    snapshot::hand_out(&numbers)
}

/// How many are under way, and how many stand in line.
#[wasm_bindgen]
pub fn limits_status(service: Handle) -> JsValue {
    let numbers = ask(service, |core| {
        [core.service.limits().slots().in_flight(), core.service.line().standing()].map(f64::from)
    });
    snapshot::hand_out(&numbers)
}

/// What a quota remembers: how long until its interval has passed, then triples of a window's length, an age and a count.
#[wasm_bindgen]
pub fn dump(service: Handle, quota: u32, now: f64) -> JsValue {
    let now = instant(now);
    let numbers = ask(service, |core| snapshot::dump(core.service.limits(), quota, now));
    snapshot::hand_out(&numbers)
}

/// One triple of a dump; with length 0 the age is how long until the interval has passed.
#[wasm_bindgen]
pub fn load(service: Handle, quota: u32, now: f64, length: f64, age: f64, count: u32) {
    let (now, length, age) = (instant(now), Span::from_ms_ceil(length), Span::from_ms_ceil(age));
    ask(service, |core| {
        let Some((quota, policy)) = core.service.limits_mut().quota_of_mut(quota) else { return };
        if length == Span::ZERO {
            quota.load_interval(now, age);
        } else {
            quota.load(now, policy, length, age, count);
        }
    });
}
