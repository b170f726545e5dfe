//! The house in one direction: a room uses only rooms above it in the list of `src/lib.rs`, only `wasm/` knows
//! JavaScript, and nobody reads a clock.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the top of the house to the bottom, those too that are not built yet. Who moves one changes the
/// design, not only the list in `src/lib.rs`.
const HOUSE: [&str; 19] = [
    "time", "random", "decision", "outcome", "classify", "backoff", "budget", "circuit", "cooldown", "quota",
    "slots", "queue", "pool", "limits", "pacer", "record", "service", "bulk", "wasm",
];

/// Crates that know JavaScript, and the one that asks the platform for randomness.
const JAVASCRIPT: [&str; 8] = [
    "js_sys",
    "web_sys",
    "wasm_bindgen",
    "wasm_bindgen_futures",
    "serde_wasm_bindgen",
    "gloo",
    "gloo_timers",
    "getrandom",
];

/// The only room that may mention those.
const JAVASCRIPT_ROOM: &str = "wasm";

#[test]
fn a_room_uses_only_rooms_above_it() {
    let order = rooms(&read(&source_folder().join("lib.rs")));
    for file in room_files() {
        let complaints = looks_down(&file.module, &tokens(&file.text), &order);
        assert!(complaints.is_empty(), "{}:\n{}", file.path.display(), complaints.join("\n"));
    }
}

#[test]
fn the_rooms_stand_in_the_order_of_the_house() {
    let order = rooms(&read(&source_folder().join("lib.rs")));
    let planned: Vec<&str> =
        HOUSE.into_iter().filter(|room| order.iter().any(|built| built == room)).collect();
    assert_eq!(order, planned, "src/lib.rs and the house differ: a room is unknown or at another place");
}

#[test]
fn every_file_belongs_to_a_room() {
    let order = rooms(&read(&source_folder().join("lib.rs")));
    for file in room_files() {
        let room = file.module.first().expect("a file has a module");
        assert!(order.contains(room), "{} belongs to no room of src/lib.rs", file.path.display());
    }
}

#[test]
fn only_one_room_knows_javascript() {
    for file in all_files() {
        let complaints = knows_javascript(&file.module, &tokens(&file.text));
        assert!(complaints.is_empty(), "{}:\n{}", file.path.display(), complaints.join("\n"));
    }
}

#[test]
fn nobody_reads_a_clock() {
    for file in all_files() {
        let complaints = reads_a_clock(&file.module, &tokens(&file.text));
        assert!(complaints.is_empty(), "{}:\n{}", file.path.display(), complaints.join("\n"));
    }
}

/// The test of these tests: what they must find in bad sources, and what they must leave alone.
#[test]
fn bad_sources_are_found() {
    let order: Vec<String> = ["time", "decision", "circuit", "service", "wasm"].map(String::from).to_vec();
    for (room, source, found) in [
        ("circuit", "use crate::service::Service;", "service"),
        ("circuit", "pub use crate::service as above;", "service"),
        ("circuit", "use crate::{time::Instant, service::{Call, Config}};", "service"),
        ("circuit", "use crate::{\n    decision::{self, Permit},\n    service,\n};", "service"),
        ("circuit", "fn f() -> u32 { crate::service::LIMIT }", "service"),
        ("circuit", "use super::service::Service;", "service"),
        ("circuit", "mod tests { use super::super::service::Service; }", "service"),
        ("circuit", "mod outer { mod inner { fn f() { super::super::super::service::go() } } }", "service"),
        ("circuit", "use crate::r#service::Service;", "service"),
        ("circuit", "use crate :: /* here */ service :: Service;", "service"),
        ("time", "#[cfg(test)] mod tests { use crate::decision::Permit; }", "decision"),
        ("service", "#[cfg(target_arch = \"wasm32\")] use crate::wasm::seed;", "wasm"),
        ("circuit", "use crate::*;", "*"),
        ("circuit", "use super::*;", "*"),
        ("circuit", "mod tests { use super::super::*; }", "*"),
        // Those are in order.
        ("circuit", "use crate::decision::Permit; use crate::time::{Instant, Span};", ""),
        ("circuit", "use crate::circuit::Phase; use self::inner::service; mod service {}", ""),
        ("circuit", "mod tests { use super::*; use super::service; }", ""),
        ("circuit", "// use crate::service::Service;\n/* use crate::service; /* nested */ */", ""),
        ("circuit", "/// See [`crate::service::Service`].\nfn f() { let _ = \"crate::service\"; }", ""),
        (
            "circuit",
            "fn f() { let _ = r#\"use crate::service::Service; \" \"#; let _ = '\"'; let _ = b\"\\\"\"; }",
            "",
        ),
        (
            "circuit",
            "fn f() { let _ = \"é\\\"é crate::service\"; let _ = ('é', '\\u{e9}', '\\'', \"\"); }",
            "",
        ),
        ("circuit", "fn f<'service>(a: &'service str) { other::service::go(a) }", ""),
        ("wasm", "use crate::service::Service;", ""),
    ] {
        let complaints = looks_down(&[room.to_owned()], &tokens(source), &order);
        let expected: &[&str] = if found.is_empty() { &[] } else { &[found] };
        assert_eq!(complaints.len(), expected.len(), "{room}: {source}: {complaints:?}");
        assert!(
            complaints.iter().zip(expected).all(|(told, room)| told.contains(room)),
            "{source}: {complaints:?}"
        );
    }
}

