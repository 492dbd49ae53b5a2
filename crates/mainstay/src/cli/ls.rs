//! `mainstay ls`: every instance of this user: where, how much of it runs, and since when.

use anyhow::Result;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use crate::instances::{self, Listed};

/// Flags of `mainstay ls`.
#[derive(Args, Debug)]
#[command(
    after_help = "States: running; pods only (the server is gone, pods go on: start it again with mainstay up); \
    stopped (only data is left: mainstay down --delete-data removes it).\nExample:\n  mainstay ls -o name | while read -r \
    directory; do mainstay status --data-dir \"$directory\"; done"
)]
pub(crate) struct Flags {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// A table.
    #[default]
    Text,
    /// For programs.
    Json,
    /// Directories, one a line.
    Name,
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let all = instances::list();
    match flags.output {
        Output::Name => all.iter().for_each(|one| println!("{}", one.data_dir.display())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&json!({ "instances": all }))?),
        Output::Text if all.is_empty() => println!("no instance of this user. Start one: mainstay up --sandbox"),
        Output::Text => print!("{}", table(&all, Timestamp::now())),
    }
    Ok(())
}

fn table(all: &[Listed], now: Timestamp) -> String {
    let row = |one: &Listed| {
        let pods =
            one.holder.as_ref().map(|holder| holder.pods.map_or_else(|| "?".to_owned(), |pods| pods.to_string()));
        [
            one.data_dir.display().to_string(),
            one.mode.clone().unwrap_or_else(|| "-".to_owned()),
            one.state.text().to_owned(),
            one.server.clone().unwrap_or_else(|| "-".to_owned()),
            pods.unwrap_or_else(|| "-".to_owned()),
            one.since.map_or_else(|| "-".to_owned(), |since| age(since, now)),
        ]
    };
    let head = ["DIRECTORY", "MODE", "STATE", "API", "PODS", "AGE"].map(str::to_owned);
    columns(std::iter::once(head).chain(all.iter().map(row)))
}

/// Rows with each column as wide as its widest cell.
pub(super) fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = [0; N];
    for (width, index) in widths.iter_mut().zip(0..) {
        *width = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The time between two moments, in its two largest units.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::instances::{Holder, State};

    #[test]
    fn a_row_per_instance() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let holder = Holder { pid: 8, program: "0.1.0".into(), protocol: 1, pods: Some(3), containers: Some(3) };
        let one = |directory: &str, state, server: Option<&str>, holder| Listed {
            data_dir: PathBuf::from(directory),
            mode: (state != State::Stopped).then(|| "sandbox".to_owned()),
            state,
            server: server.map(str::to_owned),
            pid: None,
            holder,
            since: (state != State::Stopped).then(|| "2026-11-21T10:59:58Z".parse().unwrap()),
        };
        let all = [
            one("/tmp/a", State::Running, Some("https://127.0.0.1:6443"), Some(holder.clone())),
            one("/tmp/long", State::PodsOnly, None, Some(Holder { pods: None, ..holder })),
            one("/tmp/c", State::Stopped, None, None),
        ];
        assert_eq!(
            table(&all, now),
            "DIRECTORY  MODE     STATE      API                     PODS  AGE\n\
             /tmp/a     sandbox  running    https://127.0.0.1:6443  3     1h0m\n\
             /tmp/long  sandbox  pods only  -                       ?     1h0m\n\
             /tmp/c     -        stopped    -                       -     -\n"
        );
        let json = serde_json::to_value(&all[0]).unwrap();
        assert_eq!((json["state"].as_str(), json["holder"]["pods"].as_u64()), (Some("running"), Some(3)));
        assert_eq!(json["since"], "2026-11-21T10:59:58Z");
    }

    #[test]
    fn ages_have_two_units() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let texts = [-5, 59, 61, 3_660, 90_000].map(|seconds| age(at(0), at(seconds)));
        assert_eq!(texts, ["0s", "59s", "1m1s", "1h1m", "1d1h"]);
    }
}
