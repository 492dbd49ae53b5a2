//! Turns a Service into the cells of a server-side Table.

use std::collections::BTreeSet;

use serde_json::Value;

use super::service_type;
use crate::kind::Column;
use crate::kinds::print::{self, AGE, NAME, column, wide};
use crate::kinds::read;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Type", "How the Service is exposed."),
    column("Cluster-IP", "Primary virtual address inside the cluster."),
    column("External-IP", "Addresses by which the Service is reached from outside."),
    column("Port(s)", "Ports of the Service: port[:node port]/protocol."),
    AGE,
    wide("Selector", "Labels of the pods behind the Service."),
    wide("Endpoints", "Ready endpoints, of all that are not ending."),
    wide("Programmed", "Whether every live node has applied the last change of this Service."),
    wide("Problem", "The first thing that keeps traffic away; mainstay explain says more."),
];

/// What only somebody who knows the pods can fill in.
const NOT_KNOWN: &str = "<unknown>";

pub(super) fn cells(service: &Value, now_seconds: i64) -> Vec<Value> {
    let cluster_ip = read::texts(service, "/spec/clusterIPs").first().copied().unwrap_or("<none>").to_owned();
    vec![
        print::name(service),
        service_type(service).into(),
        cluster_ip.into(),
        external_ip(service).into(),
        ports(service).into(),
        print::age(service, now_seconds),
        print::labels(&read::pairs(service, "/spec/selector")).into(),
        NOT_KNOWN.into(),
        programmed(service).into(),
        NOT_KNOWN.into(),
    ]
}

fn external_ip(service: &Value) -> String {
    let external = read::texts(service, "/spec/externalIPs");
    match service_type(service) {
        "ClusterIP" | "NodePort" => print::joined(&external),
        "LoadBalancer" => {
            let ingress: BTreeSet<_> = read::list(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|ingress| [read::text(ingress, "/ip"), read::text(ingress, "/hostname")])
                .filter_map(|names| names.into_iter().find(|name| !name.is_empty()))
                .collect();
            let all: Vec<_> = ingress.into_iter().chain(external).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => read::text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let number = read::int(port, "/port").unwrap_or(0);
        let protocol = read::text(port, "/protocol");
        match read::int(port, "/nodePort").unwrap_or(0) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    let ports: Vec<_> = read::list(service, "/spec/ports").iter().map(port).collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

fn programmed(service: &Value) -> &str {
    let mut conditions = read::list(service, "/status/conditions").iter();
    let condition = conditions.find(|condition| read::text(condition, "/type") == "Programmed");
    condition.map_or("<none>", |condition| read::text(condition, "/status"))
}
