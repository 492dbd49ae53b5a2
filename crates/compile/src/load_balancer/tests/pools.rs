//! Ranges and pools as text.

use super::super::*;

#[test]
fn ranges_are_networks_pairs_or_one_address() {
    for (text, expected, size) in [
        ("10.99.0.0/24", "10.99.0.1-10.99.0.254", 254),
        ("10.99.0.0/31", "10.99.0.0-10.99.0.1", 2),
        ("10.99.0.7/32", "10.99.0.7", 1),
        ("10.99.0.7", "10.99.0.7", 1),
        ("10.99.0.250 - 10.99.1.5", "10.99.0.250-10.99.1.5", 12),
        ("fd00:99::/120", "fd00:99::1-fd00:99::ff", 255),
        ("fd00:99::/64", "fd00:99::1-fd00:99::ffff:ffff:ffff:ffff", u128::from(u64::MAX)),
    ] {
        let range = Range::parse(text).unwrap();
        assert_eq!((range.to_string().as_str(), range.size()), (expected, size), "{text}");
    }
    for wrong in ["", "-", "10.0.0.0/33", "10.0.0.1/24", "0.0.0.0/0", "224.0.0.0/24", "fe80::/64", "169.254.1.1", "::1"]
    {
        assert!(Range::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn networks_cover_a_range_and_nothing_else() {
    for (text, expected) in [
        ("10.99.0.1-10.99.0.6", &["10.99.0.1/32", "10.99.0.2/31", "10.99.0.4/31", "10.99.0.6/32"][..]),
        ("10.99.0.0-10.99.0.255", &["10.99.0.0/24"]),
        ("255.255.255.0-255.255.255.254", &["255.255.255.0/25", "255.255.255.128/26"]),
        ("fd00::-fd00::1:ffff", &["fd00::/111"]),
        ("10.99.0.0/24", &["10.99.0.0/24"]),
    ] {
        let cidrs: Vec<String> = Range::parse(text).unwrap().cidrs().iter().map(ToString::to_string).collect();
        assert_eq!(cidrs[..expected.len()], *expected, "{text}");
    }
    let range = Range::parse("10.0.0.3-10.0.2.200").unwrap();
    let sizes: u128 = range.cidrs().iter().map(crate::allocate::Cidr::size).sum();
    assert_eq!(sizes, range.size());
}

#[test]
fn pools_are_for_classes_and_namespaces() {
    let pools = Pools::parse(&[
        "10.0.0.1",
        "a=10.0.0.2,namespaces=x+y",
        "g=10.0.0.3,class=e.com/g",
        "a=10.0.0.4,namespaces=x+y",
    ]);
    let pools = pools.unwrap();
    assert_eq!(pools.list.len(), 3, "the same name is one pool");
    let allowed = |class, namespace| -> Vec<usize> {
        (1..=5).filter(|last| pools.allow([10, 0, 0, *last as u8].into(), class, namespace)).collect()
    };
    assert_eq!(allowed(None, "x"), [1, 2, 4]);
    assert_eq!(allowed(None, "z"), [1]);
    assert_eq!(allowed(Some(CLASS), "z"), [1]);
    assert_eq!(allowed(Some("e.com/g"), "x"), [3]);
    assert_eq!(allowed(Some("e.com/h"), "x"), [0; 0]);
    assert!(pools.serve(Some("e.com/g")) && !pools.serve(Some("e.com/h")) && pools.serve(None));
}
