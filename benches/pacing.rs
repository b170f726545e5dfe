//! The figures of the pacer in virtual time, beside what people do without one:
//!
//! ```text
//! cargo bench --bench pacing                     five seeds
//! cargo bench --bench pacing -- --quick          two seeds
//! cargo bench --bench pacing -- --seed 700       other seeds: 700, 701 …
//! cargo bench --bench pacing -- --only sliding   the conditions with that in their names
//! cargo bench --bench pacing -- --json FILE      writes all of it there too
//! ```
//!
//! A cell is the makespan divided by the time that the rows take at exactly the limit, and the refused requests per
//! row. A burst that the server allows makes the first smaller than 1. `!` marks what misses its target. At the end all
//! strategies stand side by side; where one gives rows up, or does not come to an end, the share that arrived stands first.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that overflows or panics fails, and that is what it is for"
)]

#[path = "../tests/support/pacing/mod.rs"]
mod pacing;
mod strategies;

use std::ops::Range;
use std::{env, fs};

use pacing::clients::{Aimd, Client, Even, Paced, Retrying, Workers};
use pacing::network::{Headers, Report, Trial, run};
use pacing::server::{Limit, Rule};
use serde_json::{Value, json};
use strategies::{Adaptive, Crm, Halving, Known, Queue, Reservoir};

const BUCKET: Rule = Rule::Bucket { seconds: 1.0 };
const DEEP_BUCKET: Rule = Rule::Bucket { seconds: 10.0 };
const BURST_5: Rule = Rule::Burst { requests: 5.0 };
const BURST_1: Rule = Rule::Burst { requests: 1.0 };
const FIXED_1: Rule = Rule::Fixed { window: 1.0 };
const FIXED_10: Rule = Rule::Fixed { window: 10.0 };
const FIXED_60: Rule = Rule::Fixed { window: 60.0 };
const SLIDING_1: Rule = Rule::Sliding { window: 1.0, refusals: false };
const SLIDING_10: Rule = Rule::Sliding { window: 10.0, refusals: false };
const SLIDING_ALL: Rule = Rule::Sliding { window: 10.0, refusals: true };
const BLOCK_10: Rule = Rule::Block { window: 10.0, shut_out: 10.0, restarts: false };

const BLOCK_60: Rule = Rule::Block { window: 10.0, shut_out: 60.0, restarts: true };

const PARTS: [f64; 2] = [10.0, 50.0];

/// Of one line: the makespan in optima, refusals per row, Jain's index. Infinite: stated, not promised.
#[derive(Clone, Copy)]
struct Target {
    ratio: f64,
    refusals: f64,
    jain: f64,
}

const fn target(ratio: f64, percent: f64) -> Target {
    Target { ratio, refusals: percent / 100.0, jain: 0.0 }
}

const STATED: Target = target(f64::INFINITY, 100.0);

struct Line {
    name: String,
    trial: Trial,
    target: Target,
}

struct Section {
    title: &'static str,
    lines: Vec<Line>,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|index| arguments.get(index + 1))
    };
    let first = value("--seed").map_or(9001, |seed| seed.parse().expect("--seed takes a whole number"));
    let count = if arguments.iter().any(|argument| argument == "--quick") { 2 } else { 5 };
    let count = value("--seeds").map_or(count, |count| count.parse().expect("--seeds takes a whole number"));
    let only = value("--only").map_or("", String::as_str);
    println!(
        "seeds {first} to {}: mean over {count}, latency 50 to 150 ms where nothing else is said",
        first + count - 1
    );
    let seeds = first..first + count;
    let mut printed = Vec::new();
    for section in sections() {
        printed.extend(print(&section, &seeds, only));
    }
    let missed = printed.iter().filter(|line| line["missed"] == true).count();
    println!("\n{missed} lines miss a target");
    let side_by_side: Vec<Value> = PARTS.into_iter().map(|rate| compare(rate, &seeds, only)).collect();
    if let Some(file) = value("--json") {
        let all = json!({ "seeds": [first, first + count - 1], "rows": COMPARED_ROWS, "lines": printed, "sideBySide": side_by_side });
        fs::write(file, format!("{all:#}\n")).expect("the file of --json can be written");
    }
}

