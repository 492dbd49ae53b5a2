//! `mainstay load`: a target address in, a line of JSON out that counts how each of many new connections ended.

mod kept;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Flags of `mainstay load`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// host:port of an echo Service
    target: String,
    /// New connections a second
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Stop after so many seconds, or earlier when standard input ends
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Stop after so many connections
    #[arg(long)]
    count: Option<u64>,
    /// Instead of new connections, keep so many and use each once a second
    #[arg(long, value_name = "CONNECTIONS")]
    kept: Option<u32>,
    /// Reset each connection once it is answered: thousands a second from one address would use up its ports, which rest
    /// for a minute after an ordinary end
    #[arg(long)]
    reset: bool,
    /// Print what happened so far once a second
    #[arg(long)]
    report: bool,
}

/// How the connections ended.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// Connections started.
    pub(crate) started: u64,
    /// Connections answered completely with HTTP 200.
    pub(crate) ok: u64,
    /// Failures by kind: `refused`, `reset`, `timeout`, `short`, ...
    pub(crate) failed: BTreeMap<String, u64>,
    /// Complete answers by the pod that gave them.
    pub(crate) by_pod: BTreeMap<String, u64>,
    /// Complete answers that took longer than [`STALL`]: a lost first packet is sent again after a second.
    pub(crate) stalled: u64,
    /// First failure, in words.
    pub(crate) example: Option<String>,
}

impl Outcome {
    /// Sum of all failures.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// No healthy connection of a few hundred bytes takes this long; the kernel's first retransmission comes later.
const STALL: Duration = Duration::from_millis(900);
/// First line of the output.
pub(crate) const STARTED: &str = "{\"started\":true}";
/// How long one connection may take. Far above a retransmission, far below a demo.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// How often `--report` prints.
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// How often due connections are started: 2,000/s are 10 a tick.
const TICK: Duration = Duration::from_millis(5);
/// Connections in flight at once; beyond it new ones wait, so that a dead target cannot exhaust this process.
const IN_FLIGHT_MAX: usize = 4096;
/// An echo answer is far smaller.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Runs the load and prints its outcome.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(generate(flags))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn generate(flags: &Flags) -> Result<Outcome> {
    let address = tokio::net::lookup_host(&flags.target)
        .await
        .with_context(|| format!("cannot resolve {}", flags.target))?
        .next()
        .with_context(|| format!("{} has no address", flags.target))?;
    // Who started this may wait for the line: from now on connections are made.
    println!("{STARTED}");
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    if flags.report {
        tokio::spawn(report(outcome.clone()));
    }
    if let Some(kept) = flags.kept {
        kept::run(address, kept, flags.seconds, &outcome).await;
        return Ok(copy(&outcome));
    }
    let reset = flags.reset;
    let slots = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT_MAX));
    let started_at = Instant::now();
    let end = started_at + Duration::from_secs(flags.seconds);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut stdin = tokio::io::stdin();
    let mut byte = [0_u8; 1];
    let mut started = 0_u64;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            read = stdin.read(&mut byte), if flags.count.is_none() => {
                if matches!(read, Ok(0) | Err(_)) { break; }
                continue;
            }
        }
        let due = (started_at.elapsed().as_micros() as u64 * u64::from(flags.rate) / 1_000_000)
            .min(flags.count.unwrap_or(u64::MAX));
        while started < due {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            started += 1;
            outcome.lock().unwrap_or_else(|poison| poison.into_inner()).started = started;
            let outcome = outcome.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let result = once(address, reset).await;
                record(&outcome, result, began.elapsed());
                drop(slot);
            });
        }
        if Instant::now() >= end || flags.count.is_some_and(|count| started >= count) {
            break;
        }
    }
    // All slots free again means every connection has been counted.
    let _ = slots.acquire_many(IN_FLIGHT_MAX as u32).await;
    Ok(copy(&outcome))
}

fn copy(outcome: &Mutex<Outcome>) -> Outcome {
    outcome.lock().unwrap_or_else(|poison| poison.into_inner()).clone()
}

/// Prints what happened so far, for a reader who cannot wait for the end.
async fn report(outcome: Arc<Mutex<Outcome>>) {
    loop {
        tokio::time::sleep(REPORT_PERIOD).await;
        if let Ok(line) = serde_json::to_string(&copy(&outcome)) {
            println!("{line}");
        }
    }
}

fn record(outcome: &Mutex<Outcome>, result: Result<String, (&'static str, String)>, took: Duration) {
    let mut outcome = outcome.lock().unwrap_or_else(|poison| poison.into_inner());
    match result {
        Ok(pod) => {
            outcome.ok += 1;
            outcome.stalled += u64::from(took > STALL);
            *outcome.by_pod.entry(pod).or_default() += 1;
        }
        Err((kind, text)) => {
            *outcome.failed.entry(kind.to_owned()).or_default() += 1;
            outcome.example.get_or_insert(text);
        }
    }
}

/// One new connection: request, whole answer, name of the pod that answered.
async fn once(address: SocketAddr, reset: bool) -> Result<String, (&'static str, String)> {
    match timeout(CONNECTION_TIMEOUT, exchange(address, reset)).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) => Err((kind_of(&error), error.to_string())),
        Err(_) => Err(("timeout", format!("no whole answer from {address} in {CONNECTION_TIMEOUT:?}"))),
    }
}

async fn exchange(address: SocketAddr, reset: bool) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    (&mut stream).take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    if reset {
        // Without a word of farewell from here: the answer is whole, or has failed already.
        let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    }
    Ok(answer)
}

fn judge(answer: &str) -> Result<String, (&'static str, String)> {
    let short = || ("short", format!("an incomplete answer of {} bytes", answer.len()));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(short)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(("status", head.lines().next().unwrap_or_default().to_owned()));
    }
    let body: serde_json::Value = serde_json::from_str(body).map_err(|_| short())?;
    body["pod"].as_str().map(str::to_owned).ok_or_else(short)
}

fn kind_of(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refused",
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "reset",
        std::io::ErrorKind::TimedOut => "timeout",
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => "unreachable",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_counts() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"pod\":\"a\"}";
        assert_eq!(judge(whole).unwrap(), "a");
        assert_eq!(judge(&whole[..whole.len() - 2]).unwrap_err().0, "short");
        assert_eq!(judge("").unwrap_err().0, "short");
        assert_eq!(judge("HTTP/1.1 503 Busy\r\n\r\n").unwrap_err().0, "status");
    }
}
