//! `cargo xtask bench`: a release build in, a table of figures and of their ratios to limits of the same run out.

mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Sizes of the issue: Services, each with four endpoints.
const SIZES: [usize; 4] = [10, 1_000, 10_000, 50_000];
const ENDPOINTS: usize = 4;
/// How long the instance rests before its memory is read.
const IDLE_SECONDS: u64 = 60;

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    markdown: bool,
    binary: Option<PathBuf>,
    idle_seconds: u64,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { markdown: false, binary: None, idle_seconds: IDLE_SECONDS };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--markdown" => options.markdown = true,
                "--binary" => options.binary = Some(value()?.into()),
                "--idle-seconds" => options.idle_seconds = value()?.parse().context("--idle-seconds takes a number")?,
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        Ok(options)
    }
}

/// Measures everything and prints it. Nothing is written.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => build()?,
    };
    let floors = json(&binary, &["bench", "floors", "--json"])?;
    let mut programming = Vec::new();
    for services in SIZES {
        eprintln!("xtask: programming {services} x {ENDPOINTS}");
        let (services, endpoints) = (services.to_string(), ENDPOINTS.to_string());
        let arguments = ["bench", "programming", "--services", &services, "--endpoints", &endpoints, "--json"];
        programming.push(json(&binary, &arguments)?);
    }
    let mut connect = Vec::new();
    for services in SIZES {
        eprintln!("xtask: connect with {services} Services");
        connect.push(json(&binary, &["bench", "connect", "--services", &services.to_string(), "--json"])?);
    }
    eprintln!("xtask: start, first request, memory after {} s", options.idle_seconds);
    let footprint =
        json(&binary, &["bench", "footprint", "--idle-seconds", &options.idle_seconds.to_string(), "--json"])?;
    let report = report::Report { floors, programming, connect, footprint };
    print!("{}", if options.markdown { report.markdown()? } else { report.text()? });
    Ok(())
}

/// Builds the release and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--bin", "mainstay"])
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the release build failed: {status}");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/mainstay"))
}

/// Runs the program; its standard output is one JSON object.
fn json(binary: &Path, arguments: &[&str]) -> Result<Value> {
    let output = Command::new(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    if !output.status.success() {
        bail!("mainstay {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("mainstay {} printed {:?}", arguments.join(" "), String::from_utf8_lossy(&output.stdout))
    })
}
