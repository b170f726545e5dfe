//! The line of a service: who waits, in which order they go, and until when those sleep who wait for a retry.

use crate::time::Instant;

/// Everybody who waits for leave to make an attempt.
///
/// Some sleep until a time (a backoff), the others stand in line by priority, then arrival. Ten seconds of waiting
/// are worth one step of priority, so that nobody starves. Joining, leaving and going are O(log n).
#[derive(Debug, Default)]
pub struct Line {
    /// By name; `None` where the name is free.
    seats: Vec<Option<Seat>>,
    free: Vec<Name>,
    standing: Heap,
    sleeping: Heap,
    /// No deadline of anybody who waits is earlier than this one.
    earliest_deadline: Option<Instant>,
    /// How many have come so far: equals go in the order they came.
    comings: u64,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// When its call began.
    pub arrival: Instant,
    /// Higher goes first; 0 is normal.
    pub priority: i32,
    /// When this wait began.
    pub since: Instant,
    /// When its call has to be over.
    pub deadline: Option<Instant>,
    /// What it is counted under.
    pub group: u32,
}

/// What a waiter is called while it waits. A name is used again after its bearer left.
pub type Name = u32;

#[derive(Debug)]
struct Seat {
    waiter: Waiter,
    row: Row,
    /// Where in its heap it is.
    index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Standing,
    Sleeping,
}

/// A binary heap, the smallest key first. Each seat knows its index, so that one can be taken out of the middle.
#[derive(Debug, Default)]
struct Heap(Vec<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    rank: i64,
    coming: u64,
    name: Name,
}

impl Line {
    /// Joins the line.
    pub fn stand(&mut self, waiter: Waiter) -> Name {
        self.enter(Row::Standing, rank_in_line(&waiter), waiter)
    }

    /// Sleeps until `due`, then joins the line.
    pub fn sleep(&mut self, waiter: Waiter, due: Instant) -> Name {
        self.enter(Row::Sleeping, milliseconds(due), waiter)
    }

    /// Moves everybody whose time has come from sleep into the line.
    pub fn wake(&mut self, now: Instant) {
        while let Some(sleeper) = self.sleeping.first().filter(|sleeper| sleeper.rank <= milliseconds(now)) {
            self.take_out(Row::Sleeping, 0);
            let Some(Some(seat)) = self.seats.get_mut(sleeper.name as usize) else { return };
            seat.row = Row::Standing;
            let rank = rank_in_line(&seat.waiter);
            self.put_in(Row::Standing, Entry { rank, ..sleeper });
        }
    }

    /// Takes one out, wherever it waits; `None` when nobody of that name waits.
    pub fn leave(&mut self, name: Name) -> Option<Waiter> {
        let seat = self.seats.get_mut(name as usize)?.take()?;
        self.take_out(seat.row, seat.index);
        self.free.push(name);
        Some(seat.waiter)
    }

    /// Who goes next; `None` when nobody stands in line.
    pub fn front(&self) -> Option<Name> {
        self.standing.first().map(|entry| entry.name)
    }

    /// Anybody who waits, those in line first.
    pub fn anybody(&self) -> Option<Name> {
        self.standing.first().or(self.sleeping.first()).map(|entry| entry.name)
    }

    /// Somebody whose call has to be over by `time`, wherever it waits.
    pub fn out_of_time(&mut self, time: Instant) -> Option<Name> {
        self.earliest_deadline.filter(|earliest| *earliest <= time)?;
        // The one that it was may have left: looked for only when its time has come, so that joining stays cheap.
        let first = self
            .seats
            .iter()
            .zip(0..)
            .filter_map(|(seat, name)| Some((seat.as_ref()?.waiter.deadline?, name)));
        let first = first.min();
        self.earliest_deadline = first.map(|(deadline, _)| deadline);
        first.filter(|(deadline, _)| *deadline <= time).map(|(_, name)| name)
    }

    /// Whether nobody waits, neither in line nor asleep.
    pub fn is_empty(&self) -> bool {
        self.anybody().is_none()
    }

    /// When the next sleeper wakes, or a deadline may come.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wakes = self.sleeping.first().map(|entry| Instant::from_ms(entry.rank as f64));
        let over = self.earliest_deadline.filter(|_| !self.is_empty());
        Instant::earlier(wakes, over)
    }

    fn enter(&mut self, row: Row, rank: i64, waiter: Waiter) -> Name {
        self.comings = self.comings.saturating_add(1);
        self.earliest_deadline = Instant::earlier(self.earliest_deadline, waiter.deadline);
        let seat = Seat { waiter, row, index: 0 };
        let name = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            Name::try_from(self.seats.len().saturating_sub(1)).unwrap_or(Name::MAX)
        });
        if let Some(free) = self.seats.get_mut(name as usize) {
            *free = Some(seat);
        }
        self.put_in(row, Entry { rank, coming: self.comings, name });
        name
    }

    fn put_in(&mut self, row: Row, entry: Entry) {
        let (heap, seats) = self.row(row);
        heap.0.push(entry);
        heap.rise(heap.0.len().saturating_sub(1), seats);
    }

    fn take_out(&mut self, row: Row, index: usize) {
        let (heap, seats) = self.row(row);
        if index >= heap.0.len() {
            return;
        }
        heap.0.swap_remove(index);
        // What came from the end to this place may belong further up or further down.
        if index < heap.0.len() {
            heap.rise(index, seats);
            heap.sink(index, seats);
        }
    }

    fn row(&mut self, row: Row) -> (&mut Heap, &mut [Option<Seat>]) {
        let heap = match row {
            Row::Standing => &mut self.standing,
            Row::Sleeping => &mut self.sleeping,
        };
        (heap, &mut self.seats)
    }
}

