//! `mainstay man [DIR]`: the command line as data in, manual pages out: one page for each subcommand.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory};

use super::Cli;

/// Flags of `mainstay man`.
#[derive(Args, Debug)]
#[command(after_help = "Read it at once: mainstay man | man -l -")]
pub(crate) struct Flags {
    /// Write every page into this directory instead of printing the first
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// A page: the name of its file and its text in roff.
type Page = (String, Vec<u8>);

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let pages = pages()?;
    match &flags.directory {
        Some(directory) => write(directory, &pages)?,
        None => print!("{}", first(&pages, std::io::stdout().is_terminal())),
    }
    Ok(())
}

/// The first page as roff for a program; a person is told how to read it.
fn first(pages: &[Page], terminal: bool) -> String {
    if terminal {
        return "A manual page is made for man, not for a terminal.\nRead it: mainstay man | man -l -\nWrite all pages to a \
                directory: mainstay man DIR\n"
            .to_owned();
    }
    pages.first().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

fn write(directory: &Path, pages: &[Page]) -> Result<()> {
    let next = || format!("cannot write manual pages to {}.\nGive a directory: mainstay man DIR", directory.display());
    std::fs::create_dir_all(directory).with_context(next)?;
    for (name, text) in pages {
        std::fs::write(directory.join(name), text).with_context(next)?;
    }
    println!("{} pages in {}", pages.len(), directory.display());
    Ok(())
}

/// `mainstay.1`, then a page for every subcommand that is not hidden, `mainstay-up.1` and so on.
fn pages() -> Result<Vec<Page>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, &mut pages)?;
    Ok(pages)
}

/// A built command knows its page's name, the words joined by dashes: `man mainstay-up` looks for that.
fn collect(command: &Command, pages: &mut Vec<Page>) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let version = concat!("Mainstay ", env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone()).source(version).manual("Mainstay").date(date());
    page.render(&mut text).context("cannot write a manual page in memory")?;
    pages.push((format!("{name}.1"), text));
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).try_for_each(|sub| collect(sub, pages))
}

/// The day of the source, so that two builds write the same pages.
fn date() -> String {
    let seconds = env!("SOURCE_DATE_EPOCH").parse().ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{first, pages};

    #[test]
    fn a_person_is_told_how_to_read_a_page() {
        let pages = pages().unwrap();
        assert!(first(&pages, false).contains(".TH mainstay"));
        assert!(first(&pages, true).contains("mainstay man | man -l -") && !first(&pages, true).contains(".TH"));
    }

    #[test]
    fn every_visible_subcommand_has_a_page_with_its_flags() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(file, _)| file == name);
            String::from_utf8_lossy(&found.unwrap_or_else(|| panic!("no page {name}")).1).into_owned()
        };
        assert!(page("mainstay.1").contains("mainstay\\-up(1)"), "{}", page("mainstay.1"));
        assert!(page("mainstay-up.1").contains("\\-\\-service\\-cidr"));
        assert!(page("mainstay-completions.1").contains("fish"));
        assert!(
            !pages.iter().any(|(name, _)| name.contains("load") || name.contains("help")),
            "hidden ones stay hidden"
        );
    }
}
