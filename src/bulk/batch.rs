//! How many rows go at once.

use crate::time::Span;

/// How many rows one request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many, at least 1; fewer only where the server says that they are too much.
    Fixed(u32),
    /// As many as the server answers well within a second.
    Adaptive {
        /// And never more, at least 1.
        max: u32,
    },
}

/// Learns it: in proportion to how far the answer was from the time that it should take, and below what was too much.
#[derive(Debug)]
pub(super) struct Size {
    rows: f64,
    max: f64,
    adaptive: bool,
    /// So many at once were too much.
    too_many: f64,
    /// How often just below that was well, and how often it has to be before more is tried.
    well: u32,
    patience: u32,
}

impl Size {
    pub(super) fn new(size: BatchSize) -> Self {
        let (max, adaptive) = match size {
            BatchSize::Fixed(rows) => (rows, false),
            BatchSize::Adaptive { max } => (max, true),
        };
        let max = f64::from(max.max(1));
        let rows = if adaptive { max.min(START) } else { max };
        Self { rows, max, adaptive, too_many: f64::INFINITY, well: 0, patience: PATIENCE }
    }

    pub(super) fn get(&self) -> u32 {
        whole(self.rows)
    }

    /// So many rows were answered.
    pub(super) fn answered(&mut self, rows: u32, latency: Span) {
        let factor =
            if self.adaptive { (TARGET_MS / latency.as_f64().max(1.0)).clamp(0.5, GROWTH) } else { GROWTH };
        let better = f64::from(rows) * factor;
        if factor < 1.0 {
            self.rows = self.rows.min(better.max(1.0));
            return;
        }
        // What a smaller one than usual took says little about a larger one.
        if rows < self.get() {
            return;
        }
        let most = (self.too_many * NEAR).floor().max(1.0).min(self.max);
        if self.rows >= most && most < self.max {
            self.well = self.well.wrapping_add(1);
            if self.well >= self.patience {
                self.well = 0;
                self.patience = self.patience.saturating_mul(2);
                self.too_many = self.too_many.max(2.0) * MORE;
            }
        }
        // At least one more where there is much room, or small ones would never grow.
        let more = if factor < GROWTH { better } else { better.max(self.rows + 1.0) };
        self.rows = more.max(self.rows).min(most).max(1.0);
    }

    /// So many rows were too much.
    pub(super) fn too_large(&mut self, rows: u32) {
        // Those that left before we knew tell the same again.
        if rows >= self.get() {
            self.too_many = self.too_many.min(f64::from(rows));
            self.well = 0;
        }
        self.halve(rows);
    }

    /// So many rows had no answer for so long.
    pub(super) fn slow(&mut self, rows: u32, latency: Span) {
        if self.adaptive && latency >= SLOW {
            self.halve(rows);
        }
    }

    fn halve(&mut self, rows: u32) {
        self.rows = self.rows.min((f64::from(rows) / 2.0).floor()).max(1.0);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is from 1 to u32::MAX")]
const fn whole(rows: f64) -> u32 {
    rows as u32
}

/// Where a trigger makes an HTTP call for each row, ten take about a second.
const START: f64 = 10.0;

/// Milliseconds. Supabase ends a statement after 8 s (3 s for anonymous ones): far below, so that a slow moment is none too many,
/// and far above a round trip, so that it is the rows that take the time.
const TARGET_MS: f64 = 800.0;

/// From 10 to 100 rows in six answers.
const GROWTH: f64 = 1.5;

/// An answer this late comes from a server near its limits: half of the 8 s after which a statement is ended.
const SLOW: Span = Span::from_ms(4000);

/// Just below what was too much; rows differ in length.
const NEAR: f64 = 0.9;

/// After so many answers that were well we try more, then after twice as many: at most three requests in a hundred are wasted by it.
const PATIENCE: u32 = 32;

/// By how much more.
const MORE: f64 = 1.25;

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Span = Span::from_ms(50);

    fn adaptive(max: u32) -> Size {
        Size::new(BatchSize::Adaptive { max })
    }

    #[test]
    fn quick_answers_make_it_grow_to_the_largest() {
        let mut size = adaptive(100);
        let mut seen = Vec::new();
        for _ in 0..8 {
            seen.push(size.get());
            size.answered(size.get(), QUICK);
        }
        assert_eq!(seen, [10, 15, 22, 33, 49, 73, 100, 100]);
    }

    #[test]
    fn it_settles_where_an_answer_takes_most_of_a_second() {
        for per_row in [20, 100, 500, 5000] {
            let mut size = adaptive(100);
            for _ in 0..30 {
                size.answered(size.get(), Span::from_ms(100 + per_row * u64::from(size.get())));
            }
            let took = 100 + per_row * u64::from(size.get());
            assert!(size.get() == 1 || (400..=1000).contains(&took), "{} rows in {took} ms", size.get());
        }
    }

    #[test]
    fn from_one_it_grows_again() {
        let mut size = adaptive(100);
        size.slow(3, SLOW);
        assert_eq!(size.get(), 1);
        for _ in 0..14 {
            size.answered(size.get(), QUICK);
        }
        assert_eq!(size.get(), 100);
    }

    #[test]
    fn it_stays_below_what_was_too_much_and_seldom_tries_again() {
        for fixed in [true, false] {
            let size = if fixed { BatchSize::Fixed(100) } else { BatchSize::Adaptive { max: 100 } };
            let (mut size, mut refused, mut rows) = (Size::new(size), 0, 0);
            for _ in 0..1000 {
                if size.get() > 60 {
                    refused += 1;
                    size.too_large(size.get());
                } else {
                    rows += size.get();
                    size.answered(size.get(), QUICK);
                }
            }
            assert!(refused <= 12, "{refused} wasted");
            assert!(rows > 50_000, "{rows} rows");
        }
    }

    #[test]
    fn a_fixed_size_knows_no_latency() {
        let mut size = Size::new(BatchSize::Fixed(25));
        size.answered(25, Span::from_ms(7000));
        size.slow(25, Span::from_ms(9000));
        assert_eq!(size.get(), 25);
        assert_eq!(Size::new(BatchSize::Fixed(0)).get(), 1);
    }

    #[test]
    fn the_rest_of_a_file_teaches_nothing_but_caution() {
        let mut size = adaptive(100);
        size.answered(3, QUICK);
        assert_eq!(size.get(), 10);
        size.answered(3, Span::from_ms(1600));
        assert_eq!(size.get(), 1);
    }
}
