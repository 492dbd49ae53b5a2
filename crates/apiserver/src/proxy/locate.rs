//! `[scheme:]name[:port]` in, the address of a pod out: pods by their own address, Services through their Endpoints.

use std::net::{IpAddr, SocketAddr};

use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use serde_json::Value;

use crate::ask::Ask;
use crate::object::{meta, parsed};
use crate::pipeline::Api;

/// Where a proxied request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether TLS is spoken.
    pub https: bool,
    /// The address of a pod.
    pub address: SocketAddr,
}

/// The parts of an id. Name is never empty, the port may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some(Self {
            https: scheme == "https",
            name,
            port,
        })
    }

    fn default_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }
}

/// The address that the URL's id stands for.
pub(super) fn target(api: &Api, ask: &Ask) -> Result<Target, Status> {
    let singular = ask.kind.singular;
    let invalid = || Status::bad_request(format!("invalid {singular} request {:?}", ask.name));
    let id = Id::parse(&ask.name).ok_or_else(invalid)?;
    let (address, port) = if ask.kind.kind == kinds::POD.kind {
        let pod = parsed(&api.read(ask.kind, &ObjectKey::new(ask.namespace.as_str(), id.name))?.json)?;
        pod_port(&pod, &id).zip(Some(pod_address(&pod)?)).map(|(port, address)| (address, port)).ok_or_else(invalid)?
    } else {
        endpoint(api, ask, &id)?
    };
    Ok(Target { https: id.https, address: SocketAddr::new(allowed(address)?, port) })
}

/// The number asked for, that of the named container port, or without a wish the first one declared.
fn pod_port(pod: &Value, id: &Id<'_>) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let number = |port: &Value| port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok());
    match id.port {
        "" => Some(ports.next().and_then(number).unwrap_or_else(|| id.default_port())),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().filter(|port| *port > 0),
        name => ports.find(|port| port["name"] == name).and_then(number),
    }
}

fn pod_address(pod: &Value) -> Result<IpAddr, Status> {
    let first = pod["status"]["podIPs"][0]["ip"].as_str().or_else(|| pod["status"]["podIP"].as_str());
    first.and_then(|text| text.parse().ok()).ok_or_else(|| Status::bad_request("address not allowed"))
}

/// Loopback, link-local, multicast and unspecified addresses would lead to the node itself or nowhere.
fn allowed(address: IpAddr) -> Result<IpAddr, Status> {
    let refused = match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    };
    if refused { Err(Status::bad_request("address not allowed")) } else { Ok(address) }
}

/// A ready endpoint of a Service that is a pod of the same namespace and really has the address.
fn endpoint(api: &Api, ask: &Ask, id: &Id<'_>) -> Result<(IpAddr, u16), Status> {
    let key = ObjectKey::new(ask.namespace.as_str(), id.name);
    let unavailable = |why: String| Status::new(503, "ServiceUnavailable", why);
    let mut port_name = id.port.to_owned();
    if let Ok(number) = id.port.parse::<i64>() {
        let service = parsed(&api.read(&kinds::SERVICE, &key)?.json)?;
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let found = ports.find(|port| port["port"].as_i64() == Some(number));
        let why = || unavailable(format!("no service port {number} found for service {:?}", id.name));
        port_name = found.ok_or_else(why)?["name"].as_str().unwrap_or("").to_owned();
    }
    let endpoints = parsed(&api.read(&kinds::ENDPOINTS, &key)?.json)?;
    let subsets = endpoints["subsets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if subsets.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {:?}", id.name)));
    }
    let seed = usize::try_from(api.inner.config.ids.bits() >> 1).unwrap_or(0);
    for subset in turned(subsets, seed) {
        let mut ports = subset["ports"].as_array().into_iter().flatten();
        let named = ports.find(|port| port["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = named.and_then(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        let addresses = subset["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(address) = turned(addresses, seed).find_map(|address| own_pod(api, ask, address)) {
            return Ok((address, port));
        }
    }
    Err(unavailable(format!("no endpoints available for service {:?}", ask.name)))
}

/// All of a list, starting anywhere.
fn turned(list: &[Value], seed: usize) -> impl Iterator<Item = &Value> {
    let (before, after) = list.split_at(seed.checked_rem(list.len()).unwrap_or(0));
    after.iter().chain(before)
}

fn own_pod(api: &Api, ask: &Ask, address: &Value) -> Option<IpAddr> {
    let text = address["ip"].as_str()?;
    let reference = &address["targetRef"];
    if reference["namespace"].as_str() != Some(ask.namespace.as_str()) {
        return None;
    }
    let key = ObjectKey::new(ask.namespace.as_str(), reference["name"].as_str()?);
    let pod = parsed(&api.read(&kinds::POD, &key).ok()?.json).ok()?;
    let has = pod["status"]["podIPs"].as_array().into_iter().flatten().any(|own| own["ip"] == text);
    if !has {
        tracing::debug!(
            pod = meta(&pod, "name"),
            address = text,
            "an endpoint's pod has another address; not proxied to"
        );
    }
    text.parse().ok().filter(|_| has)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids() {
        let id = |https, name, port| Some(Id { https, name, port });
        for (text, expected) in [
            ("ham", id(false, "ham", "")),
            ("ham:80", id(false, "ham", "80")),
            ("ham:web", id(false, "ham", "web")),
            ("http:ham:80", id(false, "ham", "80")),
            ("https:ham:", id(true, "ham", "")),
            (":ham:80", id(false, "ham", "80")),
            ("ftp:ham:80", None),
            (":80", None),
            ("", None),
            ("a:b:c:d", None),
        ] {
            assert_eq!(Id::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn ports_of_pods() {
        let pod = json!({ "spec": { "containers": [
            { "name": "a" }, { "name": "b", "ports": [{ "containerPort": 8080 }, { "name": "web", "containerPort": 81 }] },
        ] } });
        let bare = json!({ "spec": { "containers": [{ "name": "a" }] } });
        let of = |pod: &Value, id: &str| pod_port(pod, &Id::parse(id).unwrap());
        assert_eq!(of(&pod, "ham"), Some(8080));
        assert_eq!(of(&pod, "ham:9"), Some(9));
        assert_eq!(of(&pod, "ham:web"), Some(81));
        for wrong in ["ham:nope", "ham:0", "ham:65536", "ham:-1"] {
            assert_eq!(of(&pod, wrong), None, "{wrong}");
        }
        assert_eq!((of(&bare, "ham"), of(&bare, "https:ham:")), (Some(80), Some(443)));
    }

    #[test]
    fn addresses_that_lead_nowhere_good_are_refused() {
        for address in
            ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "::ffff:127.0.0.1", "::"]
        {
            assert_eq!(allowed(address.parse().unwrap()).unwrap_err().message, "address not allowed", "{address}");
        }
        for address in ["10.244.0.5", "fd00::5"] {
            allowed(address.parse().unwrap()).unwrap();
        }
        assert_eq!(pod_address(&json!({ "status": {} })).unwrap_err().code, 400);
    }
}
