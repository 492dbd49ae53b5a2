//! A Service in, the ports it should have on the host out. Pure.

use std::net::{IpAddr, SocketAddr};

use api::object::ObjectKey;
use compile::load_balancer::Pools;
use compile::snapshot::{Protocol, Service, ServicePort, Snapshot};

/// Where the port of a Service comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `spec.ports[].port` on a load-balancer address.
    LoadBalancer,
    /// `spec.ports[].port` on the cluster address, because somebody asked for it.
    ClusterIp,
}

impl Source {
    /// As Kubernetes spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ClusterIp => "ClusterIP",
        }
    }
}

/// What tells one published port of a Service from the others. Its order is that in which ports are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    /// Where it comes from.
    pub(crate) source: Source,
    /// Whether it is UDP; TCP otherwise.
    pub(crate) udp: bool,
    /// The number it has in the cluster.
    pub(crate) port: u16,
}

impl Id {
    /// `TCP` or `UDP`.
    pub(crate) fn protocol(&self) -> &'static str {
        if self.udp { "UDP" } else { "TCP" }
    }
}

/// A port that should be open on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which one.
    pub(crate) id: Id,
    /// Name of the Service's port, empty if unnamed.
    pub(crate) name: Box<str>,
    /// Application protocol.
    pub(crate) app_protocol: Option<Box<str>>,
    /// Where its clients are led, as seen from the node: at most one address per family.
    pub(crate) targets: Vec<SocketAddr>,
}

/// What of the cluster is published.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Addresses of the node at which node ports answer.
    pub(super) node_addresses: Vec<IpAddr>,
    /// Load-balancer addresses; only these are led to. None: those ports are not published.
    pub(super) pools: Pools,
}

/// Ports of a Service that should be open; empty if there is no such Service. `asked` are ports of its cluster address.
pub(super) fn wanted(snapshot: &Snapshot, key: &ObjectKey, scope: &Scope, asked: &[Id]) -> Vec<Wanted> {
    let Some(service) = snapshot.services.get(key).filter(|service| !service.other_proxy) else { return Vec::new() };
    let mut out: Vec<Wanted> = Vec::new();
    for port in &service.ports {
        let Some(udp) = udp(port) else { continue };
        let nodes = addresses(service, &scope.node_addresses);
        let pooled = service.load_balancer_ips.iter().copied().filter(|address| pooled(&scope.pools, *address));
        let balanced = one_per_family(pooled);
        let cluster = one_per_family(service.cluster_ips.iter().copied());
        let cluster_id = Id { source: Source::ClusterIp, udp, port: port.port };
        let asked = asked.contains(&cluster_id);
        for (source, number, targets, holds) in [
            (Source::NodePort, port.node_port, nodes, port.node_port != 0),
            (Source::LoadBalancer, port.port, balanced, true),
            (Source::ClusterIp, port.port, cluster, asked),
        ] {
            if !holds || targets.is_empty() {
                continue;
            }
            let targets = targets.into_iter().map(|address| SocketAddr::new(address, number)).collect();
            let (name, app_protocol) = (port.name.clone(), port.app_protocol.clone());
            out.push(Wanted { id: Id { source, udp, port: number }, name, app_protocol, targets });
        }
    }
    out.sort_by_key(|wanted| wanted.id);
    // The API refuses two ports with one number and protocol; a Service that has them all the same is no reason to fail.
    out.dedup_by_key(|wanted| wanted.id);
    out
}

/// Whether a port is UDP; none if it cannot be relayed.
fn udp(port: &ServicePort) -> Option<bool> {
    match port.protocol {
        Protocol::Tcp => Some(false),
        Protocol::Udp => Some(true),
        Protocol::Sctp => None,
    }
}

fn pooled(pools: &Pools, address: IpAddr) -> bool {
    pools.list.iter().flat_map(|pool| &pool.ranges).any(|range| range.contains(address))
}

/// Addresses of the node in the families that the Service has.
fn addresses(service: &Service, nodes: &[IpAddr]) -> Vec<IpAddr> {
    let has = |address: &IpAddr| service.families.contains(&compile::service_table::family_of(*address));
    one_per_family(nodes.iter().copied().filter(has))
}