/// Prints a section, and answers its lines as they are written.
fn print(section: &Section, seeds: &Range<u64>, only: &str) -> Vec<Value> {
    let lines: Vec<&Line> = section.lines.iter().filter(|line| line.name.contains(only)).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    println!("\n{}\n", section.title);
    println!(
        "  {:<34} {:>17} {:>8} {:>17} {:>17} {:>17}",
        "", "pacer", "worst", "10, cooldown", "AIMD", "5, backoff"
    );
    let mut written = Vec::new();
    for line in lines {
        let mean = |client: &dyn Fn(u64) -> Box<dyn Client>| Mean::of(&line.trial, seeds.clone(), client);
        let pacer = mean(&Paced::cold);
        let others = [mean(&Workers::ten), mean(&Aimd::netflix), mean(&Retrying::five)];
        let miss = pacer.misses(line.target);
        let fair =
            if line.trial.starts.len() > 1 { format!("  Jain {:.3}", pacer.jain) } else { String::new() };
        println!(
            "{} {:<34} {:>17} {:>8.3} {:>17} {:>17} {:>17}  {}{fair}",
            if miss { "!" } else { " " },
            line.name,
            pacer.cell(),
            pacer.worst,
            others[0].cell(),
            others[1].cell(),
            others[2].cell(),
            words(line.target),
        );
        written.push(json!({
            "section": section.title,
            "name": line.name,
            "pacer": pacer.written(),
            "worst": pacer.worst,
            "jain": pacer.jain,
            "target": words(line.target),
            "missed": miss,
            "tenWithCooldown": others[0].written(),
            "aimd": others[1].written(),
            "fiveWithBackoff": others[2].written(),
        }));
    }
    written
}

/// A strategy in the side-by-side tables: what it can read, whether it was told the limit, and who it is.
struct Column {
    name: &'static str,
    is_told: bool,
    headers: Headers,
    client: fn(&Trial, u64) -> Box<dyn Client>,
}

const COMPARED_ROWS: usize = 2_000;

fn columns() -> Vec<Column> {
    let blind = |name, client| Column { name, is_told: false, headers: Headers::None, client };
    let told = |name, client| Column { name, is_told: true, headers: Headers::None, client };
    let pacer = |name, headers| Column { name, is_told: false, headers, client: |_, seed| Paced::cold(seed) };
    vec![
        pacer("pacer", Headers::None),
        pacer("pacer, Retry-After", Headers::RetryAfter),
        pacer("pacer, RateLimit", Headers::Policy),
        blind("CRM, breaker inside", |trial, _| Crm::with_breaker_inside(trial.rows)),
        blind("CRM, breaker outside", |trial, _| Crm::with_breaker_outside(trial.rows)),
        blind("p-limit(5), p-retry", |_, seed| Retrying::five(seed)),
        blind("ten, shared cooldown", |_, seed| Workers::ten(seed)),
        blind("AWS adaptive", |trial, seed| Adaptive::three_attempts(seed, trial.rows)),
        blind("AWS adaptive, endless", |trial, seed| Adaptive::without_end(seed, trial.rows)),
        blind("AIMD x 0.9", |_, seed| Aimd::netflix(seed)),
        blind("AIMD x 0.5", |_, _| Halving::from_two()),
        told("p-queue, p-retry", |trial, _| Queue::told(known(trial), trial.rows)),
        told("Bottleneck", |trial, _| Reservoir::told(known(trial), trial.rows)),
        told("even, 0.97 R", |trial, _| Even::at(0.97 * trial.limit.at(0.0))),
        told("even, R", |trial, _| Even::at(trial.limit.at(0.0))),
    ]
}

fn known(trial: &Trial) -> Known {
    Known::of(trial.rule, trial.limit.at(0.0))
}

