//! `docs/getting-started.md` in, every command block of it typed as printed, in order, and its output compared.
//!
//! In a block marked `console`, a line after `$ ` is typed and the lines below it are what must be seen (`*` stands for
//! anything; a command with nothing below it must only succeed). `# exits N` behind a command names its exit code.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account;
use crate::seeds::script;

/// One command of the guide.
#[derive(Debug, PartialEq)]
struct Typed {
    command: String,
    exits: i32,
    expected: Vec<String>,
}

/// The commands of every block marked `console`, and how many blocks there are that nobody runs.
fn commands(text: &str) -> (Vec<Typed>, usize) {
    let (mut typed, mut other, mut inside): (Vec<Typed>, usize, Option<bool>) = (Vec::new(), 0, None);
    for line in text.lines() {
        if let Some(mark) = line.strip_prefix("```") {
            inside = match inside {
                Some(_) => None,
                None => Some(mark == "console"),
            };
            other += usize::from(inside == Some(false));
            continue;
        }
        if inside != Some(true) {
            continue;
        }
        match (line.strip_prefix("$ "), typed.last_mut()) {
            (Some(command), _) => {
                let (command, exits) = command.split_once("# exits ").unwrap_or((command, "0"));
                let exits = exits.trim().parse().expect("an exit code stands behind `# exits`");
                typed.push(Typed { command: command.trim_end().to_owned(), exits, expected: Vec::new() });
            }
            (None, Some(last)) if last.command.ends_with('\\') => {
                last.command.push('\n');
                last.command.push_str(line);
            }
            (None, Some(last)) => last.expected.push(line.to_owned()),
            (None, None) => panic!("an output before any command: {line}"),
        }
    }
    (typed, other)
}

/// Types one command in a home of its own.
fn run(home: &Path, typed: &Typed, wrong: &mut String) {
    let program = account::program();
    let programs = program.parent().map(Path::to_path_buf).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{}\n{}", remembered(home), typed.command)]);
    shell.current_dir(home).env("HOME", home).env("PATH", path.expect("a PATH can be made"));
    shell.env_remove("MAINSTAY_DATA_DIR").env_remove("KUBECONFIG").stdin(Stdio::null());
    let output = shell.output().expect("bash runs");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if let Some(export) = typed.command.strip_prefix("export ") {
        let text = remembered(home) + &format!("export {export}\n");
        std::fs::write(home.join(".exports"), text).expect("the home can be written");
    }
    if output.status.code() != Some(typed.exits)
        || !typed.expected.is_empty() && !script::matches(&typed.expected, &seen)
    {
        let _ = writeln!(wrong, "$ {}\nexpected {typed:?}\nbut {}:\n{seen}", typed.command, output.status);
    }
}

/// A person's shell remembers what was exported.
fn remembered(home: &Path) -> String {
    std::fs::read_to_string(home.join(".exports")).unwrap_or_default()
}

#[test]
fn every_block_of_getting_started_does_what_it_says() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/getting-started.md");
    let text = std::fs::read_to_string(&file).expect("docs/getting-started.md is there");
    let (typed, other) = commands(&text);
    assert_eq!(other, 0, "every block of {} is a console that is run", file.display());
    assert!(typed.len() > 10, "the guide has commands");
    let home = account::directory();
    let mut wrong = String::new();
    for one in &typed {
        run(home.path(), one, &mut wrong);
    }
    let down = Command::new(account::program()).args(["down", "--data-dir"]).arg(home.path().join("tour")).output();
    assert!(down.is_ok_and(|output| output.status.success()), "the instance of the guide can be stopped");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn blocks_are_read_as_said() {
    let text = "a\n```console\n$ one \\\n  two\nseen *\n$ three   # exits 2\n```\n```yaml\nx: y\n```\n";
    let typed = |command: &str, exits, expected: &[&str]| Typed {
        command: command.to_owned(),
        exits,
        expected: expected.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(commands(text), (vec![typed("one \\\n  two", 0, &["seen *"]), typed("three", 2, &[])], 1));
}
