//! Turns "this node lives and has applied revision n" into its Node object and its Lease in `kube-node-lease`.

use std::sync::Arc;

use api::kinds::{LEASE, NODE};
use api::object::ObjectKey;
use api::status::Status;
use contract::access::Access;
use contract::applied::Applied;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Config;
use crate::events::stamp;
use crate::limits;

/// Annotation of the Lease: the revision that the node has applied. Inside one process [`Applied`] says it sooner.
pub const APPLIED_REVISION: &str = "mainstay.dev/applied-revision";

/// Registers the node, then renews for ever.
pub(crate) async fn run(access: Arc<dyn Access>, applied: Applied, config: Arc<Config>) {
    let mut round = 0_u64;
    let mut pause = limits::RETRY_FIRST;
    let mut addresses = config.host_addresses.clone();
    loop {
        let full = round.is_multiple_of(limits::RENEWALS_PER_STATUS);
        match beat(&access, &applied, &config, full).await {
            Ok(()) => {
                round += 1;
                pause = limits::RETRY_FIRST;
                tokio::select! {
                    () = tokio::time::sleep(limits::LEASE_RENEW) => {}
                    // Nobody is left who could change them: wait for the time alone.
                    Ok(()) = addresses.changed() => round = 0,
                }
            }
            Err(status) => {
                tracing::debug!(%status, node = %config.node, "the node is not registered yet: trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::LEASE_RENEW);
            }
        }
    }
}

async fn beat(access: &Arc<dyn Access>, applied: &Applied, config: &Config, full: bool) -> Result<(), Status> {
    let now = Timestamp::now();
    if full {
        register(access, config, &stamp(now)).await?;
    }
    let key = ObjectKey::new("kube-node-lease", config.node.as_str());
    let existing = match access.get(&LEASE, &key).await {
        Ok(object) => Some(parse(&object.json)?),
        Err(status) if status.code == 404 => None,
        Err(status) => return Err(status),
    };
    let known = existing.is_some();
    let mut lease = existing.unwrap_or_else(|| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": config.node, "namespace": "kube-node-lease" },
        })
    });
    lease["metadata"]["annotations"][APPLIED_REVISION] = json!(applied.node().to_string());
    lease["spec"]["holderIdentity"] = json!(config.node);
    lease["spec"]["leaseDurationSeconds"] = json!(limits::LEASE_SECONDS);
    lease["spec"]["renewTime"] = json!(now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    if known {
        access.update(&LEASE, lease).await?
    } else {
        access.create(&LEASE, lease).await?
    };
    Ok(())
}

async fn register(access: &Arc<dyn Access>, config: &Config, now: &str) -> Result<(), Status> {
    let key = ObjectKey::new("", config.node.as_str());
    let stored = match access.get(&NODE, &key).await {
        Err(status) if status.code == 404 => access.create(&NODE, node(config)).await?,
        other => other?,
    };
    let mut object = parse(&stored.json)?;
    let ready = object["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    let since = ready.filter(|one| one["status"] == "True").and_then(|one| one["lastTransitionTime"].as_str());
    let status = status(config, now, since.unwrap_or(now));
    object["status"] = status;
    access.update_status(&NODE, object).await.map(|_| ())
}

fn node(config: &Config) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": config.node,
            "labels": {
                "kubernetes.io/hostname": config.node, "kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture(), "node-role.kubernetes.io/control-plane": "",
            },
        },
        "spec": { "podCIDR": config.pod_cidrs.first(), "podCIDRs": config.pod_cidrs },
    })
}

fn status(config: &Config, now: &str, since: &str) -> Value {
    let mut addresses: Vec<Value> = config
        .host_addresses
        .borrow()
        .iter()
        .map(|address| json!({ "type": "InternalIP", "address": address.to_string() }))
        .collect();
    addresses.push(json!({ "type": "Hostname", "address": config.node }));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let resources = json!({ "cpu": cores.to_string(), "memory": memory(), "pods": "1000" });
    json!({
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "mainstay is posting ready status",
            "lastHeartbeatTime": now, "lastTransitionTime": since,
        }],
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux", "kubeletVersion": config.version,
            "kubeProxyVersion": config.version, "containerRuntimeVersion": "mainstay://process",
            "kernelVersion": text_file("/proc/sys/kernel/osrelease"), "bootID": text_file("/proc/sys/kernel/random/boot_id"),
            "machineID": text_file("/etc/machine-id"), "systemUUID": "", "osImage": os_image(),
        },
    })
}

fn parse(json: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(json).map_err(|error| Status::internal(format!("an object as stored is not JSON: {error}")))
}

/// The name that Go and Kubernetes give an architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text_file(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn os_image() -> String {
    let release = text_file("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn memory() -> String {
    let info = text_file("/proc/meminfo");
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.split_whitespace().next()).unwrap_or("0");
    format!("{kibibytes}Ki")
}
