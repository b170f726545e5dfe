//! `pool.rs` for JavaScript: numbers in, one number out.

use wasm_bindgen::prelude::wasm_bindgen;

use crate::pool::{Entered, Pool};
use crate::time::Instant;

use super::handles::{Handle, Handles};

static POOLS: Handles<Pool> = Handles::new();

/// A new pool.
#[wasm_bindgen]
pub fn pool(workers: u32, bound: u32) -> Handle {
    POOLS.add(Pool::new(workers, bound))
}

/// Forgets the pool; the handle is free for another.
#[wasm_bindgen]
pub fn pool_free(pool: Handle) {
    POOLS.free(pool);
}

/// Other numbers of workers and of jobs that may wait.
#[wasm_bindgen]
pub fn pool_configure(pool: Handle, workers: u32, bound: u32) {
    POOLS.ask(pool, |pool| pool.reconfigure(workers, bound));
}

/// A job comes: -1 it runs, -2 there is no room, otherwise the name under which it waits.
#[wasm_bindgen]
pub fn pool_enter(pool: Handle, now: f64, priority: i32) -> i32 {
    match POOLS.ask(pool, |pool| pool.enter(Instant::from_ms(now), priority)) {
        Entered::Runs => -1,
        Entered::Full => -2,
        Entered::Waits(name) => i32::try_from(name).unwrap_or(-2),
    }
}

/// The name of the job that runs next, -1 for nobody. `ended`: a job has ended.
#[wasm_bindgen]
pub fn pool_next(pool: Handle, ended: bool) -> i32 {
    POOLS.ask(pool, |pool| pool.next(ended)).and_then(|name| i32::try_from(name).ok()).unwrap_or(-1)
}

/// A job that waits goes. False when nobody of that name waits.
#[wasm_bindgen]
pub fn pool_leave(pool: Handle, name: u32) -> bool {
    POOLS.ask(pool, |pool| pool.leave(name))
}
