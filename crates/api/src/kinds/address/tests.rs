//! Address and network texts in, errors and warnings out.

use super::*;

fn errors_of(check: impl Fn(&mut FieldErrors)) -> String {
    let mut errors = FieldErrors::default();
    check(&mut errors);
    if errors.is_empty() { String::new() } else { errors.0[0].message.clone() }
}

#[test]
fn strict_addresses() {
    let table = [
        ("10.0.0.1", ""),
        ("fd00::1", ""),
        ("FD00:0::1", ""),
        ("010.0.0.1", "Invalid value: \"010.0.0.1\": must not have leading 0s"),
        ("::ffff:1.2.3.4", "Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"),
        ("", "Invalid value: \"\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("1.2.3", "Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("256.0.0.1", "Invalid value: \"256.0.0.1\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        (
            "fe80::1%eth0",
            "Invalid value: \"fe80::1%eth0\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
    ];
    for (value, expected) in table {
        assert_eq!(errors_of(|errors| check_ip(errors, "f", value, &[])), expected, "{value}");
        assert_eq!(errors_of(|errors| check_ip(errors, "f", value, &[value])), "", "stored values are exempt");
    }
    assert_eq!(
        errors_of(|errors| check_canonical_ip(errors, "f", "FD00::1")),
        "Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")"
    );
}

#[test]
fn strict_networks() {
    let table = [
        ("10.0.0.0/8", ""),
        ("::/0", ""),
        ("0.0.0.0/0", ""),
        ("fd00::/64", ""),
        ("10.0.0.1/8", "must not have bits set beyond the prefix length"),
        ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
        ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
        ("::ffff:10.0.0.0/104", "must not have an IPv4-mapped IPv6 address"),
        ("10.0.0.0/33", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("fd00::/129", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
    ];
    for (value, expected) in table {
        let error = errors_of(|errors| check_network(errors, "f", value, &[]));
        assert!(error.ends_with(expected) && error.is_empty() == expected.is_empty(), "{value}: {error}");
    }
}

#[test]
fn endpoint_addresses() {
    let table = [
        ("10.0.0.1", ""),
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("::", "may not be unspecified (::)"),
        ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("::1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("fe80::1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.9", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("ff02::1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("x", "must be a valid IP address"),
    ];
    for (value, expected) in table {
        let error = errors_of(|errors| check_endpoint_ip(errors, "f", value));
        assert!(error.ends_with(expected) && error.is_empty() == expected.is_empty(), "{value}: {error}");
    }
}

#[test]
fn warnings_name_the_better_form() {
    assert_eq!(ip_warnings("f", "10.0.0.1"), None);
    assert_eq!(
        ip_warnings("f", "010.0.0.1").unwrap(),
        "f: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\""
    );
    assert_eq!(
        ip_warnings("f", "FD00:0::1").unwrap(),
        "f: IPv6 address \"FD00:0::1\" should be in RFC 5952 canonical format (\"fd00::1\")"
    );
    assert_eq!(network_warnings("f", "10.0.0.0/8"), Vec::<String>::new());
    assert_eq!(
        network_warnings("f", "10.0.0.1/8"),
        ["f: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)"]
    );
    assert_eq!(
        network_warnings("f", "FD00::/8"),
        ["f: IPv6 CIDR value \"FD00::/8\" should be in RFC 5952 canonical format (\"fd00::/8\")"]
    );
}

#[test]
fn masks_keep_every_prefix_in_bounds() {
    for prefix in 0..=128 {
        let v6 = masked(IpAddr::V6(Ipv6Addr::from(u128::MAX)), prefix);
        let IpAddr::V6(v6) = v6 else { panic!("family changed") };
        assert_eq!(u128::from(v6).count_ones(), u32::from(prefix));
    }
    for prefix in 0..=32 {
        let IpAddr::V4(v4) = masked(IpAddr::V4(Ipv4Addr::BROADCAST), prefix) else { panic!("family changed") };
        assert_eq!(u32::from(v4).count_ones(), u32::from(prefix));
    }
}
