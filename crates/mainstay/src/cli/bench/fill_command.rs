//! `mainstay bench fill`: a number of Services in, a data directory or an API server that has them out.
//!
//! One more Service, `target`, has a fixed address and node ports: TCP port 80 leads to port 8080 and UDP port 81 to port
//! 8081 of the given endpoint; a Service `empty` has none. `cargo xtask peers` measures through it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::fill;
use super::objects::{self, Shape};
use crate::cli::client::Client;
use crate::config::DataDir;

/// Connections to an API server that write at the same time.
const WRITERS: usize = 8;
/// Address of the target.
pub(super) const ADDRESS: &str = "10.96.1.1";
/// Address of a Service without endpoints.
const WITHOUT: &str = "10.96.1.2";
/// Its node ports, TCP and UDP.
const NODE_PORTS: (u16, u16) = (30_080, 30_081);
const NAME: &str = "target";

/// Flags of `mainstay bench fill`.
#[derive(Args, Debug)]
pub(super) struct Flags {
    /// How many Services there are beside the target
    #[arg(long, value_name = "N")]
    services: usize,
    /// How many endpoints each has, in each family
    #[arg(long, default_value_t = 4, value_name = "M")]
    endpoints: usize,
    /// Both families
    #[arg(long)]
    dual_stack: bool,
    /// Endpoint of the Service `target`
    #[arg(long, value_name = "ADDRESS")]
    target: Option<IpAddr>,
    /// A data directory that has no store yet
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig", required_unless_present = "kubeconfig")]
    data_dir: Option<PathBuf>,
    /// An API server, ours or any other
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(flags: &Flags) -> Result<()> {
    let shape = Shape { services: flags.services, endpoints: flags.endpoints, dual_stack: flags.dual_stack };
    shape.check()?;
    let target = flags.target.map_or_else(Vec::new, |endpoint| target(&[endpoint.to_string()]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (&flags.data_dir, &flags.kubeconfig) {
        (Some(directory), _) => {
            let store = DataDir::choose(Some(directory.as_path()))?.store();
            if store.exists() {
                bail!("{} holds a store already.\nName an empty directory: --data-dir DIR", directory.display());
            }
            std::fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
            runtime.block_on(fill::fill(&store, shape, target))?;
        }
        (None, Some(kubeconfig)) => runtime.block_on(post(kubeconfig, shape, target))?,
        (None, None) => bail!("where to?\nName a directory or an API server: --data-dir DIR or --kubeconfig PATH"),
    }
    println!("{} Services with {} endpoints each", shape.services, shape.endpoints);
    Ok(())
}

/// The Service that connections are made through, and its slice.
pub(super) fn target(endpoints: &[String]) -> Vec<(&'static str, Value)> {
    let mut service = objects::service(objects::LAST);
    service["metadata"]["name"] = NAME.into();
    let spec = &mut service["spec"];
    spec["clusterIP"] = ADDRESS.into();
    spec["clusterIPs"] = json!([ADDRESS]);
    spec["type"] = "NodePort".into();
    spec["externalTrafficPolicy"] = "Cluster".into();
    spec["ports"] = json!([
        { "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": NODE_PORTS.0 },
        { "name": "probe", "port": 81, "protocol": "UDP", "targetPort": 8081, "nodePort": NODE_PORTS.1 },
    ]);
    let mut empty = objects::service(objects::LAST - 1);
    empty["metadata"]["name"] = "empty".into();
    empty["spec"]["clusterIP"] = WITHOUT.into();
    empty["spec"]["clusterIPs"] = json!([WITHOUT]);
    vec![("services", service), ("endpointslices.discovery.k8s.io", slice(endpoints)), ("services", empty)]
}

/// The slice of the target.
pub(super) fn slice(endpoints: &[String]) -> Value {
    let mut slice = objects::slice(objects::LAST, std::iter::empty());
    slice["metadata"]["name"] = NAME.into();
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = NAME.into();
    let endpoint = |address: &String| json!({ "addresses": [address], "conditions": { "ready": true } });
    slice["endpoints"] = endpoints.iter().map(endpoint).collect::<Vec<_>>().into();
    slice["ports"] = json!([
        { "name": "http", "port": 8080, "protocol": "TCP" }, { "name": "probe", "port": 8081, "protocol": "UDP" },
    ]);
    slice
}

/// Path of the target's slice in the API.
pub(super) fn slice_path() -> String {
    format!("{}/{NAME}", objects::slices_path())
}

async fn post(kubeconfig: &std::path::Path, shape: Shape, target: Vec<(&'static str, Value)>) -> Result<()> {
    let client = Client::from_kubeconfig(kubeconfig)?;
    create(&client, "/api/v1/namespaces", objects::namespace()).await?;
    for (table, object) in target {
        write(&client, table, object).await?;
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (client, next) = (Client::from_kubeconfig(kubeconfig)?, next.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= shape.services {
                    return Ok::<(), anyhow::Error>(());
                }
                for (table, object) in objects::stored(number, shape) {
                    write(&client, table, object).await?;
                }
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(client: &Client, table: &str, object: Value) -> Result<()> {
    match table {
        "services" => create(client, &objects::services_path(), object).await,
        "endpointslices.discovery.k8s.io" => create(client, &objects::slices_path(), object).await,
        // The API makes the IPAddresses of Services itself.
        _ => Ok(()),
    }
}

async fn create(client: &Client, path: &str, mut object: Value) -> Result<()> {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "labels"));
    }
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
    }
    let answer = client.post(path, &object).await?;
    if answer.code == 409 {
        return Ok(());
    }
    answer.ok().map(|_| ()).with_context(|| format!("cannot create {}", object["metadata"]["name"]))
}

#[cfg(test)]
mod tests {
    use api::kind::Target;
    use api::kinds::{self, ENDPOINT_SLICE, SERVICE};

    use super::*;

    #[test]
    fn the_target_is_valid_and_carries_every_default() {
        for ((_, object), kind) in
            target(&["10.240.1.6".to_owned()]).into_iter().zip([&SERVICE, &ENDPOINT_SLICE, &SERVICE])
        {
            let mut defaulted = object.clone();
            kind.rules.default(&mut defaulted);
            assert_eq!(defaulted, object);
            assert!(kind.rules.validate(&object, None, Target::Main).is_empty(), "{object}");
            assert!(kinds::validate_metadata(kind, &object, None).is_empty(), "{object}");
        }
    }
}
