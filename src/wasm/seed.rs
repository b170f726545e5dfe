//! One seed from the platform; everything after it is computed.

use std::sync::Mutex;

use crate::random::Random;

static SEEDS: Mutex<Option<Random>> = Mutex::new(None);

/// A seed for one more service. Without a source of randomness the seeds are always the same: jitter then spreads the
/// callers of a page, but not those of two pages.
pub(super) fn next() -> u64 {
    let Ok(mut seeds) = SEEDS.try_lock() else { return 0 };
    seeds.get_or_insert_with(|| Random::seeded(getrandom::u64().unwrap_or(0))).draw().to_bits()
}
