//! The script of commands and a kubeconfig in, one transcript per section out: what kubectl printed, masked.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::mask::mask;

/// How long a preparing command is repeated. Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the script.
pub(crate) struct Step {
    /// What sh is given.
    pub(crate) command: String,
    /// Repeated until it succeeds, and not recorded.
    pub(crate) prepares: bool,
    /// Printed by kubectl alone: compared only with a kubectl of this minor version.
    pub(crate) minor: Option<u32>,
}

/// One section of the script.
pub(crate) struct Section {
    /// Its name, and that of its file.
    pub(crate) name: String,
    /// Its lines in order.
    pub(crate) steps: Vec<Step>,
}

/// What one command printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The command.
    pub(crate) command: String,
    /// Masked output, standard error with `2| ` before each line, and the exit code if it is not 0.
    pub(crate) text: String,
}

/// The directory of the script, its files and its recordings.
pub(crate) fn directory() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/golden");
    if beside.is_dir() {
        beside
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/mainstay/tests/e2e/golden")
    }
}

/// The sections of the script.
pub(crate) fn script() -> Vec<Section> {
    let text = read(&directory().join("script.txt"));
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            sections.push(Section { name: name.to_owned(), steps: Vec::new() });
        } else {
            sections.last_mut().expect("the script begins with a section").steps.push(step(line));
        }
    }
    sections
}

fn step(line: &str) -> Step {
    if let Some(command) = line.strip_prefix("~ ") {
        return Step { command: command.to_owned(), prepares: true, minor: None };
    }
    if let Some((minor, command)) = line.strip_prefix('?').and_then(|rest| rest.split_once(' ')) {
        let minor = minor.parse().expect("?MINOR is a number");
        return Step { command: command.to_owned(), prepares: false, minor: Some(minor) };
    }
    Step { command: line.to_owned(), prepares: false, minor: None }
}

/// Runs one section and shows its recorded commands; with what never succeeded, if something did not.
pub(crate) fn run(section: &Section, kubeconfig: &Path) -> (Vec<Shown>, Option<String>) {
    let mut shown = Vec::new();
    for step in &section.steps {
        let done = if step.prepares {
            prepare(&step.command, kubeconfig)
        } else {
            once(&step.command, kubeconfig).map(|(text, _)| shown.push(Shown { command: step.command.clone(), text }))
        };
        if let Err(why) = done {
            return (shown, Some(why));
        }
    }
    (shown, None)
}

fn prepare(command: &str, kubeconfig: &Path) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let (text, fine) = once(command, kubeconfig)?;
        if fine {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("never succeeded: {command}\n{text}"));
        }
        // Lets others run between two looks at a state; nothing depends on its length.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn once(command: &str, kubeconfig: &Path) -> Result<(String, bool), String> {
    let home = kubeconfig.parent().unwrap_or(kubeconfig);
    let mut sh = Command::new("sh");
    sh.args(["-c", command]).current_dir(directory().join("files")).stdin(Stdio::null());
    sh.env("KUBECONFIG", kubeconfig).env("HOME", home).env("LC_ALL", "C").env("TZ", "UTC").env_remove("KUBE_EDITOR");
    let output = sh.output().map_err(|error| format!("sh cannot be run: {error}"))?;
    let mut text = mask(&String::from_utf8_lossy(&output.stdout));
    for line in mask(&String::from_utf8_lossy(&output.stderr)).lines() {
        text.push_str(&format!("2| {line}\n"));
    }
    if let Some(code) = output.status.code().filter(|code| *code != 0) {
        text.push_str(&format!("[exit {code}]\n"));
    }
    Ok((text, output.status.success()))
}

/// A file that belongs to this test.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}
