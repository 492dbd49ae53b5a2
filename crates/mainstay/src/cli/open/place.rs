//! A Service and what is published in, where one of its ports answers on this host out. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, bail};
use serde_json::Value;

use super::super::explain::{Target, text_of};
use super::url;

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Name, empty if unnamed.
    pub(super) name: String,
    /// `spec.ports[].port`.
    pub(super) number: u16,
    /// `appProtocol`, empty if unsaid.
    pub(super) app_protocol: String,
    /// Whether it is UDP.
    pub(super) udp: bool,
}

/// Where a port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At this address of the host.
    Here(At),
    /// Nowhere on this host: one must be opened.
    Nowhere,
    /// It has no address at all.
    Headless,
}

/// An address that a client on this host can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(SocketAddr);

impl At {
    /// The first of a published port's addresses; one that means "all" becomes loopback.
    pub(super) fn of(row: &Value) -> Option<Self> {
        let address: SocketAddr = row["addresses"].as_array()?.first()?.as_str()?.parse().ok()?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Some(Self(SocketAddr::new(ip, address.port())))
    }

    /// The address without brackets.
    pub(super) fn host(&self) -> String {
        self.0.ip().to_string()
    }

    /// The number.
    pub(super) fn port(&self) -> u16 {
        self.0.port()
    }
}

/// The port that is meant: by name or number, else the first that speaks HTTP, else the first.
pub(super) fn port(service: &Value, wanted: Option<&str>) -> Result<Port> {
    let known = |port: &Value| {
        let number = u16::try_from(port["port"].as_u64()?).ok()?;
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let text = |field: &str| text_of(port, field).to_owned();
        let (name, app_protocol) = (text("name"), text("appProtocol"));
        (protocol != "SCTP").then_some(Port { name, number, app_protocol, udp: protocol == "UDP" })
    };
    let ports: Vec<Port> = service["spec"]["ports"].as_array().into_iter().flatten().filter_map(known).collect();
    let found = match wanted {
        Some(wanted) => ports.iter().find(|port| port.name == wanted || wanted.parse() == Ok(port.number)),
        None => ports.iter().find(|port| url::scheme(port).is_some()).or(ports.first()),
    };
    if let Some(port) = found {
        return Ok(port.clone());
    }
    let name = text_of(&service["metadata"], "name");
    if ports.is_empty() {
        bail!("Service {name} has no TCP or UDP port.\nGive it one: kubectl edit service {name}");
    }
    let text = |port: &Port| if port.name.is_empty() { port.number.to_string() } else { port.name.clone() };
    let all: Vec<String> = ports.iter().map(text).collect();
    bail!(
        "Service {name} has no port {:?}: spec.ports holds {}.\nType: --port {}",
        wanted.unwrap_or_default(),
        all.join(", "),
        all.first().map_or("NAME", String::as_str)
    )
}

/// Where the port answers now; none while it is still to be opened.
pub(super) fn place(service: &Value, status: &Value, target: &Target, port: &Port) -> Option<Place> {
    let spec = &service["spec"];
    if text_of(spec, "clusterIP") == "None" {
        return Some(Place::Headless);
    }
    let published = &status["published"];
    let rows = published["ports"].as_array().into_iter().flatten();
    let mine = rows.filter(|row| {
        text_of(row, "namespace") == target.namespace
            && text_of(row, "name") == target.name
            && text_of(row, "portName") == port.name
            && (text_of(row, "protocol") == "UDP") == port.udp
    });
    // A load-balancer port first: its number is the one that the manifest shows.
    let rank = |row: &&Value| text_of(row, "source") != "LoadBalancer";
    let mut mine: Vec<&Value> = mine.filter(|row| text_of(row, "source") != "ClusterIP").collect();
    mine.sort_by_key(rank);
    if let Some(at) = mine.iter().find_map(|row| At::of(row)) {
        return Some(Place::Here(at));
    }
    let ip = |text: &str| text.parse::<IpAddr>().ok().map(|ip| Place::Here(At(SocketAddr::new(ip, port.number))));
    if text_of(status, "mode") == "host" {
        let balanced = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        return ip(balanced.unwrap_or(text_of(spec, "clusterIP"))).or(Some(Place::Nowhere));
    }
    let outward = matches!(text_of(spec, "type"), "NodePort" | "LoadBalancer");
    // It will be there in a moment.
    if outward && published["on"] == true { None } else { Some(Place::Nowhere) }
}

/// The kubectl line that leads to a port.
pub(super) fn forward(target: &Target, port: &Port) -> String {
    let local = if port.number < 1024 { port.number + 8000 } else { port.number };
    format!("kubectl port-forward -n {} service/{} {local}:{}", target.namespace, target.name, port.number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target() -> Target {
        Target { kind: "services", namespace: "shop".to_owned(), name: "web".to_owned() }
    }

    #[test]
    fn the_port_is_named_or_the_first_that_speaks_http() {
        let service = json!({ "metadata": { "name": "web" }, "spec": { "ports": [
            { "name": "grpc", "port": 9000 }, { "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }] } });
        let of = |wanted| port(&service, wanted).map(|port| port.name).map_err(|error| error.to_string());
        assert_eq!(of(None), Ok("http".to_owned()));
        assert_eq!(of(Some("9000")), Ok("grpc".to_owned()));
        assert_eq!(of(Some("dns")), Ok("dns".to_owned()));
        let wrong = of(Some("nope")).unwrap_err();
        assert!(wrong.contains("spec.ports holds grpc, http, dns.\nType: --port grpc"), "{wrong}");
        assert!(port(&json!({ "spec": {} }), None).is_err());
    }

    #[test]
    fn published_ports_come_first_and_load_balancer_ports_before_node_ports() {
        let row = |source: &str, address: &str| {
            json!({ "namespace": "shop", "name": "web", "portName": "http", "protocol": "TCP", "source": source,
                "addresses": [address] })
        };
        let port = Port { name: "http".into(), number: 80, app_protocol: String::new(), udp: false };
        let service = json!({ "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.7" } });
        let status = |ports: Value, on: bool| json!({ "mode": "sandbox", "published": { "on": on, "ports": ports } });
        let at = |text: &str| Some(Place::Here(At(text.parse().unwrap())));
        let of = |status: &Value| place(&service, status, &target(), &port);
        let both = json!([row("NodePort", "127.0.0.1:30007"), row("LoadBalancer", "0.0.0.0:8080")]);
        assert_eq!(of(&status(both, true)), at("127.0.0.1:8080"));
        assert_eq!(of(&status(json!([row("NodePort", "127.0.0.1:30007")]), true)), at("127.0.0.1:30007"));
        assert_eq!(of(&status(json!([row("ClusterIP", "127.0.0.1:1")]), true)), None, "it will be published");
        assert_eq!(of(&status(json!([]), false)), Some(Place::Nowhere));
        assert_eq!(of(&json!({ "mode": "host", "published": {} })), at("10.96.0.7:80"));
        let headless = json!({ "spec": { "clusterIP": "None" } });
        assert_eq!(place(&headless, &json!({}), &target(), &port), Some(Place::Headless));
        assert_eq!(forward(&target(), &port), "kubectl port-forward -n shop service/web 8080:80");
    }
}
