//! `pool.rs` for JavaScript: numbers in, one number out.

use std::process::abort;
use std::sync::Mutex;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::pool::{Entered, Pool};
use crate::time::Instant;

/// The pools by handle; `None` where the handle is free.
static POOLS: Mutex<Vec<Option<Pool>>> = Mutex::new(Vec::new());

/// A new pool.
#[wasm_bindgen]
pub fn pool(workers: u32, bound: u32) -> u32 {
    let mut pools = POOLS.try_lock().unwrap_or_else(|_| abort());
    let pool = Some(Pool::new(workers, bound));
    if let Some((place, handle)) = pools.iter_mut().zip(0..).find(|(place, _)| place.is_none()) {
        *place = pool;
        return handle;
    }
    pools.push(pool);
    u32::try_from(pools.len().saturating_sub(1)).unwrap_or(u32::MAX)
}

/// Forgets the pool; the handle is free for another.
#[wasm_bindgen]
pub fn pool_free(pool: u32) {
    if let Some(place) = POOLS.try_lock().unwrap_or_else(|_| abort()).get_mut(pool as usize) {
        *place = None;
    }
}

/// Other numbers of workers and of jobs that may wait.
#[wasm_bindgen]
pub fn pool_configure(pool: u32, workers: u32, bound: u32) {
    ask(pool, |pool| pool.reconfigure(workers, bound));
}

/// A job comes: -1 it runs, -2 there is no room, otherwise the name under which it waits.
#[wasm_bindgen]
pub fn pool_enter(pool: u32, now: f64, priority: i32) -> i32 {
    match ask(pool, |pool| pool.enter(Instant::from_ms(now), priority)) {
        Entered::Runs => -1,
        Entered::Full => -2,
        Entered::Waits(name) => i32::try_from(name).unwrap_or(-2),
    }
}

/// The name of the job that runs next, -1 for nobody. `ended`: a job has ended.
#[wasm_bindgen]
pub fn pool_next(pool: u32, ended: bool) -> i32 {
    ask(pool, |pool| pool.next(ended)).and_then(|name| i32::try_from(name).ok()).unwrap_or(-1)
}

/// A job that waits goes. False when nobody of that name waits.
#[wasm_bindgen]
pub fn pool_leave(pool: u32, name: u32) -> bool {
    ask(pool, |pool| pool.leave(name))
}

/// As in `service.rs`: what cannot happen traps.
fn ask<T>(pool: u32, question: impl FnOnce(&mut Pool) -> T) -> T {
    match POOLS.try_lock().unwrap_or_else(|_| abort()).get_mut(pool as usize) {
        Some(Some(pool)) => question(pool),
        _ => abort(),
    }
}
