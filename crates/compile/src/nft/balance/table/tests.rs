//! The table over many sizes and changes: balance, weights, and how many slots move.

use super::*;

fn endpoints(count: u32, world: u32) -> Vec<(Backend, u32)> {
    let one = |n: u32| Backend { address: std::net::IpAddr::V4((0x0af4_0000 + world * 8191 + n).into()), port: 8080 };
    (0..count).map(|n| (one(n), 1)).collect()
}

fn owners(endpoints: &[(Backend, u32)]) -> Vec<Backend> {
    table(endpoints).into_iter().map(|index| endpoints[usize::from(index)].0).collect()
}

fn held(owners: &[Backend], backend: Backend) -> usize {
    owners.iter().filter(|owner| **owner == backend).count()
}

/// Slots that changed hands beyond those of the endpoint that came or went.
fn extra(before: &[Backend], after: &[Backend], changed: Backend) -> f64 {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    (moved - held(before, changed).max(held(after, changed))) as f64 / f64::from(TABLE)
}

#[test]
fn a_change_moves_the_slots_of_what_changed_and_at_most_one_percent_more() {
    let mut worst = (0.0_f64, 0);
    let mut widest = 0.0_f64;
    for (count, worlds) in
        [(2, 8), (3, 8), (4, 8), (5, 8), (8, 8), (10, 8), (16, 6), (25, 4), (50, 3), (100, 2), (250, 1)]
    {
        for world in 0..worlds {
            let all = endpoints(count + 1, world);
            let full = owners(&all);
            let gone = (world * 7 % (count + 1)) as usize;
            let mut fewer = all.clone();
            let (changed, _) = fewer.remove(gone);
            let rest = owners(&fewer);
            // The same two tables are a removal and, read the other way, an arrival.
            let more = extra(&full, &rest, changed);
            worst = if more > worst.0 { (more, count) } else { worst };
            assert!(more <= 0.01, "{count} endpoints, world {world}: {:.2} % beyond the ideal", more * 100.0);
            let share = f64::from(TABLE) / f64::from(count);
            let limit = share.ceil() + (share.ceil() / 20.0).ceil().max(share.ceil().sqrt());
            for (backend, _) in &fewer {
                let own = held(&rest, *backend) as f64;
                assert!(own <= limit, "{count} endpoints: {own} slots of {share:.1}");
                widest = if count <= 10 { widest.max(own / share) } else { widest };
            }
        }
    }
    // Measured: 0.46 % of slots, and 1.05 times the share.
    assert!(worst.0 <= 0.005, "{:.2} % of slots beyond the ideal with {} endpoints", worst.0 * 100.0, worst.1);
    assert!(widest <= 1.06, "the widest share with up to ten endpoints is {widest:.3}");
}

#[test]
fn the_table_depends_on_the_set_alone_and_every_slot_has_an_endpoint() {
    let all = endpoints(12, 3);
    let owners_of = owners(&all);
    let mut turned = all.clone();
    turned.rotate_left(5);
    turned.swap(0, 3);
    assert_eq!(owners(&turned), owners_of, "in whatever order");
    let doubled: Vec<_> = all.iter().map(|(backend, _)| (*backend, 2)).collect();
    assert_eq!(owners(&doubled), owners_of, "equal weights are equal weights");
    let zero: Vec<_> = all.iter().map(|(backend, _)| (*backend, 0)).collect();
    assert_eq!(owners(&zero), owners_of, "all zero is all equal");
    // A table that must never change: other nodes, other versions.
    let print = owners_of.iter().fold(0_u64, |sum, owner| mix(sum ^ key(*owner)));
    assert_eq!(print, 4_738_227_736_711_576_010, "the function changed: nodes of different versions disagree");
}

#[test]
fn weights_are_respected() {
    let mut all = endpoints(4, 1);
    for ((_, weight), given) in all.iter_mut().zip([1, 2, 5, 0]) {
        *weight = given;
    }
    let owners_of = owners(&all);
    for (backend, weight) in &all {
        let (own, share) = (held(&owners_of, *backend) as f64, f64::from(TABLE) * f64::from(*weight) / 8.0);
        assert!((own - share).abs() <= share * 0.06 + 1.0, "weight {weight}: {own} of {share}");
    }
    // One weight more: slots go to it, and hardly any between the others.
    let mut heavier = all.clone();
    heavier[0].1 = 2;
    let after = owners(&heavier);
    let between = owners_of.iter().zip(&after).filter(|(a, b)| a != b && **b != all[0].0).count();
    assert!(between as f64 <= 0.01 * f64::from(TABLE), "{between} slots moved between others");
}

#[test]
fn logarithms_are_right() {
    for hash in [1, 2, 3, 1 << 20, 1 << 63, u64::MAX, 0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210] {
        let expected = -(hash as f64 / 2_f64.powi(64)).log2();
        let got = minus_log(hash) as f64 / 2_f64.powi(32);
        assert!((got - expected).abs() < 3e-6, "{hash:x}: {got} {expected}");
    }
}
