//! Whether two Services may have one address: the same key, different ports, and one answer to whose traffic is whose.

use crate::snapshot::{Protocol, Service};

/// Why two Services cannot share an address; none: they can.
///
/// They must have the same `mainstay.dev/allow-shared-ip`, no port of the same protocol in common, and both
/// externalTrafficPolicy Cluster or the very same selector: otherwise an address would be announced by nodes on which
/// one of the two has nobody.
pub(super) fn obstacle(one: &Service, other: &Service) -> Option<String> {
    let (key, others) = (&one.load_balancer.share_key, &other.load_balancer.share_key);
    let what = match (key, others) {
        (Some(key), Some(others)) if key == others => match common_port(one, other) {
            Some((protocol, port)) => format!("both use port {port}/{}", name(protocol)),
            None if !(one.external_local || other.external_local) => return None,
            None if one.selector.is_some() && one.selector == other.selector => return None,
            None => "externalTrafficPolicy is Local and their selectors differ".to_owned(),
        },
        (None, _) => "it does not allow sharing (annotation mainstay.dev/allow-shared-ip)".to_owned(),
        (_, None) => format!("{} does not allow sharing", other.meta.key),
        (Some(key), Some(others)) => {
            format!("mainstay.dev/allow-shared-ip is {key:?} here and {others:?} there")
        }
    };
    Some(what)
}

fn common_port(one: &Service, other: &Service) -> Option<(Protocol, u16)> {
    let mut ports = one.ports.iter().map(|port| (port.protocol, port.port));
    ports.find(|wanted| other.ports.iter().any(|port| (port.protocol, port.port) == *wanted))
}

/// A protocol as the API writes it.
pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}
