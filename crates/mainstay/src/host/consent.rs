//! What would be changed on this host in, a person's yes out: asked once per data directory, and never guessed.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::ledger::Change;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Go on.
    Yes,
    /// Nobody has agreed.
    No,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("host/consent")
}

/// The list for people.
pub(crate) fn list(changes: &[Change], node_ports: &[std::net::IpAddr], data_dir: &Path) -> String {
    let mut text = "mainstay up --host changes this on this host, and mainstay down takes it back:\n".to_owned();
    for change in changes {
        text.push_str(&format!("  {change}\n"));
    }
    let ports: Vec<String> = node_ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() { "no address yet".to_owned() } else { ports.join(", ") };
    text.push_str(&format!("  node ports  30000-32767 of {ports}, as Services ask for them\n"));
    text.push_str("  cgroups     mainstay/NAME below this program's own, with one per container\n");
    text.push_str("  mounts      none that others see: pods have them in namespaces of their own\n");
    text.push_str(&format!("  directory   {} (stays until: mainstay down --delete-data)\n", data_dir.display()));
    text
}

/// Whether somebody has agreed for this data directory before.
pub(crate) fn given(data_dir: &Path) -> bool {
    path(data_dir).exists()
}

/// Asks on the terminal, unless `--yes` has answered. Without a terminal nobody is asked.
pub(crate) fn ask(list: &str, yes: bool) -> Result<Answer> {
    eprint!("{list}");
    if yes {
        return Ok(Answer::Yes);
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        eprintln!(
            "mainstay: nobody has agreed to these changes yet.\nAgree: mainstay up --host --yes; only look: --dry-run"
        );
        return Ok(Answer::No);
    }
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let agreed = matches!(line.trim(), "y" | "Y" | "yes");
    Ok(if agreed { Answer::Yes } else { Answer::No })
}

/// Remembers the yes.
pub(crate) fn remember(data_dir: &Path, list: &str) -> Result<()> {
    let path = path(data_dir);
    let shown = path.display();
    std::fs::create_dir_all(data_dir.join("host")).with_context(|| format!("cannot make the directory of {shown}"))?;
    std::fs::write(&path, list).with_context(|| format!("cannot write {shown}"))
}
