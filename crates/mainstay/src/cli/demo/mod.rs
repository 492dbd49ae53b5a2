//! `mainstay demo`: plays a Service's life on a throw-away sandbox; exit 0 only if every step was seen to work.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

mod articles;
mod cluster;
mod flows;
mod proof;
mod report;
mod steps;
mod traps;
mod updates;

use super::ends::Ends;
use super::hint;
use crate::exit::Exit;
use cluster::Cluster;
pub(crate) use proof::Kernel;
use report::{Report, Said, Unseen};

/// Flags of `mainstay demo`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// Leave the sandbox running and print kubectl lines to try
    #[arg(long)]
    keep: bool,
    /// Which dataplane the sandbox gets; with `memory` no packet is translated and the demo must fail
    #[arg(long, default_value = "nft", hide = true)]
    dataplane: String,
}

/// What the steps share: the cluster, and numbers that later steps compare with.
struct Stage {
    cluster: Cluster,
    before: proof::Counters,
}

/// Plays the demo: fine if every step was seen to work. A signal ends it, and its sandbox with it.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    let mut ends = Ends::with_terminal()?;
    let directory = crate::cli::throw_away::directory("demo")?;
    let signal = tokio::select! {
        all_seen = whole(flags, &directory) => {
            return Ok(if all_seen? { Exit::Fine } else { Exit::Error }.into());
        }
        signal = ends.next() => signal,
    };
    interrupted(&directory, flags.keep).await?;
    Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)))
}

/// Clears away what an interrupted demo had made; its server has ended with the steps.
async fn interrupted(directory: &Path, keep: bool) -> Result<()> {
    if keep {
        kept(directory);
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    cluster::down(program, directory.to_owned()).await?;
    remove(directory)?;
    eprintln!("mainstay: interrupted; the sandbox is gone");
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    crate::instances::forget();
    Ok(())
}

/// All of it. True if every step was seen to work.
async fn whole(flags: &Flags, directory: &Path) -> Result<bool> {
    let mut report = Report::new();
    report.heading("A throw-away sandbox");
    let began = Instant::now();
    let extra = ["--dataplane".to_owned(), flags.dataplane.clone()];
    let cluster = match Cluster::start(directory, &extra, flags.keep).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let look = directory.join("server.log").display().to_string();
            report.step("mainstay up --sandbox", began, Err(Unseen::new("a ready API", format!("{error:#}"), look)));
            return Ok(report.finish());
        }
    };
    let line = format!("API, DNS and kernel rules are ready; data in {}", directory.display());
    report.step("mainstay up --sandbox", began, Ok(line.into()));

    let before = proof::Counters::default();
    let mut stage = Stage { cluster, before };
    play(&mut stage, &mut report).await;
    end(stage, &mut report, flags.keep).await?;
    Ok(report.finish())
}

/// Steps in order. A step that fails does not stop the ones after it: each says what it saw.
async fn play(stage: &mut Stage, report: &mut Report) {
    macro_rules! step {
        ($name:literal, $step:expr) => {{
            let began = Instant::now();
            let result: Result<Said, Unseen> = $step.await;
            report.step($name, began, result);
        }};
    }
    report.heading("Names: ham and eggs in the namespaces perf and qa");
    step!("objects and pods", steps::breakfast(stage));
    step!("short name", steps::short_names(stage));
    step!("name across namespaces", steps::full_name(stage));
    report.heading("Types: one set of pods behind a Service of every kind");
    step!("objects and pods", steps::types(stage));
    step!("counters before", proof::remember(stage));
    step!("ClusterIP", steps::cluster_ip(stage));
    step!("NodePort", steps::node_port(stage));
    step!("headless", steps::headless(stage));
    step!("ExternalName", steps::external_name(stage));
    step!("spread over 3 pods", steps::spread(stage));
    report.heading("The articles' manifests, as printed");
    step!("objects and pods", articles::printed(stage));
    step!("named ports", articles::named_port(stage));
    step!("LoadBalancer", articles::load_balancer(stage));
    step!("sessionAffinity: ClientIP", articles::affinity(stage));
    step!("externalTrafficPolicy: Local", articles::client_address(stage));
    step!("registration", flows::registration(stage));
    step!("discovery", flows::discovery(stage));
    step!("DNS restarted", flows::dns_restart(stage));
    step!("traps", traps::all(stage));
    report.heading("Change, under 2,000 new connections a second");
    step!("scale 3 -> 5 -> 1 -> 0 -> 3", updates::scale(stage));
    step!("rolling update", updates::rolling_update(stage, true));
    step!("same with --drain=off", updates::rolling_update(stage, false));
    step!("a pod killed outright", updates::killed(stage));
    report.heading("Proof from outside: what the kernel says");
    step!("nft counters", proof::counters(stage));
    step!("conntrack", proof::conntrack(stage));
}

async fn end(stage: Stage, report: &mut Report, keep: bool) -> Result<()> {
    let directory = stage.cluster.directory().to_owned();
    let began = Instant::now();
    let result = stage.cluster.stop().await;
    if keep {
        kept(&directory);
        return Ok(());
    }
    let gone = "pods, namespaces and rules are gone".to_owned();
    let look = directory.join("server.log").display().to_string();
    let result = result.map(|()| gone.into()).map_err(|error| Unseen::new("nothing left", format!("{error:#}"), look));
    if report.step("mainstay down", began, result) {
        remove(&directory)?;
    }
    Ok(())
}

/// What to try on a sandbox that keeps running.
fn kept(directory: &Path) {
    println!("\nThe sandbox keeps running. Try:");
    println!("  {}", hint::export(&directory.join("kubeconfig")));
    for line in ["get svc,pods -A -o wide", "describe svc my-clusterip-service", "scale deployment my-app --replicas=5"]
    {
        println!("  kubectl {line}");
    }
    println!("  kubectl exec client -- curl -s http://my-clusterip-service");
    println!("  mainstay down --data-dir {}", hint::word(directory));
}