/// Every strategy past every rule, as a table.
fn compare(rate: f64, seeds: &Range<u64>, only: &str) -> Value {
    let columns = columns();
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("{}{}", column.name, if column.is_told { " *" } else { "" }))
        .collect();
    println!("\nEvery strategy, {COMPARED_ROWS} rows, {rate}/s; * was told the limit\n");
    println!("| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
    let mut rows = Vec::new();
    for (name, rule) in RULES.into_iter().filter(|(name, _)| name.contains(only)) {
        let means: Vec<Mean> = columns
            .iter()
            .map(|column| {
                let trial = Trial { headers: column.headers, ..Trial::new(rule, rate, COMPARED_ROWS) };
                Mean::of(&trial, seeds.clone(), &|seed| (column.client)(&trial, seed))
            })
            .collect();
        let cells: Vec<String> = means.iter().map(Mean::cell).collect();
        println!("| {name} | {} |", cells.join(" | "));
        rows.push(json!({ "rule": name, "cells": means.iter().map(Mean::written).collect::<Vec<_>>() }));
    }
    json!({ "perSecond": rate, "strategies": names, "rules": rows })
}

const RULES: [(&str, Rule); 13] = [
    ("token bucket", BUCKET),
    ("deep token bucket", DEEP_BUCKET),
    ("GCRA, burst 5", BURST_5),
    ("GCRA, burst 1", BURST_1),
    ("fixed 1 s", FIXED_1),
    ("fixed 10 s", FIXED_10),
    ("fixed 60 s", FIXED_60),
    ("sliding 1 s", SLIDING_1),
    ("sliding 10 s", SLIDING_10),
    ("sliding 10 s, refusals count", SLIDING_ALL),
    ("concurrency cap", Rule::Concurrent),
    ("blocks 10 s", BLOCK_10),
    ("blocks 60 s from the last attempt", BLOCK_60),
];

fn words(target: Target) -> String {
    if target.ratio.is_infinite() {
        return "stated".into();
    }
    let jain = if target.jain > 0.0 { format!(", Jain {:.2}", target.jain) } else { String::new() };
    format!("<= {:.2}, {:.1} %{jain}", target.ratio, 100.0 * target.refusals)
}

#[derive(Default)]
struct Mean {
    ratio: f64,
    refusals: f64,
    jain: f64,
    worst: f64,
    /// Of all rows, those that were accepted.
    arrived: f64,
    /// Runs in which rows were given up, or that the cut-off ended.
    unfinished: usize,
    missing: usize,
}

impl Mean {
    fn of(trial: &Trial, seeds: Range<u64>, client: &dyn Fn(u64) -> Box<dyn Client>) -> Self {
        let reports: Vec<Report> = seeds.map(|seed| run(&Trial { seed, ..trial.clone() }, client)).collect();
        let count = reports.len() as f64;
        let mean = |value: &dyn Fn(&Report) -> f64| reports.iter().map(value).sum::<f64>() / count;
        let rows = (trial.rows * trial.starts.len()) as f64;
        Self {
            ratio: mean(&|report| report.ratio),
            refusals: mean(&|report| report.refusals),
            jain: mean(&|report| report.jain),
            worst: reports.iter().map(|report| report.ratio).fold(0.0, f64::max),
            arrived: mean(&|report| report.accepted as f64) / rows,
            unfinished: reports.iter().filter(|report| !report.finished).count(),
            missing: reports.iter().map(|report| report.missing).sum(),
        }
    }

    fn misses(&self, target: Target) -> bool {
        self.unfinished > 0
            || self.missing > 0
            || self.ratio > target.ratio
            || self.refusals > target.refusals
            || self.jain < target.jain
    }

    fn cell(&self) -> String {
        let refusals = 100.0 * self.refusals;
        if self.unfinished > 0 {
            // Rounded down: 100 % would be all of them.
            return format!("{:.1} % of rows / {refusals:.0} %", (1e3 * self.arrived).floor() / 10.0);
        }
        format!("{:.3} / {refusals:.2} %", self.ratio)
    }

    fn written(&self) -> Value {
        let ratio = if self.unfinished > 0 { Value::Null } else { json!(self.ratio) };
        json!({ "ratio": ratio, "refusedPerRow": self.refusals, "arrived": self.arrived })
    }
}

