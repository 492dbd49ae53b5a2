//! What is known of this node in, what each role is told of it out.

use std::net::IpAddr;

use anyhow::{Context, Result};
use apiserver::Credentials;
use compile::service_table;
use controller::Feed;
use pods::Config as KubeletConfig;

use super::faults::Faults;
use super::reach::Reach;
use super::{API_PORT, health_check, nft, publish};
use crate::config::{DataDir, Network};

/// This node.
pub(super) struct Node {
    /// Its name.
    pub(super) name: String,
    /// Cluster domain.
    pub(super) domain: String,
    /// Ranges and addresses.
    pub(super) network: Network,
    /// Addresses by which others reach it.
    pub(super) reach: Reach,
    /// It is the host itself, not a sandbox.
    pub(super) on_host: bool,
}

impl Node {
    /// For the controllers.
    pub(super) fn controllers(&self, credentials: &Credentials) -> controller::Config {
        let network = &self.network;
        controller::Config {
            node: self.name.clone(),
            node_addresses: network.node_addresses.clone(),
            host_addresses: self.reach.primary.clone(),
            pod_cidrs: network.pod_cidrs.iter().map(ToString::to_string).collect(),
            api_port: API_PORT,
            kubernetes_address: crate::config::offset(network.service_cidrs[0].network, 1),
            dns_addresses: network.dns_addresses.clone(),
            pools: network.pools.clone(),
            ca_pem: credentials.ca_pem().to_owned(),
            version: format!("v{}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// For the dataplane. Only a host has a way out for its pods.
    pub(super) fn table(&self) -> service_table::Config {
        let network = &self.network;
        service_table::Config {
            node: self.name.as_str().into(),
            pod_cidrs: network.pod_cidrs.clone(),
            service_cidrs: network.service_cidrs.clone(),
            egress: self.on_host,
            node_port_addresses: self.reach.node_ports.borrow().clone(),
            dns_addresses: network.dns_addresses.clone(),
            pools: network.pools.clone(),
            ..Default::default()
        }
    }

    /// For the kubelet.
    pub(super) fn kubelet(&self, faults: &Faults, node_runtime: tokio::runtime::Handle) -> Result<KubeletConfig> {
        let range = |cidr: &compile::allocate::Cidr| {
            let text = cidr.to_string();
            pods::addresses::Range::parse(&text).with_context(|| format!("--pod-cidr {text} is not a range"))
        };
        let names = pods::name_files::Names {
            dns: self.network.dns_addresses.clone(),
            domain: self.domain.clone(),
            host_resolv: crate::host::neighbours::resolv_conf_for_pods(),
        };
        Ok(KubeletConfig {
            node_name: self.name.clone(),
            node_addresses: self.network.node_addresses.clone(),
            host_addresses: self.reach.primary.clone(),
            pod_ranges: self.network.pod_cidrs.iter().map(range).collect::<Result<_>>()?,
            names,
            drain: faults.drain(),
            node_runtime,
        })
    }

    /// For health check node ports.
    pub(super) fn health(&self, feed: &Feed, report: &nft::Report) -> health_check::Source {
        health_check::Source {
            node: self.name.clone(),
            addresses: self.reach.node_ports.clone(),
            latest: feed.latest(),
            report: report.clone(),
        }
    }

    /// For the relay. On a host, load-balancer addresses can be reached as they are, and a node port has one number
    /// everywhere.
    pub(super) fn publish(&self, addresses: Vec<IpAddr>, data_dir: &DataDir) -> publish::Config {
        publish::Config {
            addresses,
            node_ports: self.reach.node_ports.clone(),
            pools: if self.on_host { Default::default() } else { self.network.pools.clone() },
            renumber: !self.on_host,
            file: data_dir.path().join("published.json"),
        }
    }

    /// Commands in the node's network (`mainstay exec`) resolve names as pods do.
    pub(super) fn write_resolver(&self, data_dir: &DataDir) -> Result<()> {
        let domain = &self.domain;
        let server = |address: &IpAddr| format!("nameserver {address}\n");
        let mut text: String = self.network.dns_addresses.iter().map(server).collect();
        text.push_str(&format!("search default.svc.{domain} svc.{domain} {domain}\noptions ndots:5\n"));
        let path = data_dir.path().join("node/resolv.conf");
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
