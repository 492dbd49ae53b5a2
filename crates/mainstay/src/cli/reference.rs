//! The command line as data in, `docs/flags.md` out; a test keeps the file equal to it.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const HEAD: &str = "# Flags

Every subcommand and flag of `mainstay`, written by the program itself. Do not edit: change the sources and run
`MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay flags_reference`. The same as manual pages: `mainstay man`.
";

/// The whole page.
fn page() -> String {
    let mut root = Cli::command().disable_help_subcommand(true).term_width(usize::MAX);
    root.build();
    let mut text = HEAD.to_owned();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_command(&mut text, command, "mainstay");
    }
    text
}

fn write_command(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n## {name}\n\n{}\n\n```text\n{usage}\n```\n", sentence(&about));
    let shown: Vec<&Arg> = command.get_arguments().filter(|flag| !flag.is_hide_set() && !is_help(flag)).collect();
    if !shown.is_empty() {
        text.push_str("\n| flag | what it does |\n|---|---|\n");
    }
    for flag in shown {
        let _ = writeln!(text, "| `{}` | {} |", form(flag).replace('|', "\\|"), meaning(flag).replace('|', "\\|"));
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write_command(text, sub, &name);
    }
}

fn is_help(flag: &Arg) -> bool {
    ["help", "version"].contains(&flag.get_id().as_str())
}

/// `-o, --output <OUTPUT>`, or the placeholder of an argument.
fn form(flag: &Arg) -> String {
    let short = flag.get_short().map(|short| format!("-{short}"));
    let long = flag.get_long().map(|long| format!("--{long}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let value = flag.get_value_names().unwrap_or_default().join(" ");
    // A flag that also stands alone shows that its value may be left out.
    let optional = flag.get_num_args().is_some_and(|count| count.min_values() == 0) && !names.is_empty();
    let value = if optional { format!("[{value}]") } else { value };
    let between = if flag.is_require_equals_set() { "=" } else { " " };
    let takes = flag.get_action().takes_values();
    match (names.is_empty(), takes) {
        (true, _) => value,
        (false, true) => format!("{}{between}{value}", names.join(", ")),
        (false, false) => names.join(", "),
    }
}

fn meaning(flag: &Arg) -> String {
    let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = sentence(&help.replace('\n', " "));
    let values: Vec<String> = flag
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set() && flag.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, " One of {}.", values.join(", "));
    }
    let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if flag.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, " Default: `{}`.", defaults.join(" "));
    }
    if let Some(variable) = flag.get_env() {
        let _ = write!(text, " Also read from `{}`.", variable.to_string_lossy());
    }
    text
}

/// The text with a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?', ']']) { text.to_owned() } else { format!("{text}.") }
}

#[test]
fn flags_reference_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/flags.md");
    let page = page();
    if std::env::var_os("MAINSTAY_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs/flags.md can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page,
        "docs/flags.md is not what the command line says.\nRun: MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay flags_reference"
    );
}

/// What the page prints can be typed, and so can the other form.
#[test]
fn values_stand_behind_a_space_or_an_equals_sign() {
    for line in [
        "up --sandbox --wait",
        "up --sandbox --wait 60s",
        "up --sandbox --wait=60s",
        "up --sandbox --wait -f x.yaml",
        "up --sandbox --publish",
        "up --sandbox --publish off --detach",
        "up --sandbox --publish=off",
        "up --sandbox --publish 192.0.2.1,::1",
    ] {
        let words = std::iter::once("mainstay").chain(line.split(' '));
        let found = super::command().try_get_matches_from(words);
        assert!(found.is_ok(), "{line}: {}", found.unwrap_err());
    }
}

#[test]
fn a_flag_is_told_with_its_values_default_and_variable() {
    let page = page();
    assert!(page.contains("| `-o, --output OUTPUT` |"), "{page}");
    assert!(page.contains("One of `bash`, `fish`, `zsh`."), "{page}");
    assert!(page.contains("Also read from `MAINSTAY_DATA_DIR`."), "{page}");
    assert!(page.contains("Default: `127.0.0.1:6443`."), "{page}");
    assert!(page.contains("| `--wait [DURATION]` |") && page.contains("| `-f, --filename FILE` |"), "{page}");
    assert!(!page.contains("mainstay load"), "hidden subcommands stay hidden");
}
