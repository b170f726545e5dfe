//! The targets of `cargo fuzz` without it, on any compiler: what they found once stays mended, and inputs that together
//! reach most of what they reach go on being run.

#[allow(
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that overflows or panics fails, and that is what it is for"
)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Runs a target on every input that is kept for it. The last path that it prints is that of the input that fails.
fn replay(name: &str, target: fn(&[u8])) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let entries = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
    let files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    assert!(!files.is_empty(), "nothing is kept in {}", folder.display());
    for file in files {
        println!("{}", file.display());
        target(&fs::read(&file)?);
    }
    Ok(())
}

#[test]
fn headers() -> io::Result<()> {
    replay("headers", targets::headers::run)
}

#[test]
fn classify() -> io::Result<()> {
    replay("classify", targets::classify::run)
}

#[test]
fn config() -> io::Result<()> {
    replay("config", targets::config::run)
}

#[test]
fn service() -> io::Result<()> {
    replay("service", targets::service::run)
}

#[test]
fn pacer() -> io::Result<()> {
    replay("pacer", targets::pacer::run)
}

#[test]
fn bulk() -> io::Result<()> {
    replay("bulk", targets::bulk::run)
}
