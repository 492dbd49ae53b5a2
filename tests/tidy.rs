//! The house's promises as tests: layers, bans, sizes, and documents whose paths and commands are real.

use std::collections::BTreeSet;
use std::process::Command;

use mainstay_tests::{files, read, root};

/// Which of our crates each crate may depend on. Anything not listed is forbidden.
const LAYERS: &[(&str, &[&str])] = &[
    ("mainstay-api", &[]),
    ("mainstay-compile", &["mainstay-api"]),
    ("mainstay-contract", &["mainstay-api"]),
    ("mainstay-kernel", &[]),
    ("mainstay-store", &["mainstay-api"]),
    ("mainstay-apiserver", &["mainstay-api", "mainstay-compile", "mainstay-contract", "mainstay-store"]),
    ("mainstay-controller", &["mainstay-api", "mainstay-compile", "mainstay-contract"]),
    ("mainstay-dataplane", &["mainstay-api", "mainstay-compile", "mainstay-kernel"]),
    ("mainstay-dns", &["mainstay-api", "mainstay-compile", "mainstay-kernel"]),
    ("mainstay-pods", &["mainstay-api", "mainstay-compile", "mainstay-contract", "mainstay-kernel"]),
];

/// Crates without clock, randomness, I/O and async: none of these may appear among their dependencies.
const PURE: &[&str] = &["mainstay-api", "mainstay-compile"];
const IMPURE: &[&str] =
    &["tokio", "hyper", "rustix", "libc", "getrandom", "rand", "tracing", "tracing-subscriber", "nix"];

/// Text that must not stand in Rust sources, with what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!(", "write it, or do not offer it"),
    ("unimplemented!(", "write it, or return a three-part error"),
    ("#[ignore", "a test runs or is deleted"),
    ("#![allow(", "allow at the smallest place, with a reason"),
];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn dependencies(package: &serde_json::Value) -> BTreeSet<String> {
    let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
    let name = |dependency: &serde_json::Value| dependency["name"].as_str().unwrap_or_default().to_owned();
    package["dependencies"].as_array().into_iter().flatten().filter(normal).map(name).collect()
}

#[test]
fn crates_depend_downwards_only() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for (name, allowed) in LAYERS {
        let package = packages.iter().find(|package| package["name"] == *name);
        let package = package.unwrap_or_else(|| panic!("crate {name} is in LAYERS but not in the workspace"));
        for dependency in dependencies(package) {
            if ours.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
            if PURE.contains(name) && IMPURE.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency} (pure crate)"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies that the house forbids: {wrong:#?}");
}

#[test]
fn sources_are_small_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.ends_with(".rs")) {
        let text = read(file);
        let lines = text.lines().count();
        if lines > 800 {
            wrong.push(format!("{file}: {lines} lines, at most 800"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{file}: must open with a //! line that says what it turns into what"));
        }
        for (banned, instead) in BANNED {
            // A test program is one unit: what it allows, it allows as a whole, and the lint asks for the reason.
            let test_program = *banned == "#![allow(" && (file.starts_with("tests/") || file.contains("/tests/"));
            if file != "tests/tidy.rs" && !test_program && text.contains(banned) {
                wrong.push(format!("{file}: contains {banned}: {instead}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The standard library's printing panics when a pipe is closed or a disk is full: the program has macros of its own for
/// it, in front of every module, and other crates print nothing. (The holder's standard error is a file.)
#[test]
fn nothing_that_is_printed_can_end_the_program() {
    let main = read("crates/mainstay/src/main.rs");
    let first = main.lines().find(|line| line.starts_with("mod ") || line.starts_with("#[macro_use]"));
    assert_eq!(first, Some("#[macro_use]"), "main.rs: the first module is `out`, with its macros");
    assert!(main.contains("#[macro_use]\nmod out;\n"), "main.rs: the first module is `out`, with its macros");
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.starts_with("crates/") && file.contains("/src/")) {
        let text = read(file);
        let ours = file.starts_with("crates/mainstay/");
        let printing = text.lines().filter(|line| match ours {
            true => ["print!(", "println!(", "eprint!(", "eprintln!("]
                .iter()
                .any(|name| line.contains(&format!("std::{name}"))),
            false => line.contains("print!(") || line.contains("println!("),
        });
        let holder = file.starts_with("crates/pods/src/holder/") || file.starts_with("crates/pods/src/cgroup/");
        wrong.extend(printing.filter(|_| !holder).map(|line| format!("{file}: {}", line.trim())));
    }
    assert!(wrong.is_empty(), "printing that panics: {wrong:#?}");
}

#[test]
fn only_the_kernel_crate_is_unsafe_and_says_why() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.ends_with(".rs") && *file != "tests/tidy.rs") {
        let text = read(file);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let opens = code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn");
            if !opens {
                continue;
            }
            if !file.starts_with("crates/kernel/") {
                wrong.push(format!("{file}:{}: unsafe belongs in crates/kernel", index + 1));
            } else if !lines[index.saturating_sub(5)..=index]
                .iter()
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
            {
                wrong.push(format!("{file}:{}: needs a SAFETY: sentence just above", index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn paths_named_in_the_architecture_exist() {
    let text = read("ARCHITECTURE.md");
    let mut missing = Vec::new();
    let mut named = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let path_like = (word.contains('/') || word.ends_with(".rs")) && !word.contains([' ', '<', '*', '{', ':', '(']);
        if path_like && !word.starts_with(['/', '-', '.']) && word.split('/').next().is_some_and(is_top_level) {
            named += 1;
            if !root().join(word).exists() {
                missing.push(word.to_owned());
            }
        }
    }
    assert!(named >= 20, "ARCHITECTURE.md names only {named} paths: the check has nothing to hold");
    assert!(missing.is_empty(), "ARCHITECTURE.md names paths that do not exist: {missing:#?}");
}

fn is_top_level(name: &str) -> bool {
    ["crates", "tests", "xtask", "scripts", "fuzz", "benches", "docs"].contains(&name)
}

#[test]
fn readme_commands_are_real_and_ci_runs_the_second() {
    let readme = read("README.md");
    let block = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a first ```sh block");
    let commands: Vec<&str> = block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).collect();
    assert_eq!(commands.len(), 2, "README's first block holds exactly two commands, found {commands:?}");
    for command in &commands {
        let script = command.split_whitespace().nth(1).expect("sh SCRIPT");
        assert!(root().join(script).is_file(), "README names {script}, which does not exist");
    }
    let ci = read(".ci/run");
    assert!(ci.contains(commands[1]), ".ci/run must call README's test command {:?}", commands[1]);
}

#[test]
fn every_crate_is_in_the_architecture() {
    let text = read("ARCHITECTURE.md");
    for (name, _) in LAYERS {
        let folder = format!("crates/{}/", name.trim_start_matches("mainstay-"));
        assert!(text.contains(&folder), "ARCHITECTURE.md has no line for {folder}");
    }
}
