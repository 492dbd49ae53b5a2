//! Parts of `docs/` that the program writes: printed by it, compared with what is committed.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::account;

/// Set to write instead of comparing.
const WRITE: &str = "MAINSTAY_WRITE_DOCS";
const BEGIN: &str = "<!-- codes: written by MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay --test e2e documents -->\n";
const END: &str = "<!-- end of codes -->";

#[test]
fn troubleshooting_lists_every_code() {
    let output = Command::new(account::program()).args(["explain", "--list", "-o", "json"]).output();
    let output = output.expect("the binary runs");
    let codes: Vec<Value> = serde_json::from_slice(&output.stdout).expect("codes are JSON");
    let row = |code: &Value| {
        let field = |name: &str| code[name].as_str().unwrap_or_default().replace('|', "\\|");
        format!("| {} | {} | {} | {} |\n", field("code"), field("step"), field("title"), field("mend"))
    };
    let rows: String = codes.iter().map(row).collect();
    assert!(!rows.is_empty(), "there are codes");
    let table = format!("| code | step | what | how to mend it |\n|---|---|---|---|\n{rows}");
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
    let text = std::fs::read_to_string(&file).expect("docs/troubleshooting.md is there");
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for codes");
    let (committed, after) = rest.split_once(END).expect("the place for codes ends");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).expect("the page can be written");
        return;
    }
    assert!(committed == table, "docs/troubleshooting.md lists other codes; write it anew with {WRITE}=1");
}
