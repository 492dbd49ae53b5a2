//! The static and the dynamic band, on ranges small enough to be filled.

use std::net::IpAddr;

use super::super::ranges::pick_port;
use super::*;

/// Every address in the order in which dynamic requests get them.
fn drained(cidr: &Cidr, seed: u64) -> Vec<IpAddr> {
    let mut draw = Draw::new(seed);
    let mut taken = BTreeSet::new();
    let mut order = Vec::new();
    while let Some(ip) = cidr.pick(&mut draw, |ip| taken.contains(&ip)) {
        assert!(taken.insert(ip), "{ip} was given twice");
        assert!(cidr.is_usable(ip), "{ip} must not be given");
        order.push(ip);
    }
    order
}

#[test]
fn the_dynamic_band_is_used_up_first() {
    // Network, usable addresses, length of the static band.
    let table = [
        ("10.0.0.0/32", 0, 0),
        ("10.0.0.0/31", 0, 0),
        ("10.0.0.0/30", 2, 0),
        ("10.0.0.16/28", 14, 0),
        ("10.0.0.0/27", 30, 16),
        ("10.0.0.0/24", 254, 16),
        ("10.0.0.0/23", 510, 32),
        ("10.0.0.0/20", 4094, 256),
        ("10.0.0.0/19", 8190, 256),
        ("fd00::/128", 0, 0),
        ("fd00::/124", 15, 0),
        ("fd00::/120", 255, 16),
    ];
    for (text, usable, band) in table {
        let cidr: Cidr = text.parse().unwrap();
        for seed in 0..3 {
            let order = drained(&cidr, seed);
            assert_eq!(order.len(), usable, "{text}");
            let low: BTreeSet<_> = cidr_offsets(&cidr, &order).into_iter().rev().take(band).collect();
            let expected: BTreeSet<_> = (1..=band as u128).collect();
            assert_eq!(low, expected, "{text}: the static band goes last");
        }
    }
}

fn cidr_offsets(cidr: &Cidr, addresses: &[IpAddr]) -> Vec<u128> {
    let number = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(u32::from(*v4)),
        IpAddr::V6(v6) => u128::from(*v6),
    };
    addresses.iter().map(|ip| number(ip) - number(&cidr.network)).collect()
}

#[test]
fn seeds_spread_and_repeat() {
    let cidr: Cidr = "10.96.0.0/16".parse().unwrap();
    let picks: BTreeSet<_> = (0..100).filter_map(|seed| cidr.pick(&mut Draw::new(seed), |_| false)).collect();
    assert!(picks.len() > 90, "different seeds start at different places: {}", picks.len());
    for seed in 0..100 {
        let pick = || cidr.pick(&mut Draw::new(seed), |_| false);
        assert_eq!(pick(), pick());
    }
}

#[test]
fn port_bands() {
    // Range, length of the static band.
    let table = [
        (30000..=30000, 0),
        (30000..=30015, 0),
        (30000..=30016, 16),
        (30000..=30999, 31),
        (30000..=32767, 86),
        (20000..=32767, 128),
        (1..=65535, 128),
    ];
    for (range, band) in table {
        let mut draw = Draw::new(7);
        let mut taken = BTreeSet::new();
        let mut order = Vec::new();
        while let Some(port) = pick_port(&range, &mut draw, |port| taken.contains(&port)) {
            assert!(range.contains(&port) && taken.insert(port), "{port} in {range:?}");
            order.push(port);
            if range.len() > 3000 && order.len() > 200 {
                break;
            }
        }
        let first_dynamic = *range.start() + band;
        if range.len() > 3000 {
            assert!(order.iter().all(|port| *port >= first_dynamic), "{range:?}");
            continue;
        }
        assert_eq!(order.len(), range.len(), "{range:?}");
        let (dynamic, fallback) = order.split_at(order.len() - usize::from(band));
        assert!(dynamic.iter().all(|port| *port >= first_dynamic), "{range:?}");
        assert!(fallback.iter().all(|port| *port < first_dynamic), "{range:?}");
    }
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "an empty range is the case at hand")]
fn an_empty_port_range_gives_nothing() {
    assert_eq!(pick_port(&(5..=4), &mut Draw::new(0), |_| false), None);
}

#[test]
fn networks_are_read_strictly() {
    let cidr: Cidr = "10.96.0.0/16".parse().unwrap();
    assert_eq!((cidr.size(), cidr.to_string().as_str()), (65536, "10.96.0.0/16"));
    assert!(cidr.contains("10.96.255.255".parse().unwrap()));
    assert!(!cidr.contains("10.97.0.0".parse().unwrap()) && !cidr.contains("fd00::1".parse().unwrap()));
    let whole: Cidr = "::/0".parse().unwrap();
    assert!(whole.contains("fd00::1".parse().unwrap()) && !whole.contains("10.0.0.1".parse().unwrap()));
    assert!(whole.pick(&mut Draw::new(1), |_| false).is_some());
    for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/8", "x/8", "10.0.0.0/x", "fd00::/129", "10.0.0.0/-1"] {
        let error = bad.parse::<Cidr>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{bad:?} is not a network: ")) && error.contains("write one such as"),
            "{error}"
        );
    }
}
