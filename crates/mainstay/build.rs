//! Turns the surroundings of a build into the facts that `mainstay version` prints.
//!
//! The commit and the date are given by `cargo xtask dist` (MAINSTAY_COMMIT, SOURCE_DATE_EPOCH): reading them here would
//! rebuild the program after every commit, and a date of its own would make two builds of one source differ.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for given in ["MAINSTAY_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={given}");
        println!("cargo::rustc-env={given}={}", std::env::var(given).unwrap_or_default());
    }
    println!("cargo::rustc-env=MAINSTAY_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=MAINSTAY_RUSTC={}", rustc());
}

/// The compiler, as it names itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
fn rustc() -> String {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let said = Command::new(program).arg("--version").output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
