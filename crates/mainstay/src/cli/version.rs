//! `mainstay version`: what this program is, how it was built, and which formats it reads and writes.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::Output;

/// Flags of `mainstay version`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What a program says about itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    /// Version of Mainstay.
    version: &'static str,
    /// Commit it was built from; none in a build that `cargo xtask dist` did not make.
    commit: Option<&'static str>,
    /// When its source was committed (SOURCE_DATE_EPOCH), not when it happened to be compiled.
    built: Option<String>,
    /// The compiler.
    rustc: &'static str,
    /// What it runs on.
    target: &'static str,
    /// Version of the Kubernetes API it speaks.
    kubernetes: String,
    /// Version of the store's files. A newer file is refused.
    store_format: u64,
    /// Version of the protocol between server and holder.
    holder_protocol: u32,
}

impl Version {
    /// Facts about this program.
    pub(crate) fn of_this_program() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: Some(env!("MAINSTAY_COMMIT")).filter(|commit| !commit.is_empty()),
            built: date(env!("SOURCE_DATE_EPOCH")),
            rustc: env!("MAINSTAY_RUSTC"),
            target: env!("MAINSTAY_TARGET"),
            kubernetes: apiserver::VersionInfo::default().git_version,
            store_format: store::log::redb::FORMAT,
            holder_protocol: pods::holder::message::VERSION,
        }
    }
}

/// Seconds since 1970 as a date in UTC.
fn date(seconds: &str) -> Option<String> {
    let seconds = seconds.parse().ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let version = Version::of_this_program();
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&version)?),
        Output::Text => print!("{}", text(&version)),
    }
    Ok(())
}

fn text(version: &Version) -> String {
    let commit = version.commit.unwrap_or("unknown (not a release)");
    let built = version.built.as_deref().unwrap_or("unknown (not a release)");
    format!(
        "mainstay    {}\ncommit      {commit}\nsource of   {built}\nrustc       {}\ntarget      {}\nkubernetes  {}\n\
         formats     store {}, holder {}\n",
        version.version,
        version.rustc.trim_start_matches("rustc "),
        version.target,
        version.kubernetes,
        version.store_format,
        version.holder_protocol,
    )
}

#[cfg(test)]
mod tests {
    use super::{Version, date, text};

    #[test]
    fn every_fact_is_told_in_both_forms() {
        let version = Version::of_this_program();
        let json = serde_json::to_value(&version).unwrap();
        for key in ["version", "rustc", "target", "kubernetes", "storeFormat", "holderProtocol"] {
            let value = json[key].as_str().map(str::to_owned).unwrap_or_else(|| json[key].to_string());
            assert!(!value.is_empty() && value != "null", "{key} is empty in {json}");
            let shown = value.trim_start_matches("rustc ");
            assert!(text(&version).contains(shown), "{key} {value} is not in {}", text(&version));
        }
        assert!(json.get("commit").is_some() && json.get("built").is_some(), "keys stay, also without a value: {json}");
    }

    #[test]
    fn a_date_is_read_or_absent() {
        assert_eq!(date("0").as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(date("1795278000").as_deref(), Some("2026-11-21T16:20:00Z"));
        assert_eq!(date(""), None);
        assert_eq!(date("yesterday"), None);
        assert_eq!(date("99999999999999999"), None);
    }
}
