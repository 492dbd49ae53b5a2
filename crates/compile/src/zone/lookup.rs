//! Questions about names of the cluster domain: a lower-case name and a type in, the zone's answer out.

use std::net::IpAddr;

use api::object::ObjectKey;

use super::{Answer, DNS_VERSION, Entry, EntryKind, Location, QueryType, Zone, build, endpoint};
use crate::snapshot::{Protocol, ServicePort};

impl Zone {
    /// Answers `name` (lower case, labels separated by dots, no final dot; empty for the root).
    pub fn lookup(&self, name: &str, query: QueryType) -> Answer<'_> {
        if let Some(rest) = below(name, &self.config.domain) {
            return self.in_domain(rest, query);
        }
        if name.ends_with(".arpa") { self.reverse(name, query) } else { Answer::Elsewhere }
    }

    /// `rest` is the name without the cluster domain; empty at the apex.
    fn in_domain(&self, rest: &str, query: QueryType) -> Answer<'_> {
        let (before, last) = split_last(rest);
        match (before, last) {
            (None, "") => match query {
                QueryType::Soa => Answer::Authority,
                QueryType::Ns => Answer::NameServer,
                _ => Answer::NoData,
            },
            (None, "dns-version") if query == QueryType::Txt => Answer::Text(DNS_VERSION),
            (None, "dns-version" | "svc" | "pod" | "dns") => Answer::NoData,
            (Some("ns"), "dns") => self.server(query),
            (Some(before), "svc") => self.in_services(before, query),
            (Some(before), "pod") => self.pod(before, query),
            _ => Answer::NoName,
        }
    }

    fn server(&self, query: QueryType) -> Answer<'_> {
        let wanted = |address: &&IpAddr| is_of(**address, query);
        self.config.servers.iter().find(wanted).map_or(Answer::NoData, |address| Answer::Address(*address))
    }

    /// `rest` is what stands before `.svc.<domain>`.
    fn in_services(&self, rest: &str, query: QueryType) -> Answer<'_> {
        let (before, namespace) = split_last(rest);
        let Some(space) = self.spaces.get(namespace) else { return Answer::NoName };
        let Some(before) = before else { return Answer::NoData };
        let (inner, service) = split_last(before);
        let Some(entry) = space.services.get(service) else { return Answer::NoName };
        let empty = entry.kind == EntryKind::Headless && entry.v4.is_empty() && entry.v6.is_empty();
        if empty {
            return Answer::NoName;
        }
        match inner {
            None => self.service(entry, namespace, service, query),
            Some(inner) => self.inside(entry, inner, &ObjectKey::new(namespace, service), query),
        }
    }

    fn service<'zone>(
        &'zone self,
        entry: &'zone Entry,
        namespace: &str,
        service: &str,
        query: QueryType,
    ) -> Answer<'zone> {
        match (&entry.kind, query) {
            (EntryKind::External(target), QueryType::A | QueryType::Aaaa | QueryType::Cname) => Answer::Alias(target),
            (_, QueryType::A) if !entry.v4.is_empty() => Answer::V4(&entry.v4),
            (_, QueryType::Aaaa) if !entry.v6.is_empty() => Answer::V6(&entry.v6),
            (_, QueryType::Srv) => located(self.locations(entry, &ObjectKey::new(namespace, service), &|_, _| true)),
            _ => Answer::NoData,
        }
    }

    /// A name inside a Service: `_port._proto`, `_proto` or an endpoint.
    fn inside(&self, entry: &Entry, inner: &str, key: &ObjectKey, query: QueryType) -> Answer<'_> {
        if let Some(protocol) = inner.strip_prefix('_').and_then(protocol_of) {
            let any = self.locations(entry, key, &|_, port| port == protocol);
            return if any.is_empty() { Answer::NoName } else { Answer::NoData };
        }
        if let Some((port, protocol)) = inner.split_once("._") {
            let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol_of(protocol)) else {
                return Answer::NoName;
            };
            let locations = self.locations(entry, key, &|name, number| name == port && number == protocol);
            return match (locations.is_empty(), query) {
                (true, _) => Answer::NoName,
                (false, QueryType::Srv) => located(locations),
                (false, _) => Answer::NoData,
            };
        }
        let mut found = false;
        let dashed = endpoint::undashed(inner).filter(|address| endpoint::dashed(*address) == inner);
        for ready in endpoint::ready(&self.snapshot, key) {
            let named = match &ready.endpoint.hostname {
                Some(hostname) if !hostname.is_empty() => hostname.eq_ignore_ascii_case(inner),
                _ => dashed == Some(ready.endpoint.address),
            };
            if !named {
                continue;
            }
            found = true;
            if is_of(ready.endpoint.address, query) {
                return Answer::Address(ready.endpoint.address);
            }
        }
        if found { Answer::NoData } else { Answer::NoName }
    }

    /// Locations of the named ports that `wanted` accepts: one per port for a Service with an address, one per port and
    /// ready endpoint for a headless one, none for an alias.
    fn locations(&self, entry: &Entry, key: &ObjectKey, wanted: &dyn Fn(&str, Protocol) -> bool) -> Vec<Location> {
        let target = format!("{}.{}.svc.{}", key.name, key.namespace, self.config.domain);
        let mut locations = Vec::new();
        match entry.kind {
            EntryKind::External(_) => {}
            EntryKind::Cluster => {
                let Some(service) = self.snapshot.services.get(key) else { return locations };
                let named = |port: &&ServicePort| !port.name.is_empty() && wanted(&port.name, port.protocol);
                for port in service.ports.iter().filter(named) {
                    let addresses = service.cluster_ips.clone();
                    locations.push(Location { weight: 0, port: port.port, target: target.clone(), addresses });
                }
            }
            EntryKind::Headless => {
                for ready in endpoint::ready(&self.snapshot, key) {
                    let named = ready.slice.ports.iter().filter(|port| !port.name.is_empty());
                    for port in named.filter(|port| wanted(&port.name, port.protocol)) {
                        let Some(number) = port.port else { continue };
                        let target = format!("{}.{target}", endpoint::label(ready.endpoint));
                        let addresses = vec![ready.endpoint.address];
                        locations.push(Location { weight: 0, port: number, target, addresses });
                    }
                }
            }
        }
        join(locations)
    }

    /// `a-b-c-d.<namespace>`: answered if a pod of that namespace has the address.
    fn pod(&self, rest: &str, query: QueryType) -> Answer<'_> {
        let (label, namespace) = split_last(rest);
        if !self.spaces.contains_key(namespace) {
            return Answer::NoName;
        }
        let Some(label) = label else { return Answer::NoData };
        let Some(address) = endpoint::undashed(label).filter(|address| endpoint::dashed(*address) == label) else {
            return Answer::NoName;
        };
        let mut from = build::from(&self.pods, address, ObjectKey::new(namespace, ""));
        match from.next().is_some_and(|key| *key.namespace == *namespace) {
            false => Answer::NoName,
            true if is_of(address, query) => Answer::Address(address),
            true => Answer::NoData,
        }
    }
}

