//! Turns the compiled core into `pkg/`: `bindgen <module.wasm> <name> <out dir>`. Run by `js/build.mjs`, on the build machine only.

use std::env;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [input, name, out] = arguments.as_slice() else {
        eprintln!("usage: bindgen <module.wasm> <name> <out dir>");
        return ExitCode::from(2);
    };
    match generate(input, name, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One run for every entry of the package: glue without a URL, a default fetch or a top-level await, which
/// every bundler takes, and `__wbg_reset_state` for the restart after a trap. With the names of functions, which
/// `js/rewrite.mjs` wants to know.
fn generate(input: &str, name: &str, out: &str) -> Result<(), impl std::fmt::Display> {
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(input)
        .out_name(name)
        .typescript(true)
        .omit_default_module_path(true)
        .reset_state_function(true)
        .remove_producers_section(true)
        .web(true)
        .and_then(|bindgen| bindgen.generate(out))
}
