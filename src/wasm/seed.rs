//! One seed from the platform; everything after it is computed.

use std::cell::RefCell;

use crate::random::Random;

thread_local! {
    static SEEDS: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// A seed for one more service. Without a source of randomness the seeds are always the same: jitter then spreads the
/// callers of a page, but not those of two pages.
pub(super) fn next() -> u64 {
    SEEDS.with_borrow_mut(|seeds| {
        seeds.get_or_insert_with(|| Random::seeded(getrandom::u64().unwrap_or(0))).draw().to_bits()
    })
}
