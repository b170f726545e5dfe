//! What goes before new rows: parts that came back, in their order, and single rows that turned out not to be there.

use crate::time::Instant;

/// Rows that go together, as they did before: the server knows them by one idempotency key.
#[derive(Debug)]
pub(super) struct Part {
    /// Ascending.
    pub(super) rows: Vec<u32>,
    /// Not before; the origin: at once.
    pub(super) after: Instant,
    pub(super) kind: Kind,
}

/// Where a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it was, or new.
    Whole,
    /// A half of a batch that was refused or too much. What becomes of it says nothing about how much goes at once.
    Half,
    /// A row that was looked up and is not there. Goes together with others of the kind.
    Single,
    /// A row to be looked up.
    Lookup,
}

impl Part {
    pub(super) const fn now(rows: Vec<u32>, kind: Kind) -> Self {
        Self { rows, after: Instant::ZERO, kind }
    }
}

/// Those that came back. As new rows wait behind them, they are never many more than were in flight.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By time, then by row; the first is at the end.
    parts: Vec<Part>,
}

impl Line {
    /// Takes in a part. One without rows is none.
    pub(super) fn put(&mut self, part: Part) {
        if part.rows.is_empty() {
            return;
        }
        let rank = |part: &Part| (part.after, part.rows.first().copied());
        let place = self.parts.partition_point(|other| rank(other) > rank(&part));
        self.parts.insert(place, part);
    }

    /// When the first may go; `None`: there is none.
    pub(super) fn first_at(&self) -> Option<Instant> {
        self.parts.last().map(|part| part.after)
    }

    /// Whether so much came back that nothing new should go.
    pub(super) const fn is_long(&self) -> bool {
        self.parts.len() >= LONG
    }

    /// The first, if it may go now. Single rows that follow each other go together, so many at most.
    pub(super) fn take(&mut self, now: Instant, size: u32) -> Option<Part> {
        let mut part = self.parts.pop_if(|part| part.after <= now)?;
        while part.kind == Kind::Single && part.rows.len() < size as usize {
            let Some(next) = self.parts.pop_if(|next| next.kind == Kind::Single) else { break };
            part.rows.extend(next.rows);
        }
        Some(part)
    }
}

/// Parts. At a hundred rows each, 26 kB; enough for a server that fails one request in ten at 100 a second.
const LONG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: &[u32], after: f64) -> Part {
        Part { rows: rows.to_vec(), after: Instant::from_ms(after), kind: Kind::Whole }
    }

    fn all(line: &mut Line, now: f64) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| line.take(Instant::from_ms(now), 2)).map(|part| part.rows).collect()
    }

    #[test]
    fn what_came_back_goes_in_its_order_and_not_before_its_time() {
        let mut line = Line::default();
        line.put(part(&[4, 5, 6], 0.0));
        line.put(part(&[0, 1], 900.0));
        line.put(part(&[2, 3], 0.0));
        line.put(part(&[], 0.0));
        for row in [9, 8, 1, 10, 7] {
            line.put(Part::now(vec![row], Kind::Single));
        }
        assert_eq!(line.first_at(), Some(Instant::ZERO));
        assert_eq!(all(&mut line, 899.0), [vec![1], vec![2, 3], vec![4, 5, 6], vec![7, 8], vec![9, 10]]);
        assert_eq!(line.first_at(), Some(Instant::from_ms(900.0)));
        assert_eq!(all(&mut line, 900.0), [[0, 1]]);
        assert_eq!(line.first_at(), None);
    }
}
