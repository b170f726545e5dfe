//! Slots: so many attempts at once, over all, per operation and per key.
//!
//! ```text
//!           take             release
//!   free ─────────► held ──────────────────► free
//!                   ▲  │
//!             renew └──┤ the lease runs out         reclaim
//!                      └─────────────────► overdue ─────────► free
//! ```
//!
//! What is overdue counts as free for who asks, and stays counted until it is reclaimed.

use crate::decision::Permit;
use crate::time::{Instant, Span};

/// How many may run at once. `None`: as many as come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotsConfig {
    /// Over all.
    pub global: Option<u32>,
    /// In one lane, which is what an operation does for one key.
    pub per_key: Option<u32>,
    /// By the number of the operation; one that is not in the list has no cap.
    pub per_operation: Vec<Option<u32>>,
    /// How long a slot is held at most. `None`: until it is released.
    pub lease: Option<Span>,
}

/// Which cap stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// That of all.
    Global,
    /// That of the operation.
    Operation,
    /// That of the key.
    Key,
}

/// Counts who runs, and takes slots back that nobody gave back in time.
///
/// Without leases nothing is kept of the single slot. With them every step is O(log n) of those that are held, the
/// cost of making room spread over the steps. Lanes and operations are numbered from 0 without large gaps.
#[derive(Debug)]
pub struct Slots {
    config: SlotsConfig,
    in_flight: u32,
    lanes: Vec<u32>,
    operations: Vec<u32>,
    leases: Leases,
    unleased: Stretch,
}

/// Permits that hold a slot without a lease: those numbered from `first` to `last` did, and `held` of them still do.
///
/// No permit of a stretch was ever written down in [`Leases`].
#[derive(Debug, Default)]
struct Stretch {
    first: u64,
    last: u64,
    held: u32,
}

impl Slots {
    /// All free.
    pub fn new(config: SlotsConfig) -> Self {
        Self {
            config,
            in_flight: 0,
            lanes: Vec::new(),
            operations: Vec::new(),
            leases: Leases::default(),
            unleased: Stretch::default(),
        }
    }

    /// Other limits from the next decision on. Whoever runs goes on, and keeps the end of its lease or that there is
    /// none. With fewer slots than are held nobody goes until enough came back.
    pub fn reconfigure(&mut self, config: SlotsConfig) {
        self.config = config;
    }

    /// Which cap stands in the way of one more; `None` when a slot is free. No effect.
    ///
    /// `cap` stands in for the configured cap of the operation. Of several full ones the narrowest is told, since who
    /// waits for its own key must not stand in the way of others. Slots whose lease has run out count as free; they
    /// are looked for one by one unless [`Slots::reclaim`] was asked before.
    pub fn check(&self, now: Instant, lane: u32, operation: u32, cap: Option<u32>) -> Option<Full> {
        let of_operation =
            cap.or_else(|| self.config.per_operation.get(operation as usize).copied().flatten());
        let is_full = |full: &Full| {
            let (cap, held) = match full {
                Full::Key => (self.config.per_key, self.in_flight_of_lane(lane)),
                Full::Operation => (of_operation, self.in_flight_of_operation(operation)),
                Full::Global => (self.config.global, self.in_flight),
            };
            let overdue = || self.leases.overdue(now, *full, lane, operation);
            cap.is_some_and(|cap| held >= cap && held.saturating_sub(overdue()) >= cap)
        };
        [Full::Key, Full::Operation, Full::Global].into_iter().find(is_full)
    }

    /// Takes a slot, whether or not one is free. Permits come in the order of their numbers, each once.
    pub fn take(&mut self, now: Instant, permit: &Permit, lane: u32, operation: u32) {
        self.count(lane, operation, 1);
        let sequence = permit.sequence();
        let stretch = &mut self.unleased;
        if stretch.held == 0 {
            stretch.first = sequence;
        }
        if self.config.lease.is_none() && self.leases.last < stretch.first {
            stretch.last = sequence;
            stretch.held = stretch.held.wrapping_add(1);
            return;
        }
        // Without a lease, but leases were given since the stretch began: it cannot go on across them.
        let end = self.config.lease.map_or(Instant::MAX, |lease| now.plus(lease));
        self.leases.push(Lease { sequence, lane, operation, held: true }, end);
    }

