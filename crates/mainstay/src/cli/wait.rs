//! `mainstay wait`: objects in, the moment at which all of them are there and work out, or what is missing.

mod state;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::target::{Target, escaped, kind, namespace_is_there, ready};
use super::{InstanceFlags, duration, hint};
use crate::exit::Exit;
use crate::manifest::Manifest;

/// Flags of `mainstay wait`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 fine, 1 error, 2 findings, 3 usage, 4 not reachable, 5 time-out.\n\
    Waits for: Services to be programmed on the node (named ones also for a ready endpoint), workloads for all replicas to be\n\
    available, pods to be ready, jobs to be complete, anything else to exist.\n\
    Examples:\n  mainstay wait svc/web\n  mainstay wait deploy/web shop/svc/front --timeout 2m\n  mainstay wait --all")]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// What to wait for: KIND/NAME or NAMESPACE/KIND/NAME
    #[arg(value_name = "OBJECT", required_unless_present = "all", conflicts_with = "all")]
    objects: Vec<String>,
    /// Every Service, workload and pod there is
    #[arg(long)]
    all: bool,
    /// Namespace of names without one; with --all, only this one
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
}

/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How many missing objects an error names.
const NAMED_MAX: usize = 10;

/// Something that is waited for.
pub(crate) struct Wanted {
    target: Target,
    /// Also wait for a ready endpoint (of a Service that selects pods).
    endpoint: bool,
}

/// Runs the subcommand.
pub(crate) async fn run(flags: &Flags) -> Result<Exit> {
    let client = flags.instance.client()?;
    let wanted = if flags.all {
        if let Some(namespace) = &flags.namespace {
            namespace_is_there(&client, namespace).await?;
        }
        everything(&client, flags.namespace.as_deref().unwrap_or_default()).await?
    } else {
        let namespace = flags.namespace.as_deref().unwrap_or("default");
        let target = |text: &String| {
            let target = Target::parse(text, namespace, &api::kinds::SERVICE)?;
            Ok(Wanted { target, endpoint: true })
        };
        let wanted: Vec<Wanted> = flags.objects.iter().map(target).collect::<Result<_>>()?;
        // `foo/bar` may be meant as a kind that is not served: 30 seconds would not bring it.
        for text in &flags.objects {
            if let Some((first, _)) =
                text.split_once('/').filter(|(first, rest)| kind(first).is_none() && !rest.contains('/'))
            {
                namespace_is_there(&client, first).await?;
            }
        }
        wanted
    };
    let count = wanted.len();
    until(&client, wanted, flags.timeout).await?;
    println!("{}", if count == 1 { "it works".to_owned() } else { format!("all {count} work") });
    Ok(Exit::Fine)
}

/// What manifests ask for.
pub(crate) fn of_manifests(manifests: &[Manifest]) -> Vec<Wanted> {
    let wanted = |manifest: &Manifest| {
        let namespace = manifest.object["metadata"]["namespace"].as_str();
        let namespace = namespace.filter(|_| manifest.kind.namespaced).unwrap_or_default().to_owned();
        let target = Target { kind: manifest.kind.kind, namespace, name: manifest.name().to_owned() };
        Wanted { target, endpoint: false }
    };
    manifests.iter().map(wanted).collect()
}

/// Every object that can work or not. What a workload owns is waited for with it.
async fn everything(client: &Client, namespace: &str) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    for kind in api::kinds::ALL.iter().filter(|kind| state::works(kind.kind)) {
        let list = client.get(&crate::manifest::collection_of(kind, namespace)).await?.ok()?;
        for item in list["items"].as_array().into_iter().flatten() {
            let meta = &item["metadata"];
            let owned = meta["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
            let text = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
            if !owned {
                let target = Target { kind: kind.kind, namespace: text("namespace"), name: text("name") };
                all.push(Wanted { target, endpoint: false });
            }
        }
    }
    Ok(all)
}

