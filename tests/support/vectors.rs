//! Reads the golden cases of `tests/vectors/` (their README describes the fields).

use serde_json::Value;
use tidegate::backoff::{Backoff, Jitter};
use tidegate::budget::BudgetConfig;
use tidegate::decision::{Scope, Verdict};
use tidegate::service::{Config, RetryTransient};
use tidegate::time::Span;

use super::{LOST, UNWELL};

/// The cases of `tests/vectors/<name>.json`.
pub(crate) fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    file["cases"].as_array().expect("cases").clone()
}

/// The defaults, changed where the object says so; the names are those of the public configuration.
pub(crate) fn config(changes: &Value) -> Config {
    changed(&Config::default(), changes)
}

pub(crate) fn changed(config: &Config, changes: &Value) -> Config {
    let mut config = *config;
    let nothing = serde_json::Map::new();
    let mut jitter = None;
    let mut factor = None;
    for (name, value) in changes.as_object().unwrap_or(&nothing) {
        match name.as_str() {
            "maxRetries" => config.max_retries = number(value) as u32,
            "initialDelayMs" => config.backoff.initial = span(value),
            "maxDelayMs" => config.backoff.max = span(value),
            "jitter" => jitter = value.as_str(),
            "jitterFactor" => factor = value.as_f64(),
            "respectRetryAfter" => config.respect_retry_after = flag(value),
            "maxRetryAfterMs" => config.max_retry_after = span(value),
            "circuitBreakerThreshold" => config.circuit_threshold = number(value) as u32,
            "circuitResetMs" => config.circuit_reset = span(value),
            "halfOpenProbes" => config.half_open_probes = number(value) as u32,
            "probeTimeoutMs" => config.probe_timeout = span(value),
            "retryTransient" => config.retry_transient = retry_transient(value),
            "retryBudget" => config.retry_budget = budget(value),
            "sharedCooldown" => config.shared_cooldown = flag(value),
            other => panic!("{other} is no option of the core"),
        }
    }
    if jitter.is_some() || factor.is_some() {
        config.backoff.jitter = jitter_of(jitter.unwrap_or("proportional"), factor.unwrap_or(0.2));
    }
    config
}

pub(crate) fn backoff(changes: &Value) -> Backoff {
    config(changes).backoff
}

pub(crate) fn verdict(value: &Value) -> Verdict {
    match value.as_str() {
        Some("success") => Verdict::Success,
        Some("permanent") => Verdict::Permanent,
        Some("ignored") => Verdict::Ignored,
        Some("transient") => UNWELL,
        Some("lost") => LOST,
        Some(other) => panic!("{other} is no verdict"),
        None => {
            assert!(flag(&value["throttled"]), "{value} is no verdict");
            let scope = if value["scope"] == "call" { Scope::Call } else { Scope::Service };
            Verdict::Throttled { hint: value["retryAfterMs"].as_u64().map(Span::from_ms), scope }
        }
    }
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn span(value: &Value) -> Span {
    Span::from_ms(number(value))
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("{value} is neither true nor false"))
}

fn jitter_of(kind: &str, factor: f64) -> Jitter {
    match kind {
        "proportional" => Jitter::Proportional { factor },
        "full" => Jitter::Full,
        "equal" => Jitter::Equal,
        "decorrelated" => Jitter::Decorrelated,
        "none" => Jitter::None,
        other => panic!("{other} is no jitter"),
    }
}

fn retry_transient(value: &Value) -> RetryTransient {
    match text(value) {
        "never" => RetryTransient::Never,
        "idempotent" => RetryTransient::Idempotent,
        "always" => RetryTransient::Always,
        other => panic!("{other} is no way to retry"),
    }
}

fn budget(value: &Value) -> Option<BudgetConfig> {
    (!value.is_null()).then(|| BudgetConfig {
        ratio: value["ratio"].as_f64().expect("ratio"),
        min_per_second: value["minPerSecond"].as_f64().expect("minPerSecond"),
        window: span(&value["windowMs"]),
    })
}
