//! The only room that knows JavaScript: numbers in and out, foreign objects read with care, alarms, the seed.
//!
//! Exported functions hold a service briefly and never while JavaScript runs, so the shell may call in again from
//! anywhere. A permit crosses as its number, a time as milliseconds, a missing number as NaN.
//!
//! It becomes two modules of WebAssembly, by two features of the crate: `calls` is what every page needs that calls a
//! server, `imports` what a page needs besides that imports files.

// What one module leaves alone, the other one needs.
#![cfg_attr(not(all(feature = "calls", feature = "imports")), allow(dead_code))]

mod handles;
mod numbers;

#[cfg(feature = "calls")]
mod alarm;
#[cfg(feature = "calls")]
mod codes;
#[cfg(feature = "calls")]
mod config;
#[cfg(feature = "calls")]
mod foreign;
#[cfg(feature = "calls")]
mod limits;
#[cfg(feature = "calls")]
mod pool;
#[cfg(feature = "calls")]
mod seed;
#[cfg(feature = "calls")]
mod service;
#[cfg(feature = "calls")]
mod snapshot;

#[cfg(feature = "imports")]
mod bulk;

#[cfg(feature = "calls")]
pub use {alarm::sleep, limits::*, pool::*, service::*};

#[cfg(feature = "imports")]
pub use bulk::*;

use rlsf::SmallGlobalTlsf;
use wasm_bindgen::prelude::wasm_bindgen;

/// Seven kilobytes smaller than the platform's own, and no slower. It never joins pages that it got at different times,
/// so a buffer has to grow by doubling, as `Vec` does, and not by steps.
#[global_allocator]
static ALLOCATOR: SmallGlobalTlsf = SmallGlobalTlsf::new();

/// `__wbg_reset_state` calls the start function of the new instance; without one it fails.
#[wasm_bindgen(start)]
pub fn start() {}