/// Locations with the same target and port are one, with all addresses; weights share 100.
fn join(mut locations: Vec<Location>) -> Vec<Location> {
    locations.sort();
    locations.dedup_by(|later, kept| {
        let same = later.target == kept.target && later.port == kept.port;
        if same {
            kept.addresses.append(&mut later.addresses);
        }
        same
    });
    let weight = u16::try_from(100 / locations.len().max(1)).unwrap_or(1).max(1);
    locations.iter_mut().for_each(|location| location.weight = weight);
    locations
}

fn located(locations: Vec<Location>) -> Answer<'static> {
    if locations.is_empty() { Answer::NoData } else { Answer::Locations(locations) }
}

fn is_of(address: IpAddr, query: QueryType) -> bool {
    matches!((address, query), (IpAddr::V4(_), QueryType::A) | (IpAddr::V6(_), QueryType::Aaaa))
}

fn protocol_of(text: &str) -> Option<Protocol> {
    match text {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// What stands before `.domain`, or the empty text at the domain itself; none for names outside.
pub(super) fn below<'name>(name: &'name str, domain: &str) -> Option<&'name str> {
    match name.strip_suffix(domain)? {
        "" => Some(""),
        rest => rest.strip_suffix('.'),
    }
}

/// `a.b.c` is (`a.b`, `c`); `c` alone is (none, `c`).
fn split_last(name: &str) -> (Option<&str>, &str) {
    name.rsplit_once('.').map_or((None, name), |(before, last)| (Some(before), last))
}
