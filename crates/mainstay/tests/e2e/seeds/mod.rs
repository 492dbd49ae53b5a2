//! The articles' checklist: `checklist.txt` played on a sandbox, and `docs/seeds.md`, which must say what was seen.

pub(crate) mod script;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use crate::account;
use crate::golden::mask::mask;
use crate::sandbox::{PATIENCE, Sandbox, pause};
use script::{Row, Shown, Step};

/// Set to write `docs/seeds.md` instead of comparing it.
const WRITE: &str = "MAINSTAY_WRITE_DOCS";

#[test]
fn every_row_of_the_checklist() {
    let rows = script::parse(&read(&here().join("seeds/checklist.txt")));
    let numbers: Vec<u32> = rows.iter().map(|row| row.number).filter(|number| *number > 0).collect();
    assert_eq!(numbers, (1..=83).collect::<Vec<u32>>(), "one row for each of the checklist");
    let sandbox = Sandbox::start();
    let (mut wrong, mut table) = (String::new(), String::new());
    for row in &rows {
        let seen = match &row.shown {
            Shown::Here(steps) => play(&sandbox, row, steps, &mut wrong),
            Shown::By(test) => {
                exists(test);
                "see the test".to_owned()
            }
            Shown::Later(why) => why.clone(),
        };
        let _ = writeln!(table, "{}", line(row, &seen));
    }
    assert!(wrong.is_empty(), "{wrong}\nserver:\n{}", sandbox.log());
    document(&table);
}

/// Runs the steps of a row; what its commands must have printed.
fn play(sandbox: &Sandbox, row: &Row, steps: &[Step], wrong: &mut String) -> String {
    let mut said = Vec::new();
    for step in steps {
        match step {
            Step::Until(command) => until(sandbox, row, command),
            Step::Once { command, expected } => {
                let (seen, _) = run(sandbox, command);
                if !script::matches(expected, &seen) {
                    let _ = writeln!(
                        wrong,
                        "row {}: $ {command}\n  expected {expected:?}\n  seen     {seen:?}",
                        row.number
                    );
                }
                said.push(expected.join(", "));
            }
        }
    }
    said.join("<br>")
}

fn until(sandbox: &Sandbox, row: &Row, command: &str) {
    let began = Instant::now();
    loop {
        let (seen, fine) = run(sandbox, command);
        if fine {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "row {}: never: {command}\n{seen}\nserver:\n{}", row.number, sandbox.log());
        pause();
    }
}

fn run(sandbox: &Sandbox, command: &str) -> (String, bool) {
    let program = account::program();
    let programs = program.parent().map(Path::to_path_buf).unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut sh = sandbox.client("sh");
    sh.args(["-c", command]).current_dir(here()).env("PATH", path.expect("a PATH can be made")).stdin(Stdio::null());
    sh.env("MAINSTAY_DATA_DIR", sandbox.path()).stderr(Stdio::piped());
    let output = sh.output().expect("sh runs");
    (mask(&String::from_utf8_lossy(&output.stdout)), output.status.success())
}

/// A row that names a test names one that there is.
fn exists(test: &str) {
    let (module, function) = test.split_once("::").unwrap_or_else(|| panic!("{test:?} is no module::function"));
    let file = [format!("{module}.rs"), format!("{module}/mod.rs")].map(|name| here().join(name));
    let text = file.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    assert!(text.contains(&format!("fn {function}(")), "there is no test {test}");
}

fn line(row: &Row, seen: &str) -> String {
    let (commands, test) = match &row.shown {
        Shown::Here(steps) => {
            let commands: Vec<&str> = steps.iter().filter_map(Step::recorded).collect();
            (
                commands.last().map_or(String::new(), |command| format!("`{command}`")),
                "seeds::every_row_of_the_checklist",
            )
        }
        Shown::By(test) => (String::new(), test.as_str()),
        Shown::Later(_) => (String::new(), "later"),
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace("&lt;br>", "<br>");
    format!(
        "| {} | {} | {} | {} | {} | {test} |",
        row.number,
        row.seeds,
        cell(&row.what),
        cell_code(&commands),
        cell(seen)
    )
}

/// Code keeps its `<`; only the column's border is escaped.
fn cell_code(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Compares with what is committed, or writes it.
fn document(table: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/seeds.md");
    let text = format!(
        "# The articles' checklist\n\nWritten by the test `seeds::every_row_of_the_checklist` \
         (`crates/mainstay/tests/e2e/seeds`), which plays these\ncommands on a sandbox; `*` stands for what differs \
         between runs. Write it anew: `{WRITE}=1 cargo test -p mainstay --test e2e seeds`.\n\n| row | seeds | what | \
         command | seen | test |\n|---|---|---|---|---|---|\n{table}"
    );
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, text).expect("docs/seeds.md can be written");
        return;
    }
    assert!(read(&file) == text, "docs/seeds.md does not say what was seen; write it anew with {WRITE}=1");
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e")
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