fn sections() -> Vec<Section> {
    vec![
        Section { title: "Policy headers readable", lines: with_headers() },
        Section { title: "Only the status visible, 10,000 rows", lines: long() },
        Section { title: "Only the status visible, 2,000 rows", lines: short() },
        Section { title: "Integer Retry-After on refusals, nothing else", lines: hinted() },
        Section {
            title: "The limit changes: 50, after 40 s 10, after 100 s 50 again; 6,000 rows",
            lines: changing(),
        },
        Section { title: "Three clients that know nothing of each other, 3,000 rows each", lines: three() },
        Section { title: "A server that shuts out for 10 s", lines: shutting_out() },
        Section { title: "Coarse timers, 2,000 rows", lines: late() },
        Section { title: "1 % of requests or answers lost, 2,000 rows", lines: faults() },
        Section { title: "Other rates and latencies", lines: elsewhere() },
    ]
}

fn line(name: &str, rule: Rule, rate: f64, rows: usize, target: Target) -> Line {
    Line { name: format!("{name}, {rate}/s"), trial: Trial::new(rule, rate, rows), target }
}

fn at_both_rates(rows: usize, rules: &[(&str, Rule, Target)]) -> Vec<Line> {
    let lines = |rate| rules.iter().map(move |(name, rule, target)| line(name, *rule, rate, rows, *target));
    PARTS.into_iter().flat_map(lines).collect()
}

fn with(headers: Headers, mut lines: Vec<Line>, rows: &str) -> Vec<Line> {
    for line in &mut lines {
        line.trial.headers = headers;
        line.name = format!("{}, {rows}", line.name);
    }
    lines
}

fn with_headers() -> Vec<Line> {
    let rules = [
        ("token bucket", BUCKET, target(1.03, 0.1)),
        ("deep token bucket", DEEP_BUCKET, target(1.03, 0.1)),
        ("GCRA, burst 5", BURST_5, target(1.03, 0.1)),
        ("fixed 10 s", FIXED_10, target(1.03, 0.1)),
        ("fixed 60 s", FIXED_60, target(1.03, 0.1)),
        ("sliding 10 s", SLIDING_10, target(1.03, 0.1)),
        ("fixed 1 s", FIXED_1, target(1.10, 0.3)),
        ("sliding 1 s", SLIDING_1, target(1.20, 0.3)),
    ];
    let mut lines = with(Headers::Policy, at_both_rates(2_000, &rules), "2,000");
    lines.extend(with(Headers::Policy, at_both_rates(10_000, &rules), "10,000"));
    lines
}

fn long() -> Vec<Line> {
    at_both_rates(
        10_000,
        &[
            ("token bucket", BUCKET, target(1.04, 1.5)),
            ("GCRA, burst 5", BURST_5, target(1.04, 1.5)),
            ("fixed 1 s", FIXED_1, target(1.04, 1.5)),
            ("fixed 10 s", FIXED_10, target(1.04, 1.5)),
            ("fixed 60 s", FIXED_60, target(1.04, 1.5)),
            ("concurrency cap", Rule::Concurrent, target(1.04, 1.5)),
            ("sliding 1 s", SLIDING_1, target(1.12, 1.5)),
            ("sliding 10 s", SLIDING_10, target(1.12, 1.5)),
            ("sliding 10 s, refusals count", SLIDING_ALL, target(1.30, 3.0)),
        ],
    )
}

fn short() -> Vec<Line> {
    at_both_rates(
        2_000,
        &[
            ("token bucket", BUCKET, target(1.10, 3.0)),
            ("deep token bucket", DEEP_BUCKET, target(1.10, 6.0)),
            ("GCRA, burst 5", BURST_5, target(1.10, 3.0)),
            ("fixed 1 s", FIXED_1, target(1.10, 3.0)),
            ("fixed 10 s", FIXED_10, target(1.10, 6.0)),
            ("sliding 1 s", SLIDING_1, target(1.10, 3.0)),
            ("sliding 10 s", SLIDING_10, target(1.10, 6.0)),
            ("concurrency cap", Rule::Concurrent, target(1.10, 3.0)),
            ("GCRA, burst 1", BURST_1, STATED),
        ],
    )
}

fn hinted() -> Vec<Line> {
    let rules = [
        ("token bucket", BUCKET, target(1.06, 1.5)),
        ("fixed 1 s", FIXED_1, target(1.20, 1.5)),
        ("fixed 10 s", FIXED_10, target(1.06, 1.5)),
        ("sliding 1 s", SLIDING_1, target(1.20, 1.5)),
        ("sliding 10 s", SLIDING_10, target(1.06, 1.5)),
    ];
    with(Headers::RetryAfter, at_both_rates(2_000, &rules), "2,000")
}

