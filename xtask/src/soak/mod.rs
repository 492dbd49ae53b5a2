//! `cargo xtask soak`: a program and a time in, what grew while objects changed at a steady rate out.
//!
//! A sandbox changes objects for a while (Services, slices, rolling restarts, scaling, watches), then everything is taken
//! back and what is left is counted. Rest after rest must look the same.

mod churn;
mod http;
mod sample;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use churn::Churn;
use http::Client;
use sample::Sample;

/// Descriptors that kept connections may have at one rest and not at another.
const SPARE_FDS: u64 = 12;
/// Growth of memory between the second and the last third of all rests that is no leak.
const SPARE_KIB: u64 = 1024;
/// Longest wait for rest after the changes are taken back.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what is there: more than the server's own pauses before it closes and takes down, of which the
/// longest is the 10 s for which tokio keeps a thread after a blocking call.
const LOOKS_APART: Duration = Duration::from_secs(11);

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    minutes: u64,
    rate: u64,
    cycle: Duration,
    binary: PathBuf,
    json: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let binary = PathBuf::from("target/release/mainstay");
        let mut options = Self { minutes: 120, rate: 50, cycle: Duration::from_secs(300), binary, json: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
            let number = || value.parse::<u64>().ok().filter(|number| *number > 0);
            let number = || number().with_context(|| format!("{argument} takes a number above 0, not {value:?}"));
            match argument.as_str() {
                "--minutes" => options.minutes = number()?,
                "--rate" => options.rate = number()?,
                "--cycle-seconds" => options.cycle = Duration::from_secs(number()?),
                "--binary" => options.binary = value.into(),
                "--json" => options.json = Some(value.into()),
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        Ok(options)
    }
}

/// Runs to the end of the time; an error if something leaked.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = options.binary.canonicalize().with_context(|| {
        format!("there is no {}.\nType: cargo build --release --bin mainstay", options.binary.display())
    })?;
    let mut instance = Instance::start(&binary)?;
    let mut client = Client::connect(&instance.proxy_address)?;
    Churn::rest(&mut client)?;
    let mut churn = Churn::default();
    let (began, end) = (Instant::now(), Duration::from_secs(options.minutes * 60));
    let (mut changes, mut samples) = (0, Vec::new());
    println!("{}", Sample::header());
    while began.elapsed() < end {
        let cycle = Instant::now();
        let mut due = 0;
        while cycle.elapsed() < options.cycle.min(end) {
            churn.next(&mut client).with_context(|| format!("change {changes} failed"))?;
            (changes, due) = (changes + 1, due + 1);
            let next = Duration::from_micros(due * 1_000_000 / options.rate);
            // Pacing, not waiting for something: a rate is what is asked for.
            std::thread::sleep(next.saturating_sub(cycle.elapsed()));
        }
        churn.settle(&mut client)?;
        let counted = instance.at_rest(&mut client)?;
        let sample = Sample { seconds: began.elapsed().as_secs(), changes, ..counted };
        println!("{}", sample.row());
        samples.push(sample);
    }
    let leaks = leaks(&samples);
    let made: Vec<String> = churn.made.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    println!("changes: {}", made.join(", "));
    if let Some(path) = &options.json {
        let rows: Vec<_> = samples.iter().map(Sample::json).collect();
        let text = json!({"rate": options.rate, "minutes": options.minutes, "rests": rows, "leaks": leaks}).to_string();
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if leaks.is_empty() {
        println!("nothing leaked in {changes} changes");
        return Ok(());
    }
    bail!("after {changes} changes: {}", leaks.join("; "))
}

/// What is more at the last rest than at the first, and memory that went on growing.
fn leaks(samples: &[Sample]) -> Vec<String> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return vec!["no rest was seen".into()] };
    let mut leaks = Vec::new();
    for ((name, before), (_, after)) in first.counts.iter().zip(&last.counts) {
        let spare = if name.ends_with("_fds") { SPARE_FDS } else { 0 };
        if *after > before + spare {
            leaks.push(format!("{name} grew from {before} to {after}"));
        }
    }
    let third = samples.len() / 3;
    if third > 0 {
        let middle = |part: &[Sample]| {
            let mut kib: Vec<u64> = part.iter().map(|sample| sample.pss_kib).collect();
            kib.sort_unstable();
            kib[kib.len() / 2]
        };
        let (before, after) = (middle(&samples[third..2 * third]), middle(&samples[samples.len() - third..]));
        if after > before + SPARE_KIB {
            leaks.push(format!("memory grew from {before} KiB to {after} KiB"));
        }
    }
    leaks
}

/// A sandbox and a `kubectl proxy` to it; both are gone when dropped.
struct Instance {
    binary: PathBuf,
    directory: PathBuf,
    server: Child,
    proxy: Child,
    proxy_address: String,
}

impl Instance {
    fn start(binary: &Path) -> Result<Self> {
        let directory = PathBuf::from(format!("/tmp/mainstay-soak-{}", std::process::id()));
        std::fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let log = directory.join("server.log");
        let mut server = Command::new(binary)
            .args(["up", "--sandbox", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let began = Instant::now();
        while !std::fs::read_to_string(&log)?.contains("ready in ") {
            if server.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                bail!("the instance did not start:\n{}", std::fs::read_to_string(&log)?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut proxy = Command::new("kubectl")
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(directory.join("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start kubectl proxy")?;
        let mut line = String::new();
        BufReader::new(proxy.stdout.take().context("kubectl proxy has no output")?).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().context("kubectl proxy said nothing")?.to_owned();
        Ok(Self { binary: binary.to_owned(), directory, server, proxy, proxy_address: address })
    }

    /// What is there once pods have settled and two looks agree: terminated pods are taken down, and idle connections closed,
    /// a little after the API forgot them.
    fn at_rest(&mut self, client: &mut Client) -> Result<Sample> {
        let began = Instant::now();
        let mut before: Option<Sample> = None;
        loop {
            if Churn::settled(client)? {
                let sample = Sample::take(&self.binary, &self.directory, self.server.id())?;
                if before.is_some_and(|before| before.counts == sample.counts) {
                    return Ok(sample);
                }
                before = Some(sample);
            }
            if began.elapsed() > PATIENCE {
                bail!("no rest after {PATIENCE:?}: look with mainstay status --data-dir {}", self.directory.display());
            }
            std::thread::sleep(LOOKS_APART);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ended = self.proxy.kill().and_then(|()| self.proxy.wait());
        let down = Command::new(&self.binary).args(["down", "--data-dir"]).arg(&self.directory).output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("xtask: the instance in {} is left: type mainstay down", self.directory.display());
            return;
        }
        let _ended = self.server.wait();
        let _removed = std::fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pss_kib: u64, fds: u64, mounts: u64) -> Sample {
        Sample { pss_kib, counts: vec![("server_fds", fds), ("mounts", mounts)], ..Sample::default() }
    }

    #[test]
    fn what_grows_is_a_leak_and_what_settles_is_none() {
        let flat: Vec<Sample> = (0..9).map(|at| sample(20_000 + if at < 3 { 0 } else { 4_000 }, 40, 7)).collect();
        assert_eq!(leaks(&flat), Vec::<String>::new());
        let grows: Vec<Sample> = (0..9).map(|at| sample(20_000 + at * 1_000, 40 + at * 5, 7 + at / 8)).collect();
        let found = leaks(&grows);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[2].starts_with("memory grew from"), "{found:?}");
    }
}