#[test]
fn a_bad_source_inside_a_folder_is_found() {
    let order: Vec<String> = ["decision", "classify", "service"].map(String::from).to_vec();
    let module = ["classify".to_owned(), "hints".to_owned()];
    for (source, expected) in [
        ("use super::status;", 0),
        ("use super::super::decision::Verdict;", 0),
        ("use super::super::service::Service;", 1),
        ("use crate::classify::status;", 0),
        ("use crate::service::Service;", 1),
        ("mod tests { use super::super::super::service::Service; }", 1),
    ] {
        assert_eq!(looks_down(&module, &tokens(source), &order).len(), expected, "{source}");
    }
}

#[test]
fn javascript_and_clocks_are_found() {
    for (room, source, expected) in [
        ("circuit", "use js_sys::Date;", 1),
        ("circuit", "fn f() { web_sys::window(); }", 1),
        ("circuit", "#[wasm_bindgen::prelude::wasm_bindgen] pub fn f() {}", 2),
        ("circuit", "use gloo_timers::future::sleep; use gloo::timers;", 2),
        ("circuit", "use serde_wasm_bindgen::to_value;", 1),
        ("circuit", "// js_sys\nfn f() -> &'static str { \"wasm_bindgen\" }", 0),
        ("bin", "use wasm_bindgen_cli_support::Bindgen;", 0),
        ("wasm", "use js_sys::Date; use wasm_bindgen::prelude::*;", 0),
    ] {
        assert_eq!(knows_javascript(&[room.to_owned()], &tokens(source)).len(), expected, "{room}: {source}");
    }
    for (room, source, expected) in [
        ("circuit", "fn f() { std::time::Instant::now(); }", 1),
        ("circuit", "fn f() { SystemTime :: now (); Instant\n::now(); }", 2),
        ("bin", "fn f() { let _ = std::time::SystemTime::now; }", 1),
        ("circuit", "// Instant::now\nfn f() { Instant::ZERO; now(); let _ = \"Instant::now()\"; }", 0),
        ("wasm", "fn f() { Instant::now(); }", 0),
    ] {
        assert_eq!(reads_a_clock(&[room.to_owned()], &tokens(source)).len(), expected, "{room}: {source}");
    }
}

#[test]
fn the_list_of_rooms_is_read_from_the_module_declarations() {
    let source = "//! pub mod nowhere;\npub mod time;\n#[cfg(target_arch = \"wasm32\")]\npub mod wasm;\nmod inner { mod not_a_room {} }";
    assert_eq!(rooms(source), ["time", "wasm"]);
}

// ---- The three rules -------------------------------------------------------------------------------------------

/// What a file of this module uses from rooms below its own, one sentence for each use.
fn looks_down(module: &[String], tokens: &[String], order: &[String]) -> Vec<String> {
    let own = module.first().expect("a file has a module");
    let level = |room: &String| order.iter().position(|other| other == room);
    let mut complaints = Vec::new();
    for used in paths_from_the_root(module, tokens) {
        if used == "*" {
            complaints.push(format!("`{own}` uses everything (*) of the crate: say what"));
        } else if level(&used) > level(own) {
            complaints.push(format!("`{own}` uses `{used}`, which stands below it"));
        }
    }
    complaints
}

fn knows_javascript(module: &[String], tokens: &[String]) -> Vec<String> {
    if module.first().is_some_and(|room| room == JAVASCRIPT_ROOM) {
        return Vec::new();
    }
    let foreign = tokens.iter().filter(|token| JAVASCRIPT.contains(&token.as_str()));
    foreign.map(|token| format!("`{token}` belongs in src/{JAVASCRIPT_ROOM}")).collect()
}

fn reads_a_clock(module: &[String], tokens: &[String]) -> Vec<String> {
    if module.first().is_some_and(|room| room == JAVASCRIPT_ROOM) {
        return Vec::new();
    }
    let clocks = tokens.windows(3).filter(|three| {
        (three[0] == "Instant" || three[0] == "SystemTime") && three[1] == "::" && three[2] == "now"
    });
    clocks.map(|three| format!("{}: `now` is an argument here", three.concat())).collect()
}

// ---- Reading Rust ----------------------------------------------------------------------------------------------

