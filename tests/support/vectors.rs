//! Reads the golden cases of `tests/vectors/` (their README describes the fields).

use serde_json::{Value, json};
use tidegate::backoff::Jitter;
use tidegate::budget::BudgetConfig;
use tidegate::decision::{Phase, Scope, Verdict};
use tidegate::queue::Terms;
use tidegate::service::{Config, RetryTransient};
use tidegate::time::{Instant, Span};

use super::world::{Options, World, phase_word};
use super::{LOST, UNWELL, at};

/// The cases of `tests/vectors/<name>.json`, each with its configuration: the defaults, changed by what the file says
/// for all its cases and by what the case says.
pub(crate) fn cases(name: &str) -> Vec<(Value, Config)> {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let common = changed(&Config::default(), &file["config"]);
    let with_config = |case: &Value| (case.clone(), changed(&common, &case["config"]));
    list(&file["cases"]).iter().map(with_config).collect()
}

/// Does to the world what a step says, at the time that it has already.
pub(crate) fn apply(world: &mut World, step: &Value) {
    let fields = step.as_object().expect("a step is an object");
    if let Some(who) = fields.get("call") {
        let options = Options {
            terms: Terms::NONE,
            deadline_ms: step["deadlineMs"].as_u64(),
            priority: step["priority"].as_i64().unwrap_or_default() as i32,
            max_retries: step["maxRetries"].as_u64().map(|retries| retries as u32),
            idempotent: step["idempotent"].as_bool().unwrap_or_default(),
            group: 0,
        };
        world.begin_with(text(who), options);
    } else if let Some(who) = fields.get("end") {
        world.end(text(who), verdict(&step["verdict"]));
    } else if let Some(who) = fields.get("cancel") {
        world.cancel(text(who));
    } else if let Some(changes) = fields.get("updateConfig") {
        world.reconfigure(changed(world.service.config(), changes));
    } else if let Some(online) = fields.get("online") {
        world.online = flag(online);
    } else if fields.contains_key("reset") {
        world.reset();
    } else if fields.contains_key("isolate") {
        world.isolate();
    } else {
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["at"], "{step} is no step");
    }
}

/// The circuit as the public `CircuitState`; `null` stands for Infinity, which JSON cannot write.
pub(crate) fn circuit_state(world: &World) -> Value {
    let now = at(world.now());
    let circuit = world.service.circuit(now);
    json!({
        "isOpen": matches!(circuit.phase, Phase::Open | Phase::Isolated),
        "state": phase_word(circuit.phase),
        "consecutiveFailures": circuit.consecutive,
        "lastFailureTime": circuit.last_failure.map_or(0, Instant::ticks),
        "timeSinceLastFailure": circuit.last_failure.map_or(0, |failure| now.since(failure).as_ms()),
        "retryAfterMs": circuit.retry_after.map(Span::as_ms),
    })
}

fn changed(config: &Config, changes: &Value) -> Config {
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

fn verdict(value: &Value) -> Verdict {
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

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
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