    /// Gives the slot back. True when it was still held; harmless when it was not, or was taken back.
    ///
    /// Only who has no lease must not do it twice: nothing is known of the single slot then.
    pub fn release(&mut self, permit: &Permit, lane: u32, operation: u32) -> bool {
        let sequence = permit.sequence();
        let stretch = &mut self.unleased;
        if stretch.held > 0 && (stretch.first..=stretch.last).contains(&sequence) {
            stretch.held = stretch.held.saturating_sub(1);
            self.count(lane, operation, -1);
            return true;
        }
        let index = self.leases.find(sequence);
        index.and_then(|index| self.give_back(index)).is_some()
    }

    /// Begins the lease anew and answers when it ends, which is never earlier than before. `None` when it has run
    /// out, was given back, or never was one. Without leases in the configuration one that still runs keeps its end.
    pub fn renew(&mut self, now: Instant, permit: &Permit) -> Option<Instant> {
        let index = self.leases.find(permit.sequence())?;
        let end = self.leases.end(index).filter(|end| *end > now && *end < Instant::MAX)?;
        let end = self.config.lease.map_or(end, |lease| end.max(now.plus(lease)));
        self.leases.set_end(index, end);
        Some(end)
    }

    /// Takes one slot back whose lease has run out, and answers whose it was: the lane and the operation. Ask until
    /// it answers `None`.
    pub fn reclaim(&mut self, now: Instant) -> Option<(u32, u32)> {
        let index = self.leases.first_to_end(now)?;
        self.give_back(index)
    }

    /// When the next lease runs out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.leases.earliest()).filter(|end| *end < Instant::MAX)
    }

    /// How many slots are held. One whose lease has run out is, until it is reclaimed; the same below.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many are held in this lane.
    pub fn in_flight_of_lane(&self, lane: u32) -> u32 {
        self.lanes.get(lane as usize).copied().unwrap_or(0)
    }

    /// How many are held by this operation, in all lanes.
    pub fn in_flight_of_operation(&self, operation: u32) -> u32 {
        self.operations.get(operation as usize).copied().unwrap_or(0)
    }

    fn give_back(&mut self, index: usize) -> Option<(u32, u32)> {
        let (lane, operation) = self.leases.end_one(index)?;
        self.count(lane, operation, -1);
        Some((lane, operation))
    }

    fn count(&mut self, lane: u32, operation: u32, change: i32) {
        self.in_flight = self.in_flight.saturating_add_signed(change);
        for (counts, index) in [(&mut self.lanes, lane as usize), (&mut self.operations, operation as usize)]
        {
            if counts.len() <= index {
                counts.resize(index.wrapping_add(1), 0);
            }
            if let Some(count) = counts.get_mut(index) {
                *count = count.saturating_add_signed(change);
            }
        }
    }
}

/// Every lease that runs, in the order of the permits, and which of them ends first.
///
/// What ended stays until it is most of all, or there is no room. The ends are the leaves of a tree in which every
/// node is the earlier of its two children; whatever order leases are renewed in, the next one to end is found on
/// the way down from the root.
#[derive(Debug, Default)]
struct Leases {
    all: Vec<Lease>,
    /// Node `n` has the children `2n` and `2n + 1`; the root is 1. The second half are the leaves, in the order of
    /// `all`. [`Instant::MAX`] where nothing ends.
    ends: Vec<Instant>,
    /// How many of them are held.
    held: usize,
    /// The permit that came last.
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    sequence: u64,
    lane: u32,
    operation: u32,
    held: bool,
}

impl Leases {
    fn push(&mut self, lease: Lease, end: Instant) {
        if self.all.len() >= self.room() {
            self.clear_up();
        }
        let index = self.all.len();
        self.last = self.last.max(lease.sequence);
        self.held = self.held.wrapping_add(1);
        self.all.push(lease);
        self.set_end(index, end);
    }

    /// Where the lease of this permit is; `None` when it is not held.
    fn find(&self, sequence: u64) -> Option<usize> {
        let index = self.all.binary_search_by_key(&sequence, |lease| lease.sequence).ok()?;
        self.all.get(index).filter(|lease| lease.held).map(|_| index)
    }