/// The first names of all paths that begin at the root of the crate: with `crate`, or with enough `super`.
fn paths_from_the_root(module: &[String], tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    // One entry for each open brace: whether it is that of a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => braces.push(at >= 2 && tokens[at - 2] == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" if tokens.get(at + 1).is_some_and(|next| next == "::") && !continues(tokens, at) => {
                first_names(&tokens[at + 2..], &mut found);
            }
            "super" if !continues(tokens, at) => {
                let depth = module.len() + braces.iter().filter(|is_module| **is_module).count();
                let mut ups = 1;
                while tokens.get(at + 1).is_some_and(|next| next == "::")
                    && tokens.get(at + 2).is_some_and(|next| next == "super")
                {
                    ups += 1;
                    at += 2;
                }
                if ups == depth && tokens.get(at + 1).is_some_and(|next| next == "::") {
                    first_names(&tokens[at + 2..], &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the token at this place continues a path, as in `other::crate`, which names nothing of ours.
fn continues(tokens: &[String], at: usize) -> bool {
    at > 0 && tokens[at - 1] == "::"
}

/// The first name behind `crate::`, or the first names in the braces there.
fn first_names(tokens: &[String], found: &mut Vec<String>) {
    if tokens.first().is_none_or(|first| first != "{") {
        found.extend(tokens.first().cloned());
        return;
    }
    let mut depth = 0;
    let mut at_the_beginning = false;
    for token in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && at_the_beginning => found.push(token.clone()),
            _ => {}
        }
        if depth == 0 {
            return;
        }
        at_the_beginning = depth == 1 && (token == "{" || token == ",");
    }
}

/// The rooms in the order in which `lib.rs` declares them.
fn rooms(lib: &str) -> Vec<String> {
    let tokens = tokens(lib);
    let declared = tokens.windows(4).filter(|four| four[0] == "pub" && four[1] == "mod" && four[3] == ";");
    declared.map(|four| four[2].clone()).collect()
}

/// Words, `::` and single characters; without comments, texts, characters and lifetimes.
fn tokens(source: &str) -> Vec<String> {
    let mut rest = source;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let skipped = unspoken(rest);
        if skipped > 0 {
            rest = &rest[skipped..];
            continue;
        }
        let length = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// How many bytes at the beginning say nothing about paths: a comment, a text, a character, a lifetime, `r#`.
fn unspoken(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment(rest);
    }
    let before_a_text = |prefix: &&str| {
        rest.strip_prefix(prefix).is_some_and(|behind| behind.trim_start_matches('#').starts_with('"'))
    };
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(before_a_text);
    let quoted = &rest[prefix.map_or(0, str::len)..];
    let hashes = quoted.len() - quoted.trim_start_matches('#').len();
    if quoted[hashes..].starts_with('"') && (hashes == 0 || prefix.is_some()) {
        let raw = prefix.is_some_and(|prefix| prefix.contains('r'));
        return prefix.map_or(0, str::len) + text(quoted, hashes, raw);
    }
    if rest.starts_with("r#") {
        return 2;
    }
    if rest.starts_with('\'') { character(rest) } else { 0 }
}

fn comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn text(quoted: &str, hashes: usize, raw: bool) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    let mut at = hashes + 1;
    while at < quoted.len() && !quoted[at..].starts_with(&end) {
        let escape = usize::from(!raw && quoted[at..].starts_with('\\'));
        at += escape;
        at += quoted[at..].chars().next().map_or(1, char::len_utf8);
    }
    (at + end.len()).min(quoted.len())
}

/// `'a'` and `'\n'` whole; of a lifetime the mark and its name.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    let (first, second) = (characters.next(), characters.next());
    match (first, second) {
        (Some((_, '\\')), Some((escaped, letter))) => {
            let from = escaped + letter.len_utf8();
            rest[from..].find('\'').map_or(rest.len(), |end| from + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |end| 1 + end),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

// ---- The files -------------------------------------------------------------------------------------------------

struct File {
    path: PathBuf,
    /// The path of its module from the root of the crate: `["classify", "hints"]`.
    module: Vec<String>,
    text: String,
}

/// Everything in `src/`, also the root of the crate and the build-time driver, which are no rooms.
fn all_files() -> Vec<File> {
    let mut paths = BTreeSet::new();
    collect(&source_folder(), &mut paths);
    assert!(paths.len() > 10, "the sources are where this test looks for them");
    paths.into_iter().map(|path| File { module: module_of(&path), text: read(&path), path }).collect()
}

fn room_files() -> Vec<File> {
    let is_room = |file: &File| !["lib", "bin"].contains(&file.module[0].as_str());
    all_files().into_iter().filter(is_room).collect()
}

fn collect(folder: &Path, paths: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.insert(path);
        }
    }
}

fn module_of(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix(source_folder()).expect("inside src/").with_extension("");
    let names = inside.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
