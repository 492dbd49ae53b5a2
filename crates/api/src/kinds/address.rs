//! Turns address and network texts into what is wrong with them, with the strictness of KEP-4858.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::FieldErrors;

/// An address as Kubernetes always read it: leading zeros in IPv4 are ignored, IPv4-mapped IPv6 counts as IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = decimal(parts.next()?, 255)? as u8;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A network as Kubernetes always read it: the address as written and the prefix length.
pub fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let mapped = matches!(address.parse::<Ipv6Addr>(), Ok(v6) if v6.to_ipv4_mapped().is_some());
    let address = parse_ip(address)?;
    let most = if address.is_ipv4() && !mapped { 32 } else { 128 };
    let prefix = decimal(prefix, most)? as u8;
    Some((address, if mapped { prefix.checked_sub(96)? } else { prefix }))
}

/// The network's first address.
pub fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

/// Checks an address; values that the stored object already has are exempt.
pub fn check_ip(errors: &mut FieldErrors, field: &str, value: &str, stored: &[&str]) {
    if stored.contains(&value) {
        return;
    }
    if parse_ip(value).is_none() {
        errors.invalid(field, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        return;
    }
    match value.parse::<IpAddr>() {
        Err(_) => errors.invalid(field, value, "must not have leading 0s"),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.invalid(field, value, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(_) => {}
    }
}

/// Checks an address that must also be in canonical form.
pub fn check_canonical_ip(errors: &mut FieldErrors, field: &str, value: &str) {
    let before = errors.0.len();
    check_ip(errors, field, value, &[]);
    let Some(address) = parse_ip(value) else { return };
    if errors.0.len() == before && address.to_string() != value {
        errors.invalid(field, value, &format!("must be in canonical form ({:?})", address.to_string()));
    }
}

/// What is wrong with an address that must be in canonical form.
pub fn canonical_ip_problems(value: &str) -> Vec<String> {
    let mut errors = FieldErrors::default();
    check_canonical_ip(&mut errors, "", value);
    let quoted = format!("Invalid value: {}: ", serde_json::Value::from(value));
    let texts = errors.0.into_iter().map(|error| error.message);
    texts.map(|text| text.strip_prefix(&quoted).map_or(text.clone(), str::to_owned)).collect()
}

/// Checks that traffic may be sent to the address: not unspecified, loopback, link-local or link-local multicast.
pub fn check_endpoint_ip(errors: &mut FieldErrors, field: &str, value: &str) {
    let Some(address) = parse_ip(value) else {
        errors.invalid(field, value, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        errors.invalid(field, value, &format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        errors.invalid(field, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        errors.invalid(field, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid(field, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Checks a network; values that the stored object already has are exempt.
pub fn check_network(errors: &mut FieldErrors, field: &str, value: &str, stored: &[&str]) {
    if stored.contains(&value) {
        return;
    }
    let Some((address, prefix)) = parse_network(value) else {
        errors.invalid(field, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return;
    };
    match (strict_network(value), is_mapped(value)) {
        (false, _) => errors.invalid(field, value, "must not have leading 0s in IP or prefix length"),
        (_, true) => errors.invalid(field, value, "must not have an IPv4-mapped IPv6 address"),
        _ if masked(address, prefix) != address => {
            errors.invalid(field, value, "must not have bits set beyond the prefix length");
        }
        _ => {}
    }
}

/// Checks a network that must also be in canonical form.
pub fn check_canonical_network(errors: &mut FieldErrors, field: &str, value: &str) {
    let before = errors.0.len();
    check_network(errors, field, value, &[]);
    let Some((address, prefix)) = parse_network(value) else { return };
    let canonical = format!("{address}/{prefix}");
    if errors.0.len() == before && canonical != value {
        errors.invalid(field, value, &format!("must be in canonical form ({canonical:?})"));
    }
}

/// Warnings about an address that is accepted but not written as it should be.
pub fn ip_warnings(field: &str, value: &str) -> Option<String> {
    let address = parse_ip(value)?;
    if value.parse::<IpAddr>().is_err() || is_mapped(value) {
        return Some(format!("{field}: non-standard IP address {value:?} is invalid: use {:?}", address.to_string()));
    }
    (address.is_ipv6() && address.to_string() != value).then(|| {
        format!("{field}: IPv6 address {value:?} should be in RFC 5952 canonical format ({:?})", address.to_string())
    })
}

/// Warnings about a network that is accepted but not written as it should be.
pub fn network_warnings(field: &str, value: &str) -> Vec<String> {
    let Some((address, prefix)) = parse_network(value) else { return Vec::new() };
    let network = format!("{}/{prefix}", masked(address, prefix));
    let mut warnings = Vec::new();
    if masked(address, prefix) != address {
        let single = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        warnings.push(format!(
            "{field}: CIDR value {value:?} is ambiguous in this context (should be {network:?} or {single:?}?)"
        ));
    }
    if !strict_network(value) || is_mapped(value) {
        warnings.push(format!("{field}: non-standard CIDR value {value:?} is invalid: use {network:?}"));
    }
    if warnings.is_empty() && address.is_ipv6() && network != value {
        warnings
            .push(format!("{field}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({network:?})"));
    }
    warnings
}

fn strict_network(value: &str) -> bool {
    let Some((address, prefix)) = value.split_once('/') else { return false };
    address.parse::<IpAddr>().is_ok() && (prefix == "0" || !prefix.starts_with('0'))
}

fn is_mapped(value: &str) -> bool {
    let address = value.split('/').next().unwrap_or(value);
    matches!(address.parse::<Ipv6Addr>(), Ok(v6) if v6.to_ipv4_mapped().is_some())
}

fn decimal(text: &str, most: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let trimmed = text.trim_start_matches('0');
    let number = if trimmed.is_empty() { 0 } else { trimmed.parse().ok()? };
    (digits && number <= most).then_some(number)
}

#[cfg(test)]
mod tests;
