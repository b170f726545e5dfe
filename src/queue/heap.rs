//! A binary heap of which any entry can be taken out: each knows its place.

use crate::time::{Instant, Span};

/// The smallest entry first. Where each one is stands in `places`, by name: whoever has several heaps of which a name
/// is in at most one lets them share it.
#[derive(Debug, Default)]
pub struct Heap(Vec<Entry>);

/// One in a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The smallest goes first.
    pub rank: i64,
    /// Of equals the one that came first. It begins anew after 4,294,967,295: a million jobs save 8 MB, and once in so
    /// many two that came in the same millisecond may change places.
    pub coming: u32,
    /// Who it is: a small number.
    pub name: u32,
}

impl Entry {
    /// One that goes the earlier the earlier its time is.
    pub fn at(time: Instant, name: u32) -> Self {
        Self { rank: time.ticks().cast_signed(), coming: name, name }
    }

    /// The time that its rank is.
    pub fn time(&self) -> Instant {
        Instant::ZERO.plus(Span::from_ms(self.rank.cast_unsigned()))
    }

    /// Whether this one goes first.
    pub const fn is_before(&self, other: &Self) -> bool {
        self.rank < other.rank || (self.rank == other.rank && self.coming < other.coming)
    }
}

impl Heap {
    /// The smallest.
    pub fn first(&self) -> Option<Entry> {
        self.0.first().copied()
    }

    /// How many are in it.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is in it.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts one in. O(log n). Not inlined: there are eight of these.
    #[inline(never)]
    pub fn put(&mut self, entry: Entry, places: &mut Vec<u32>) {
        let name = entry.name as usize;
        if places.len() <= name {
            places.resize(name.wrapping_add(1), 0);
        }
        let end = self.0.len();
        self.0.push(entry);
        self.rise(end, entry, places);
    }

    /// Takes one out; only one that is in. O(log n).
    pub fn take(&mut self, name: u32, places: &mut [u32]) {
        let Some(&index) = places.get(name as usize) else { return };
        let index = index as usize;
        if self.0.get(index).is_none_or(|entry| entry.name != name) {
            return;
        }
        let Some(last) = self.0.pop() else { return };
        if index < self.0.len() {
            // What came from the end to this place may belong further up or further down.
            let index = self.rise(index, last, places);
            self.sink(index, last, places);
        }
    }

    /// Puts the entry at this place, or further up until its parent goes before it. Answers where it is.
    fn rise(&mut self, mut index: usize, entry: Entry, places: &mut [u32]) -> usize {
        while let Some(above) = index.checked_sub(1).map(|index| index / 2)
            && let Some(parent) = self.0.get(above).copied()
            && entry.is_before(&parent)
        {
            self.set(index, parent, places);
            index = above;
        }
        self.set(index, entry, places);
        index
    }

    /// Moves the entry that is at this place down until no child goes before it.
    fn sink(&mut self, mut index: usize, entry: Entry, places: &mut [u32]) {
        loop {
            let mut below = index.wrapping_mul(2).wrapping_add(1);
            let Some(mut child) = self.0.get(below).copied() else { break };
            if let Some(right) = self.0.get(below.wrapping_add(1)).filter(|right| right.is_before(&child)) {
                child = *right;
                below = below.wrapping_add(1);
            }
            if !child.is_before(&entry) {
                break;
            }
            self.set(index, child, places);
            index = below;
        }
        self.set(index, entry, places);
    }

    /// Without `swap`, which may panic: a panic about an index brings a kilobyte of number formatting with it.
    fn set(&mut self, index: usize, entry: Entry, places: &mut [u32]) {
        if let (Some(slot), Some(place)) = (self.0.get_mut(index), places.get_mut(entry.name as usize)) {
            *slot = entry;
            *place = u32::try_from(index).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_the_others_keep_their_order() {
        for gone in 0..12 {
            let (mut heap, mut places) = (Heap::default(), Vec::new());
            for name in 0..12_u32 {
                heap.put(Entry { rank: i64::from((name * 7 + 7) % 12), coming: 0, name }, &mut places);
            }
            heap.take(gone, &mut places);
            heap.take(gone, &mut places);
            let mut left = Vec::new();
            while let Some(first) = heap.first() {
                left.push(first.rank);
                heap.take(first.name, &mut places);
            }
            let expected: Vec<i64> = (0..12).filter(|&rank| rank != i64::from((gone * 7 + 7) % 12)).collect();
            assert_eq!(left, expected);
        }
    }
}
