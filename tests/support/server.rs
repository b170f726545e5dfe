//! Servers with limits, in virtual time.

use tidegate::decision::Verdict;

use super::{REFUSED, refused_for};

/// Something that answers one request at a time; `now` never goes back.
pub(crate) trait Server {
    fn ask(&mut self, now: u64) -> Verdict;
}

/// What a server says beside its refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Headers {
    None,
    /// `Retry-After` in whole seconds, rounded up, as nearly everybody sends it.
    RetryAfter,
}

impl Headers {
    fn refusal(self, wait_ms: f64) -> Verdict {
        match self {
            Self::None => REFUSED,
            Self::RetryAfter => refused_for((wait_ms / 1_000.0).ceil() as u64 * 1_000),
        }
    }
}

/// So many per second, and a few more at once.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    per_second: f64,
    burst: f64,
    /// What a refusal costs the server: 0 with a gateway in front, more where the application itself refuses.
    refusal_cost: f64,
    headers: Headers,
    level: f64,
    since: u64,
}

impl TokenBucket {
    pub(crate) fn new(per_second: f64, burst: f64, headers: Headers) -> Self {
        Self { per_second, burst, refusal_cost: 0.0, headers, level: burst, since: 0 }
    }

    pub(crate) fn with_refusal_cost(self, refusal_cost: f64) -> Self {
        Self { refusal_cost, ..self }
    }

    pub(crate) fn emptied(self) -> Self {
        Self { level: 0.0, ..self }
    }

    pub(crate) fn set_rate(&mut self, now: u64, per_second: f64) {
        self.refill(now);
        self.per_second = per_second;
    }

    fn refill(&mut self, now: u64) {
        let passed = (now - self.since) as f64 / 1_000.0;
        self.level = (self.level + passed * self.per_second).min(self.burst);
        self.since = now;
    }
}

impl Server for TokenBucket {
    fn ask(&mut self, now: u64) -> Verdict {
        self.refill(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Verdict::Success;
        }
        self.level = (self.level - self.refusal_cost).max(0.0);
        self.headers.refusal((1.0 - self.level) / self.per_second * 1_000.0)
    }
}

/// So many in each window; windows follow each other without a gap.
#[derive(Debug)]
pub(crate) struct FixedWindow {
    per_window: u32,
    window_ms: u64,
    headers: Headers,
    window: u64,
    used: u32,
}

impl FixedWindow {
    pub(crate) fn new(per_window: u32, window_ms: u64, headers: Headers) -> Self {
        Self { per_window, window_ms, headers, window: 0, used: 0 }
    }

    /// Somebody else had all of the first window.
    pub(crate) fn used_up(self) -> Self {
        Self { used: self.per_window, ..self }
    }
}

impl Server for FixedWindow {
    fn ask(&mut self, now: u64) -> Verdict {
        let window = now / self.window_ms;
        if window != self.window {
            (self.window, self.used) = (window, 0);
        }
        if self.used < self.per_window {
            self.used += 1;
            return Verdict::Success;
        }
        self.headers.refusal(((window + 1) * self.window_ms - now) as f64)
    }
}

/// A server whose capacity changes at certain times: `(from, per second)`, in order.
pub(crate) struct Changing {
    pub(crate) bucket: TokenBucket,
    pub(crate) plan: Vec<(u64, f64)>,
}

impl Server for Changing {
    fn ask(&mut self, now: u64) -> Verdict {
        while let Some(&(from, per_second)) = self.plan.first().filter(|(from, _)| *from <= now) {
            self.bucket.set_rate(from, per_second);
            self.plan.remove(0);
        }
        self.bucket.ask(now)
    }
}