    fn end(&self, index: usize) -> Option<Instant> {
        self.ends.get(self.room().wrapping_add(index)).copied()
    }

    fn set_end(&mut self, index: usize, mut end: Instant) {
        let mut node = self.room().wrapping_add(index);
        // What did not change a node changes none above it either.
        while let Some(known) = self.ends.get_mut(node).filter(|known| node > 0 && **known != end) {
            *known = end;
            if let Some(sibling) = self.ends.get(node ^ 1) {
                end = end.min(*sibling);
            }
            node /= 2;
        }
    }

    /// The end that comes first, [`Instant::MAX`] when there is none.
    fn earliest(&self) -> Instant {
        self.ends.get(1).copied().unwrap_or(Instant::MAX)
    }

    /// One that has run out, if any has: the one that did so first.
    fn first_to_end(&self, now: Instant) -> Option<usize> {
        let earliest = Some(self.earliest()).filter(|end| *end <= now && *end < Instant::MAX)?;
        let mut node = 1;
        while node < self.room() {
            node = node.wrapping_mul(2);
            if self.ends.get(node) != Some(&earliest) {
                node |= 1;
            }
        }
        node.checked_sub(self.room())
    }

    /// How many have run out of those that this cap counts.
    fn overdue(&self, now: Instant, cap: Full, lane: u32, operation: u32) -> u32 {
        if self.earliest() > now {
            return 0;
        }
        let counts = |lease: &Lease| match cap {
            Full::Global => true,
            Full::Operation => lease.operation == operation,
            Full::Key => lease.lane == lane,
        };
        let overdue = self.with_ends().filter(|(lease, end)| **end <= now && counts(lease));
        overdue.fold(0, |count, _| count.wrapping_add(1))
    }

    /// Ends the lease at this place, if it is held, and answers whose it was.
    fn end_one(&mut self, index: usize) -> Option<(u32, u32)> {
        let lease = self.all.get_mut(index).filter(|lease| lease.held)?;
        lease.held = false;
        let whose = (lease.lane, lease.operation);
        self.held = self.held.wrapping_sub(1);
        self.set_end(index, Instant::MAX);
        if self.held.wrapping_mul(4).wrapping_add(LEAST_ROOM) < self.all.len() {
            self.clear_up();
        }
        Some(whose)
    }

    /// Drops those that ended, and makes room for half as many again as are held: between two of these so many come
    /// or go that each of them pays for a few others only.
    fn clear_up(&mut self) {
        let room = self.held.wrapping_add(self.held / 2).wrapping_add(LEAST_ROOM);
        let ends = vec![Instant::MAX; room.wrapping_mul(2)];
        let before = std::mem::replace(self, Self { all: Vec::new(), ends, held: 0, last: self.last });
        for (lease, end) in before.with_ends().filter(|(lease, _)| lease.held) {
            self.push(*lease, *end);
        }
    }

    fn with_ends(&self) -> impl Iterator<Item = (&Lease, &Instant)> {
        self.all.iter().zip(self.ends.get(self.room()..).unwrap_or_default())
    }

    const fn room(&self) -> usize {
        self.ends.len() / 2
    }
}

