//! The command line that was typed in, words for the next one out: the same instance, quoted so that a shell takes them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// The words that name the instance of this command line.
static SAME: OnceLock<String> = OnceLock::new();

/// Notes which instance this command line names.
pub(super) fn remember(matches: &ArgMatches) {
    // Only the first command line counts: a process has one.
    let _ = SAME.set(named(matches));
}

/// ` --data-dir DIR` or ` --kubeconfig PATH` as it was typed, for the end of a line to type next; empty if neither was.
pub(crate) fn same() -> &'static str {
    SAME.get().map_or("", String::as_str)
}

fn named(matches: &ArgMatches) -> String {
    let Some((name, deepest)) = deepest(matches) else { return String::new() };
    let typed = |id: &str, flag: &str| {
        let path = deepest.try_get_one::<PathBuf>(id).ok().flatten()?;
        let source = deepest.value_source(id)?;
        (source == ValueSource::CommandLine).then(|| format!(" {flag} {}", word(path)))
    };
    // The flag of `up` says where to write one more.
    let kubeconfig = || if name == "up" { None } else { typed("kubeconfig", "--kubeconfig") };
    typed("data_dir", "--data-dir").or_else(kubeconfig).unwrap_or_default()
}

/// The flags of the subcommand that runs: `mainstay doctor dns` is two deep.
fn deepest(matches: &ArgMatches) -> Option<(&str, &ArgMatches)> {
    let (mut name, mut found) = matches.subcommand()?;
    while let Some(next) = found.subcommand() {
        (name, found) = next;
    }
    Some((name, found))
}

/// A path as a word for a shell.
pub(crate) fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The line that leads kubectl to an instance, wherever it is typed.
pub(crate) fn export(kubeconfig: &Path) -> String {
    let absolute = std::path::absolute(kubeconfig).unwrap_or_else(|_| kubeconfig.to_owned());
    format!("export KUBECONFIG={}", word(&absolute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_line_names_the_same_instance() {
        for (line, expected) in [
            ("status --data-dir /tmp/a", " --data-dir /tmp/a"),
            ("status --kubeconfig /tmp/k", " --kubeconfig /tmp/k"),
            ("doctor dns --data-dir /tmp/a", " --data-dir /tmp/a"),
            ("store check --data-dir=a/b", " --data-dir a/b"),
            ("up --sandbox --kubeconfig /tmp/k", ""),
            ("up --sandbox --data-dir /tmp/a --kubeconfig /tmp/k", " --data-dir /tmp/a"),
            ("version", ""),
            ("ls", ""),
        ] {
            let words = std::iter::once("mainstay").chain(line.split(' '));
            let matches = crate::cli::command().try_get_matches_from(words).unwrap();
            assert_eq!(named(&matches), expected, "{line}");
        }
    }

    #[test]
    fn paths_are_words_and_whole() {
        assert_eq!(word(Path::new("/tmp/a-b_c.d")), "/tmp/a-b_c.d");
        assert_eq!(word(Path::new("/tmp/a b")), "'/tmp/a b'");
        assert_eq!(word(Path::new("it's")), r"'it'\''s'");
        assert_eq!(word(Path::new("$HOME")), "'$HOME'");
        assert_eq!(export(Path::new("/tmp/a b/kubeconfig")), "export KUBECONFIG='/tmp/a b/kubeconfig'");
        let here = std::env::current_dir().unwrap();
        assert_eq!(export(Path::new("k")), format!("export KUBECONFIG={}", word(&here.join("k"))));
    }
}
