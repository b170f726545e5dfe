//! Durations counted in buckets: constant memory, percentiles within an eighth of their value.

use crate::time::Span;

/// Counts durations. Below 8 ms every millisecond has a bucket, above it every power of two has eight.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    longest: Span,
}

impl Histogram {
    /// Counts one duration.
    pub fn note(&mut self, duration: Span, times: u32) {
        let bucket = bucket_of(duration.as_ms());
        if bucket >= self.counts.len() {
            self.counts.resize(bucket.wrapping_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(times);
        }
        self.total = self.total.wrapping_add(times.into());
        self.longest = self.longest.max(duration);
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The longest one, exactly.
    pub const fn longest(&self) -> Span {
        self.longest
    }

    /// The duration that `percent` of all did not exceed, rounded up to the end of its bucket and never above the
    /// longest; zero when nothing was counted.
    pub fn percentile(&self, percent: u64) -> Span {
        let wanted = self.total.wrapping_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen = seen.wrapping_add(u64::from(count));
            if seen >= wanted {
                return Span::from_ms(last_of(bucket)).min(self.longest);
            }
        }
        Span::ZERO
    }
}

/// Eight buckets for each power of two: 12.5 % resolution.
const STEP_BITS: u32 = 3;
const STEPS: u64 = 1 << STEP_BITS;

fn bucket_of(ms: u64) -> usize {
    let bucket = if ms < STEPS {
        ms
    } else {
        let octave = u64::from(ms.ilog2().wrapping_sub(STEP_BITS));
        let step = (ms >> octave) & (STEPS - 1);
        octave.wrapping_add(1).wrapping_mul(STEPS).wrapping_add(step)
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The longest duration that falls into the bucket.
const fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let octave = (bucket >> STEP_BITS).wrapping_sub(1);
    let first_of_next = (STEPS | (bucket & (STEPS - 1))).wrapping_add(1) << octave;
    first_of_next.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_without_gaps() {
        let mut previous_end = None;
        for bucket in 0..200 {
            let end = last_of(bucket);
            assert_eq!(bucket_of(end), bucket);
            assert_eq!(bucket_of(end + 1), bucket + 1);
            assert!(previous_end < Some(end));
            previous_end = Some(end);
        }
        assert!(bucket_of(1 << 53) < 500, "memory stays small for absurd durations");
    }

    #[test]
    fn percentiles_are_within_an_eighth() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|ms| histogram.note(Span::from_ms(ms), 1));
        for (percent, exact) in [(50, 500), (95, 950), (99, 990), (100, 1_000)] {
            let found = histogram.percentile(percent).as_ms();
            assert!((exact..=exact + exact / 8).contains(&found), "p{percent} = {found}");
        }
        assert_eq!(histogram.longest().as_ms(), 1_000);
    }

    #[test]
    fn nothing_counted_is_zero_and_one_is_itself() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99), Span::ZERO);
        histogram.note(Span::from_ms(1_234), 1);
        assert_eq!(histogram.percentile(50).as_ms(), 1_234);
    }
}