/// With fewer leases it is not worth while to clear up.
const LEAST_ROOM: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn lease(sequence: u64) -> Lease {
        Lease { sequence, lane: 0, operation: 0, held: true }
    }

    fn leases(ends: &[u64]) -> Leases {
        let mut leases = Leases::default();
        for (end, sequence) in ends.iter().zip(1..) {
            leases.push(lease(sequence), at(*end));
        }
        leases
    }

    fn slots(lease: Option<u64>) -> Slots {
        Slots::new(SlotsConfig { lease: lease.map(Span::from_ms), ..SlotsConfig::default() })
    }

    fn take(slots: &mut Slots, sequence: u64) {
        slots.take(at(0), &Permit::new(sequence), 0, 0);
    }

    fn release(slots: &mut Slots, sequence: u64) -> bool {
        slots.release(&Permit::new(sequence), 0, 0)
    }

    #[test]
    fn without_leases_nothing_is_written_down() {
        let mut slots = slots(None);
        (1..=10).for_each(|sequence| take(&mut slots, sequence));
        assert!((1..=10).all(|sequence| release(&mut slots, sequence)));
        assert_eq!(slots.leases.room(), 0);
        slots.reconfigure(SlotsConfig { lease: Some(Span::from_ms(1)), ..SlotsConfig::default() });
        take(&mut slots, 11);
        slots.reconfigure(SlotsConfig::default());
        (12..=20).for_each(|sequence| take(&mut slots, sequence));
        assert_eq!(slots.leases.all.len(), 1, "nor beside one that still runs");
        assert_eq!(slots.unleased.held, 9);
    }

    #[test]
    fn a_lease_is_given_back_once_though_others_without_one_are_out() {
        let mut slots = slots(Some(1_000));
        take(&mut slots, 1);
        slots.reconfigure(SlotsConfig::default());
        take(&mut slots, 2);
        slots.reconfigure(SlotsConfig { lease: Some(Span::from_ms(1_000)), ..SlotsConfig::default() });
        // Just so many that what ended is cleared up when only the first is left.
        (3..=22).for_each(|sequence| take(&mut slots, sequence));
        assert!((3..=22).all(|sequence| release(&mut slots, sequence)));
        assert_eq!(slots.leases.all.len(), 1);
        slots.reconfigure(SlotsConfig::default());
        take(&mut slots, 23);
        assert!(!(3..=22).any(|sequence| release(&mut slots, sequence)));
        assert!([1, 2, 23].into_iter().all(|sequence| release(&mut slots, sequence)));
        assert_eq!(slots.in_flight(), 0);
    }

    #[test]
    fn when_all_without_a_lease_came_back_none_comes_twice() {
        let mut slots = slots(None);
        take(&mut slots, 1);
        slots.reconfigure(SlotsConfig { lease: Some(Span::from_ms(1_000)), ..SlotsConfig::default() });
        take(&mut slots, 2);
        assert!(release(&mut slots, 1));
        assert!(!release(&mut slots, 1));
        assert_eq!(slots.in_flight(), 1);
    }

    #[test]
    fn the_first_to_end_is_found_wherever_it_is() {
        for count in 1..70 {
            for first in 0..count {
                let ends: Vec<u64> =
                    (0..count).map(|i| if i == first { 5 } else { 10 + i * 7 % 11 }).collect();
                let leases = leases(&ends);
                assert_eq!(leases.earliest(), at(5));
                assert_eq!(leases.first_to_end(at(4)), None);
                assert_eq!(leases.first_to_end(at(5)), Some(first as usize), "{first} of {count}");
            }
        }
    }

    #[test]
    fn they_end_in_order_whatever_order_they_came_in() {
        let mut leases = leases(&(0..500).map(|i| i * 7919 % 1_000).collect::<Vec<_>>());
        let mut before = Instant::ZERO;
        for _ in 0..500 {
            let index = leases.first_to_end(at(1_000)).expect("one more");
            let end = leases.end(index).expect("it has an end");
            assert!(before <= end);
            assert!(leases.end_one(index).is_some());
            before = end;
        }
        assert_eq!(leases.first_to_end(Instant::MAX), None);
    }

    #[test]
    fn one_ends_once() {
        let mut leases = leases(&[7, 5, 6]);
        assert_eq!(leases.end_one(1), Some((0, 0)));
        assert_eq!(leases.end_one(1), None);
        assert_eq!(leases.end_one(9), None);
        assert_eq!((leases.find(2), leases.find(3), leases.find(4)), (None, Some(2), None));
        assert_eq!(leases.earliest(), at(6));
    }

    #[test]
    fn what_ended_does_not_pile_up() {
        let mut leases = Leases::default();
        for sequence in 1..=100_000 {
            leases.push(lease(sequence), at(sequence));
            if sequence > 10 {
                let index = leases.find(sequence - 10).expect("ten are held");
                leases.end_one(index);
            }
            assert!(leases.room() <= 40, "{} for 10", leases.room());
        }
        for sequence in 100_001..=200_000 {
            leases.push(lease(sequence), at(sequence));
        }
        for sequence in 99_990..=199_995 {
            leases.find(sequence).and_then(|index| leases.end_one(index));
        }
        assert!(leases.room() <= 100, "{} for 5", leases.room());
        assert_eq!(leases.earliest(), at(199_996));
    }
}