/// Waits until everything wanted is there and applied; a time-out is an error that says what is missing.
pub(crate) async fn until(client: &Client, wanted: Vec<Wanted>, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let total = wanted.len();
    let (mut open, mut mark) = (wanted, None);
    loop {
        let mut missing = Vec::new();
        let mut still = Vec::new();
        for one in open {
            if let Some(why) = look(client, &one).await? {
                missing.push(format!("{}: {why}", one.target.text()));
                still.push(one);
            }
        }
        open = still;
        if open.is_empty()
            && let Some(why) = behind(client, &mut mark).await?
        {
            missing.push(why);
        }
        if missing.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= patience {
            return Err(Exit::TimedOut.error(told(&missing, total, patience)));
        }
        tokio::time::sleep(LOOK.min(patience.saturating_sub(began.elapsed()))).await;
    }
}

/// What a time-out says.
fn told(missing: &[String], total: usize, patience: Duration) -> String {
    let mut lines: Vec<String> = missing.iter().take(NAMED_MAX).map(|line| format!("  {line}")).collect();
    if missing.len() > NAMED_MAX {
        lines.push(format!("  and {} more", missing.len() - NAMED_MAX));
    }
    format!(
        "after {} {} of {total} still missing:\n{}\nSee why: mainstay doctor{}; look at the objects: kubectl get all -A",
        duration::text(patience),
        missing.len(),
        lines.join("\n"),
        hint::same()
    )
}

/// What an object lacks; an error if it can never work.
async fn look(client: &Client, wanted: &Wanted) -> Result<Option<String>> {
    let target = &wanted.target;
    let answer = client.get(&target.path()?).await?;
    if answer.code == 404 {
        return Ok(Some("it does not exist".to_owned()));
    }
    let object = answer.ok()?;
    if let Some(why) = state::failed(target.kind, &object) {
        anyhow::bail!(
            "{} has failed: {why}.\nSee: kubectl describe {}/{} -n {}",
            target.text(),
            target.row()?.singular,
            target.name,
            target.namespace
        );
    }
    if let Some(why) = state::missing(target.kind, &object) {
        return Ok(Some(why));
    }
    let selects = object["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if target.kind != "Service" || !selects || object["spec"]["type"] == "ExternalName" {
        return Ok(None);
    }
    no_endpoint(client, wanted).await
}

/// Whether a Service lacks a ready endpoint that it should have.
async fn no_endpoint(client: &Client, wanted: &Wanted) -> Result<Option<String>> {
    let Target { namespace, name, .. } = &wanted.target;
    let label = escaped(&format!("kubernetes.io/service-name={name}"));
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={label}");
    let slices = client.get(&path).await?.ok()?;
    let endpoints = slices["items"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let is_ready = |endpoint: &Value| endpoint["conditions"]["ready"] != false;
    if endpoints.into_iter().any(is_ready) {
        return Ok(None);
    }
    let pods = wanted.target.pods(client).await?;
    let count = pods.iter().filter(|pod| ready(pod)).count();
    Ok(match (count, wanted.endpoint) {
        (0, false) => None,
        (0, true) => Some(format!("none of the {} pods that it selects is ready", pods.len())),
        _ => Some(format!("{count} of its pods are ready, but no endpoint is yet")),
    })
}

/// Whether the node is behind what the store held when everything was there: `mark` keeps that revision.
async fn behind(client: &Client, mark: &mut Option<u64>) -> Result<Option<String>> {
    let status = client.get("/mainstay/status").await?.ok()?;
    let (stored, applied) = (status["revision"].as_u64().unwrap_or(0), status["applied"].as_u64().unwrap_or(0));
    let wanted = *mark.get_or_insert(stored);
    Ok((applied < wanted).then(|| format!("revision {wanted} is not applied yet (at {applied})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_names_some_of_what_is_missing() {
        let missing: Vec<String> = (0..12).map(|number| format!("pod default/p{number}: not ready")).collect();
        let text = told(&missing, 20, Duration::from_secs(30));
        assert!(text.starts_with("after 30s 12 of 20 still missing:\n  pod default/p0: not ready\n"), "{text}");
        assert!(text.contains("\n  and 2 more\nSee why: mainstay doctor"), "{text}");
    }
}