impl Heap {
    fn first(&self) -> Option<Entry> {
        self.0.first().copied()
    }

    /// Moves the entry up until its parent is not larger, and tells each that moved its new index.
    fn rise(&mut self, mut index: usize, seats: &mut [Option<Seat>]) {
        while let Some(parent) = index.checked_sub(1).map(|index| index / 2) {
            if self.0.get(parent) <= self.0.get(index) {
                break;
            }
            self.swap(parent, index, seats);
            index = parent;
        }
        self.tell(index, seats);
    }

    /// Moves the entry down until no child is smaller.
    fn sink(&mut self, mut index: usize, seats: &mut [Option<Seat>]) {
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
            self.swap(smaller, index, seats);
            index = smaller;
        }
    }

    fn swap(&mut self, one: usize, other: usize, seats: &mut [Option<Seat>]) {
        // `swap` may panic, and a panic about an index brings a kilobyte of number formatting with it.
        if let Ok([one, other]) = self.0.get_disjoint_mut([one, other]) {
            std::mem::swap(one, other);
        }
        self.tell(one, seats);
        self.tell(other, seats);
    }

    fn tell(&self, index: usize, seats: &mut [Option<Seat>]) {
        let Some(entry) = self.0.get(index) else { return };
        if let Some(Some(seat)) = seats.get_mut(entry.name as usize) {
            seat.index = index;
        }
    }
}

/// Ageing is the same for all, so the order of two waiters never changes: a step of priority is ten seconds of
/// head start, and the rank is settled when they join.
fn rank_in_line(waiter: &Waiter) -> i64 {
    milliseconds(waiter.arrival).saturating_sub(i64::from(waiter.priority).saturating_mul(MS_PER_STEP))
}

fn milliseconds(instant: Instant) -> i64 {
    i64::try_from(instant.ticks()).unwrap_or(i64::MAX)
}

/// Ten seconds of waiting add one to the priority.
const MS_PER_STEP: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms as f64)
    }

    fn waiter(arrival: u64, priority: i32) -> Waiter {
        Waiter { arrival: at(arrival), priority, since: at(arrival), deadline: None, group: 0 }
    }

    fn everybody_goes(line: &mut Line) -> Vec<Name> {
        std::iter::from_fn(|| line.front().inspect(|name| assert!(line.leave(*name).is_some()))).collect()
    }

    #[test]
    fn priority_then_arrival_and_waiting_counts() {
        let mut line = Line::default();
        let late = line.stand(waiter(2_000, 0));
        let early = line.stand(waiter(1_000, 0));
        let urgent = line.stand(waiter(3_000, 1));
        let patient = line.stand(waiter(0, 0));
        let urgent_but_much_later = line.stand(waiter(13_001, 1));
        assert_eq!(everybody_goes(&mut line), [urgent, patient, early, late, urgent_but_much_later]);
        assert!(line.is_empty());
    }

    #[test]
    fn equals_go_in_the_order_they_came() {
        let mut line = Line::default();
        let names: Vec<Name> = (0..5).map(|_| line.stand(waiter(7, 0))).collect();
        assert_eq!(everybody_goes(&mut line), names);
    }

    #[test]
    fn sleepers_stand_up_when_it_is_time() {
        let mut line = Line::default();
        let sleeper = line.sleep(waiter(0, 0), at(500));
        let other = line.sleep(waiter(0, 0), at(900));
        let standing = line.stand(waiter(100, 0));
        line.wake(at(499));
        assert_eq!(line.front(), Some(standing));
        assert_eq!(line.poll_timeout(), Some(at(500)));
        line.wake(at(500));
        assert_eq!(everybody_goes(&mut line), [sleeper, standing]);
        assert_eq!(line.anybody(), Some(other));
    }

    #[test]
    fn whoever_leaves_the_others_keep_their_order() {
        for gone in 0..12 {
            let mut line = Line::default();
            // Joined in an order that makes the heap move: 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5, 0.
            let names: Vec<Name> = (0..12).map(|i| line.stand(waiter((i * 7 + 7) % 12, 0))).collect();
            assert!(line.leave(names[gone]).is_some());
            let mut expected: Vec<usize> = (0..12).filter(|&i| i != gone).collect();
            expected.sort_by_key(|&i| (i * 7 + 7) % 12);
            assert_eq!(everybody_goes(&mut line), expected.iter().map(|&i| names[i]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_may_leave_from_anywhere_once() {
        let mut line = Line::default();
        let standing = line.stand(waiter(0, 0));
        let asleep = line.sleep(waiter(0, 0), at(10));
        assert!(line.leave(asleep).is_some());
        assert!(line.leave(asleep).is_none());
        assert!(line.leave(standing).is_some());
        assert!(line.leave(99).is_none());
        assert!(line.is_empty());
        assert_eq!(line.poll_timeout(), None);
    }
}
