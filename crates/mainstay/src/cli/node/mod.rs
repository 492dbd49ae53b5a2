//! `mainstay node`: kube-proxy's flags in, this node's Services programmed from somebody else's API until told to stop.

#[cfg(test)]
mod deploy;
mod file;
mod flags;
mod settings;

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};

use super::LogFormat;
use super::ends::Ends;
use crate::exit::Exit;
use crate::host::{NODE_ROLE, take_network};
use crate::run::node_role::{self, take_over};
use crate::run::notify::Notify;

pub(crate) use flags::Flags;

/// What to type when a part has ended by itself.
const AGAIN: &str = "Start it again, and look at what it says: mainstay node -vv";

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<Exit> {
    let flags = file::complete(flags)?;
    log(&flags);
    let settings = settings::of(&flags).map_err(|error| Exit::Usage.of(error))?;
    // Two programs that write one table would undo each other's work.
    let lock = take_network()?;
    if flags.cleanup {
        return clean_up();
    }
    lock.serve(std::path::Path::new(NODE_ROLE))?;
    if let Some(score) = flags.oom_score_adj
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        tracing::warn!(%error, score, "--oom-score-adj could not be set: give the container the right to, or leave it out");
    }
    let mut ends = Ends::early()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(settings, &mut ends));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended.map(|()| Exit::Fine)
}

async fn serve(settings: node_role::Settings, ends: &mut Ends) -> Result<()> {
    let notify = Notify::from_environment();
    let node = settings.node.clone();
    let mut running = tokio::select! {
        started = node_role::start(settings) => started?,
        _ = ends.next() => return Ok(()),
    };
    let (revision, applied) = (running.feed.latest().borrow().revision, running.applied.clone());
    tokio::select! {
        () = applied.reached(revision) => {}
        _ = ends.next() => return Ok(()),
        why = running.ended() => bail!("{why}.\n{AGAIN}"),
    }
    let standing = running.standing.clone();
    eprintln!("node {node}: {}", line(&standing.status()));
    notify.ready("programming Services");
    let beat = || {
        let status = line(&standing.status());
        async move { Ok::<_, String>(status) }
    };
    tokio::select! {
        _ = notify.signs_of_life(beat) => {}
        _ = ends.next() => {}
        why = running.ended() => bail!("{why}.\n{AGAIN}"),
    }
    notify.stopping("stopping; what is programmed stays");
    Ok(())
}

/// The standing in one line.
fn line(status: &serde_json::Value) -> String {
    let number = |path: &str| status.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or(0);
    format!(
        "{} Services with {} endpoints programmed at revision {} of {}",
        number("/snapshot/services"),
        number("/snapshot/endpoints"),
        number("/applied/revision"),
        status["server"].as_str().unwrap_or_default()
    )
}

/// `--cleanup`: gives the node back.
fn clean_up() -> Result<Exit> {
    let cleaned = take_over::clean_up();
    let next = "Run it as root, or with CAP_NET_ADMIN in this network namespace: sudo mainstay node --cleanup";
    if cleaned.with_context(|| format!("cannot remove table inet mainstay.\n{next}"))? {
        println!("removed table inet mainstay; connections that it has translated go on");
    } else {
        println!("there is no table inet mainstay here");
    }
    Ok(Exit::Fine)
}

fn log(flags: &Flags) {
    let level = ["info", "debug", "trace"][usize::from(flags.verbose.min(2))];
    // kube reports every failed request as an error of its own; the role says what it means.
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{level},kube_client=off,tower=off,hyper=off")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
