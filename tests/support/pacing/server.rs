//! Servers that refuse: the limiters that are met in the field, each reduced to its rule. Times are in seconds since
//! the start of the run.

use std::collections::VecDeque;

/// How many requests a second are allowed, which may change during the run.
#[derive(Clone, Debug)]
pub struct Limit(pub Vec<(f64, f64)>);

impl Limit {
    pub fn steady(rate: f64) -> Self {
        Self(vec![(0.0, rate)])
    }

    /// The rate at that time.
    pub fn at(&self, now: f64) -> f64 {
        self.0.iter().rev().find(|(from, _)| *from <= now).map_or(0.0, |(_, rate)| *rate)
    }

    /// How long `requests` take at best when none of them comes early.
    pub fn seconds_for(&self, requests: f64) -> f64 {
        let mut left = requests;
        for (index, (from, rate)) in self.0.iter().enumerate() {
            let until = self.0.get(index + 1).map_or(f64::INFINITY, |(next, _)| *next);
            if left <= rate * (until - from) {
                return from + left / rate;
            }
            left -= rate * (until - from);
        }
        f64::INFINITY
    }
}

/// What a limiter counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// A token bucket that holds so many seconds of the rate.
    Bucket { seconds: f64 },
    /// A token bucket (GCRA) that holds so many requests, whatever the rate.
    Burst { requests: f64 },
    /// A counter that starts anew every `window` seconds, at a phase that the seed chooses.
    Fixed { window: f64 },
    /// An exact log of the last `window` seconds. `refusals`: refused requests count too, as with ZADD before ZCARD.
    Sliding { window: f64, refusals: bool },
    /// So many at the same time: a tenth of the rate, since one takes 100 ms.
    Concurrent,
    /// A fixed window; who exceeds it is shut out for so long, with `restarts` anew at each attempt.
    Block { window: f64, shut_out: f64, restarts: bool },
}

/// The server's answer and what its headers could say.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub accepted: bool,
    /// Seconds until a request may be accepted.
    pub wait: f64,
    pub remaining: u32,
    pub quota: u32,
    pub window: f64,
}

#[derive(Debug)]
pub struct Server {
    rule: Rule,
    limit: Limit,
    phase: f64,
    /// Of the bucket.
    tokens: f64,
    filled_at: f64,
    /// Of the window.
    counted: u32,
    number: i64,
    shut_until: f64,
    log: VecDeque<f64>,
    inside: u32,
}

impl Server {
    /// `phase`: from 0 to 1, where in its window a fixed window is at the start.
    pub fn new(rule: Rule, limit: Limit, phase: f64) -> Self {
        Self {
            rule,
            limit,
            phase,
            tokens: f64::INFINITY,
            filled_at: 0.0,
            counted: 0,
            number: -1,
            shut_until: -1.0,
            log: VecDeque::new(),
            inside: 0,
        }
    }

    pub fn is_concurrent(&self) -> bool {
        self.rule == Rule::Concurrent
    }

    pub fn take(&mut self, now: f64) -> Answer {
        match self.rule {
            Rule::Bucket { seconds } => self.bucket(now, seconds * self.limit.at(now)),
            Rule::Burst { requests } => self.bucket(now, requests),
            Rule::Fixed { window } => self.fixed(now, window),
            Rule::Sliding { window, refusals } => self.sliding(now, window, refusals),
            Rule::Concurrent => self.concurrent(now),
            Rule::Block { window, shut_out, restarts } => self.block(now, window, shut_out, restarts),
        }
    }

    /// How many [`Rule::Concurrent`] lets in at this rate.
    pub fn places(rate: f64) -> f64 {
        (rate / 10.0).round().max(1.0)
    }

    /// A request that was accepted has left: only a cap on concurrency asks.
    pub fn release(&mut self) {
        self.inside -= 1;
    }

    fn bucket(&mut self, now: f64, size: f64) -> Answer {
        let rate = self.limit.at(now);
        self.tokens = (self.tokens + (now - self.filled_at) * rate).min(size);
        self.filled_at = now;
        let accepted = self.tokens >= 1.0;
        if accepted {
            self.tokens -= 1.0;
        }
        let wait = ((1.0 - self.tokens) / rate).max(0.0);
        Answer {
            accepted,
            wait,
            remaining: self.tokens.floor() as u32,
            quota: rate.round().max(1.0) as u32,
            window: 1.0,
        }
    }

    fn fixed(&mut self, now: f64, window: f64) -> Answer {
        let offset = now + self.phase * window;
        let number = (offset / window).floor();
        if number as i64 != self.number {
            self.number = number as i64;
            self.counted = 0;
        }
        let quota = (self.limit.at(now) * window).round().max(1.0) as u32;
        let accepted = self.counted < quota;
        if accepted {
            self.counted += 1;
        }
        let wait = (number + 1.0) * window - offset;
        Answer { accepted, wait, remaining: quota.saturating_sub(self.counted), quota, window }
    }

    fn sliding(&mut self, now: f64, window: f64, refusals: bool) -> Answer {
        while self.log.front().is_some_and(|time| *time <= now - window) {
            self.log.pop_front();
        }
        let quota = (self.limit.at(now) * window).round().max(1.0) as usize;
        let accepted = self.log.len() < quota;
        if accepted || refusals {
            self.log.push_back(now);
        }
        if refusals && !accepted {
            self.log.pop_front();
        }
        let free_at = self.log.len().checked_sub(quota).map_or(now, |index| self.log[index] + window);
        let remaining = quota.saturating_sub(self.log.len()) as u32;
        Answer { accepted, wait: (free_at - now).max(0.0), remaining, quota: quota as u32, window }
    }

    fn concurrent(&mut self, now: f64) -> Answer {
        let accepted = f64::from(self.inside) < Self::places(self.limit.at(now));
        if accepted {
            self.inside += 1;
        }
        Answer { accepted, wait: 0.1, remaining: 0, quota: 0, window: 0.0 }
    }

    fn block(&mut self, now: f64, window: f64, shut_out: f64, restarts: bool) -> Answer {
        if now < self.shut_until {
            if restarts {
                self.shut_until = now + shut_out;
            }
        } else {
            let answer = self.fixed(now, window);
            if answer.accepted {
                return answer;
            }
            self.shut_until = now + shut_out;
            self.number = -1;
        }
        let quota = (self.limit.at(now) * window).round() as u32;
        Answer { accepted: false, wait: self.shut_until - now, remaining: 0, quota, window }
    }
}
