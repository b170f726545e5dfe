//! The only room that knows JavaScript: numbers in and out, foreign objects read with care, alarms, the seed.
//!
//! Exported functions hold a service briefly and never while JavaScript runs, so the shell may call in again from
//! anywhere. A permit crosses as its number, a time as milliseconds, a missing number as NaN.

mod alarm;
mod bulk;
mod codes;
mod config;
mod foreign;
mod handles;
mod limits;
mod pool;
mod seed;
mod service;
mod snapshot;

pub use alarm::sleep;
pub use bulk::*;
pub use limits::*;
pub use pool::*;
pub use service::*;

use rlsf::SmallGlobalTlsf;
use wasm_bindgen::prelude::wasm_bindgen;

/// Seven kilobytes smaller than the platform's own, and no slower. It never joins pages that it got at different times,
/// so a buffer has to grow by doubling, as `Vec` does, and not by steps.
#[global_allocator]
static ALLOCATOR: SmallGlobalTlsf = SmallGlobalTlsf::new();

/// `__wbg_reset_state` calls the start function of the new instance; without one it fails.
#[wasm_bindgen(start)]
pub fn start() {}