fn changing() -> Vec<Line> {
    let limit = Limit(vec![(0.0, 50.0), (40.0, 10.0), (100.0, 50.0)]);
    let mut lines = Vec::new();
    for (headers, words, target) in
        [(Headers::None, "status only", target(1.10, 2.0)), (Headers::Policy, "headers", target(1.05, 0.2))]
    {
        for (name, rule) in [("token bucket", BUCKET), ("fixed 1 s", FIXED_1)] {
            let trial = Trial { limit: limit.clone(), headers, ..Trial::new(rule, 50.0, 6_000) };
            lines.push(Line { name: format!("{name}, {words}"), trial, target });
        }
    }
    lines
}

fn three() -> Vec<Line> {
    let mut lines = Vec::new();
    let target = Target { jain: 0.95, ..target(1.12, 2.2) };
    for (name, rule) in [("token bucket", BUCKET), ("fixed 1 s", FIXED_1), ("sliding 1 s", SLIDING_1)] {
        let trial = Trial { starts: vec![0.0, 5.0, 10.0], ..Trial::new(rule, 50.0, 3_000) };
        lines.push(Line { name: format!("{name}, 50/s"), trial, target });
    }
    lines
}

fn shutting_out() -> Vec<Line> {
    let mut lines = at_both_rates(10_000, &[("blocks 10 s", BLOCK_10, target(1.4, 1.0))]);
    lines.extend(with(
        Headers::Policy,
        at_both_rates(10_000, &[("blocks 10 s", BLOCK_10, STATED)]),
        "headers",
    ));
    lines
}

fn late() -> Vec<Line> {
    let mut lines = Vec::new();
    for (timer, words) in [(16, "16 ms"), (1_000, "1 s"), (60_000, "60 s")] {
        let promised = match timer {
            16 => target(1.05, 3.0),
            1_000 => target(1.26, 3.0),
            _ => target(100.0, 3.0),
        };
        let mut some =
            at_both_rates(2_000, &[("token bucket", BUCKET, promised), ("fixed 1 s", FIXED_1, promised)]);
        some.extend(at_both_rates(
            2_000,
            &[
                ("GCRA, burst 5", BURST_5, STATED),
                ("sliding 1 s", SLIDING_1, STATED),
                ("fixed 10 s", FIXED_10, STATED),
                ("concurrency cap", Rule::Concurrent, STATED),
            ],
        ));
        for line in &mut some {
            line.trial.timer = timer;
            line.name = format!("{}, timers {words}", line.name);
        }
        lines.extend(some);
    }
    lines
}

fn faults() -> Vec<Line> {
    let rules = [("token bucket", BUCKET), ("fixed 1 s", FIXED_1), ("sliding 10 s", SLIDING_10)];
    let mut lines = at_both_rates(2_000, &rules.map(|(name, rule)| (name, rule, STATED)));
    for line in &mut lines {
        line.trial.dropped = 0.005;
        line.trial.lost = 0.005;
    }
    lines
}

fn elsewhere() -> Vec<Line> {
    let rules = [
        ("token bucket", BUCKET),
        ("GCRA, burst 5", BURST_5),
        ("fixed 1 s", FIXED_1),
        ("sliding 1 s", SLIDING_1),
        ("sliding 10 s", SLIDING_10),
        ("concurrency cap", Rule::Concurrent),
    ];
    let mut lines = Vec::new();
    for (rate, rows) in [(3.0, 600), (25.0, 5_000), (100.0, 10_000), (200.0, 10_000)] {
        lines.extend(rules.map(|(name, rule)| line(name, rule, rate, rows, STATED)));
    }
    for rate in PARTS {
        for (name, rule) in rules.into_iter().take(5) {
            let mut slow = line(name, rule, rate, 2_000, STATED);
            slow.trial.latency = (200.0, 600.0);
            slow.name += ", 200-600 ms";
            lines.push(slow);
        }
    }
    lines
}
