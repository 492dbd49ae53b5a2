//! A URL in, a browser that shows it out, where there is a desktop and somebody who looks.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The program of freedesktop.org that knows which browser the user wants.
const OPENER: &str = "xdg-open";

/// Starts the browser; says so, or why not if it should have worked. Does nothing without a desktop or a terminal.
pub(super) fn open(url: &str) {
    let Some(program) = opener() else { return };
    let mut command = Command::new(program);
    // Ctrl-C here must not end the browser.
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    match command.spawn() {
        Ok(_) => eprintln!("opened in the browser (--no-browser: only print)"),
        Err(error) => eprintln!("note: {OPENER} could not be started: {error}. Open the address yourself"),
    }
}

/// The opener, if a person with a desktop sits at a terminal.
fn opener() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktop = set("DISPLAY") || set("WAYLAND_DISPLAY");
    if !desktop || !std::io::stdout().is_terminal() {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(OPENER)).find(|program| program.is_file())
}