fn one_per_family(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut out: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !out.iter().any(|seen| seen.is_ipv4() == address.is_ipv4()) {
            out.push(address);
        }
    }
    out
}

/// Where a client that came over this family is led: there over the same family if possible.
pub(super) fn target(targets: &[SocketAddr], ipv4: bool) -> Option<SocketAddr> {
    targets.iter().find(|target| target.is_ipv4() == ipv4).or(targets.first()).copied()
}

#[cfg(test)]
mod tests {
    use api::object::Revision;
    use compile::snapshot::Builder;
    use serde_json::{Value, json};

    use super::*;

    fn scope() -> Scope {
        let node_addresses = ["10.244.0.1", "fd00:10:244::1"].map(|text| text.parse().unwrap()).to_vec();
        Scope { node_addresses, pools: Pools::parse(&["10.99.0.0/24"]).unwrap() }
    }

    fn of(spec: &Value, status: &Value, asked: &[Id]) -> Vec<String> {
        let mut builder = Builder::default();
        let key = ObjectKey::new("ns", "web");
        let object = json!({ "metadata": {}, "spec": spec, "status": status }).to_string();
        builder.put("services", &key, Revision(1), object.as_bytes()).unwrap();
        let snapshot = builder.publish(Revision(1)).0;
        let line = |wanted: Wanted| {
            let targets: Vec<_> = wanted.targets.iter().map(ToString::to_string).collect();
            format!("{} {} {} -> {}", wanted.id.source.name(), wanted.id.protocol(), wanted.id.port, targets.join(" "))
        };
        wanted(&snapshot, &key, &scope(), asked).into_iter().map(line).collect()
    }

    #[test]
    fn node_ports_and_pooled_addresses_are_published_and_nothing_else() {
        let ports = json!([{ "name": "http", "port": 80, "nodePort": 30007 },
            { "name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP" },
            { "name": "sctp", "port": 9, "nodePort": 30009, "protocol": "SCTP" }]);
        let one = json!({ "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"], "ports": ports });
        let node_ports = ["NodePort TCP 30007 -> 10.244.0.1:30007", "NodePort UDP 30053 -> 10.244.0.1:30053"];
        assert_eq!(of(&one, &json!({}), &[]), node_ports);

        let mut both = one.clone();
        both["type"] = "LoadBalancer".into();
        both["ipFamilies"] = json!(["IPv6", "IPv4"]);
        let ingress = |address: &str| json!({ "loadBalancer": { "ingress": [{ "ip": address }] } });
        let seen = of(&both, &ingress("10.99.0.3"), &[]);
        assert_eq!(seen[0], "NodePort TCP 30007 -> 10.244.0.1:30007 [fd00:10:244::1]:30007");
        assert_eq!(seen[2..], ["LoadBalancer TCP 80 -> 10.99.0.3:80", "LoadBalancer UDP 53 -> 10.99.0.3:53"]);
        assert_eq!(of(&both, &ingress("8.8.8.8"), &[]).len(), 2, "an address that is not ours is not led to");

        let mut plain = one;
        plain["type"] = "ClusterIP".into();
        plain["ports"] = json!([{ "port": 80 }]);
        assert!(of(&plain, &json!({}), &[]).is_empty());
        let asked = Id { source: Source::ClusterIp, udp: false, port: 80 };
        assert_eq!(of(&plain, &json!({}), &[asked]), ["ClusterIP TCP 80 -> 10.96.0.7:80"]);
        plain["clusterIP"] = "None".into();
        assert!(of(&plain, &json!({}), &[asked]).is_empty(), "a headless Service has no address to lead to");
    }

    #[test]
    fn clients_keep_their_family_where_there_is_one() {
        let targets: Vec<SocketAddr> = vec!["10.0.0.1:1".parse().unwrap(), "[fd00::1]:1".parse().unwrap()];
        assert_eq!(target(&targets, false), Some(targets[1]));
        assert_eq!(target(&targets[..1], false), Some(targets[0]));
        assert_eq!(target(&[], true), None);
    }
}
