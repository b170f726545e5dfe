//! A binary heap of which any entry can be taken out: each knows its place.

/// The smallest entry first. Where each one is stands in `places`, by name: whoever has several heaps of which a name
/// is in at most one lets them share it.
#[derive(Debug, Default)]
pub struct Heap(Vec<Entry>);

/// One in a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The smallest goes first.
    pub rank: i64,
    /// Of equals the one that came first.
    pub coming: u64,
    /// Who it is: a small number.
    pub name: u32,
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

    /// Puts one in. O(log n).
    pub fn put(&mut self, entry: Entry, places: &mut Vec<u32>) {
        let name = entry.name as usize;
        if places.len() <= name {
            places.resize(name.saturating_add(1), 0);
        }
        self.0.push(entry);
        self.rise(self.0.len().saturating_sub(1), places);
    }

    /// Takes one out; only one that is in. O(log n).
    pub fn take(&mut self, name: u32, places: &mut [u32]) {
        let Some(&index) = places.get(name as usize) else { return };
        let index = index as usize;
        if self.0.get(index).is_none_or(|entry| entry.name != name) {
            return;
        }
        self.0.swap_remove(index);
        // What came from the end to this place may belong further up or further down.
        if index < self.0.len() {
            self.rise(index, places);
            self.sink(index, places);
        }
    }

    /// Moves the entry up until its parent is not larger, and notes where each that moved is now.
    fn rise(&mut self, mut index: usize, places: &mut [u32]) {
        while let Some(parent) = index.checked_sub(1).map(|index| index / 2) {
            if self.0.get(parent) <= self.0.get(index) {
                break;
            }
            self.swap(parent, index, places);
            index = parent;
        }
        self.note(index, places);
    }

    /// Moves the entry down until no child is smaller.
    fn sink(&mut self, mut index: usize, places: &mut [u32]) {
        loop {
            let left = index.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let smaller = if self.0.get(right).is_some_and(|right| Some(right) < self.0.get(left)) {
                right
            } else {
                left
            };
            if self.0.get(smaller).is_none_or(|child| Some(child) >= self.0.get(index)) {
                return;
            }
            self.swap(smaller, index, places);
            index = smaller;
        }
    }

    fn swap(&mut self, one: usize, other: usize, places: &mut [u32]) {
        // `swap` may panic, and a panic about an index brings a kilobyte of number formatting with it.
        if let Ok([one, other]) = self.0.get_disjoint_mut([one, other]) {
            std::mem::swap(one, other);
        }
        self.note(one, places);
        self.note(other, places);
    }

    fn note(&self, index: usize, places: &mut [u32]) {
        let Some(entry) = self.0.get(index) else { return };
        if let Some(place) = places.get_mut(entry.name as usize) {
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
