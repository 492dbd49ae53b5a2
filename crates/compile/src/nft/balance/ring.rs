//! Endpoints with slots -> a ring on which each comes up that often, spread evenly; as it was, as far as possible.

use std::collections::BTreeMap;

use crate::nft::rules::balance::{RINGS, TURNS};

/// A hole of a ring; endpoint number 0 is not used.
pub(in crate::nft) const HOLE: u16 = 0;

/// The class of the smallest ring with room for `count` slots.
pub(in crate::nft) fn class(count: usize) -> u8 {
    let class = RINGS.partition_point(|slots| (*slots as usize) < count);
    class.min(RINGS.len() - 1) as u8
}

/// The ring of `wanted` (number, slots). `old` is kept if it has the right size and what comes fits into the places of
/// what goes, so that one endpoint more or less is one slot written.
pub(in crate::nft) fn ring(old: &[u16], wanted: &[(u16, u32)]) -> Vec<u16> {
    let count: usize = wanted.iter().map(|(_, slots)| *slots as usize).sum();
    let size = RINGS[usize::from(class(count))] as usize;
    let even = wanted.iter().all(|(_, slots)| *slots == 1);
    if old.len() == size
        && let Some(patched) = patched(old, wanted, even)
    {
        return patched;
    }
    let mut ring = vec![HOLE; size];
    for (place, number) in interleaved(wanted).into_iter().take(size).enumerate() {
        ring[place * size / count.max(1)] = number;
    }
    ring
}

/// Each endpoint at even distances: the k-th of c slots comes at (k + 1/2) / c of a round.
fn interleaved(wanted: &[(u16, u32)]) -> Vec<u16> {
    let mut places: Vec<(u64, u16)> = Vec::new();
    for (number, slots) in wanted {
        let at = |slot: u32| ((2 * u64::from(slot) + 1) << 32) / (2 * u64::from((*slots).max(1)));
        places.extend((0..*slots).map(|slot| (at(slot), *number)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, number)| number).collect()
}

/// The old ring with few changes; none if that would not be even, or leave more holes in a row than there are turns.
fn patched(old: &[u16], wanted: &[(u16, u32)], even: bool) -> Option<Vec<u16>> {
    let mut left: BTreeMap<u16, u32> = wanted.iter().copied().collect();
    let mut ring = old.to_vec();
    let mut free = Vec::new();
    for (place, number) in ring.iter_mut().enumerate().filter(|(_, number)| **number != HOLE) {
        match left.get_mut(number).filter(|slots| **slots > 0) {
            Some(slots) => *slots -= 1,
            None => {
                *number = HOLE;
                free.push(place);
            }
        }
    }
    let missing: Vec<u16> = left.into_iter().filter(|(_, slots)| *slots > 0).map(|(number, _)| number).collect();
    if !even && !(missing.is_empty() && free.is_empty()) {
        return None;
    }
    for number in missing {
        let place = free.pop().or_else(|| middle(&ring))?;
        ring[place] = number;
    }
    (longest(&ring).0 < TURNS).then_some(ring)
}

/// The longest run of holes, across the end too: how many, and where it begins.
fn longest(ring: &[u16]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut run = 0;
    for place in 0..2 * ring.len() {
        run = if ring[place % ring.len()] == HOLE { run + 1 } else { 0 };
        if run > best.0 && run <= ring.len() {
            best = (run, place + 1 - run);
        }
    }
    best
}

/// The middle of the longest run of holes.
fn middle(ring: &[u16]) -> Option<usize> {
    let (run, start) = longest(ring);
    (run > 0).then(|| (start + run / 2) % ring.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ring: &[u16]) -> Vec<u16> {
        ring.iter().copied().filter(|number| *number != HOLE).collect()
    }

    fn each(numbers: impl IntoIterator<Item = u16>) -> Vec<(u16, u32)> {
        numbers.into_iter().map(|number| (number, 1)).collect()
    }

    #[test]
    fn every_count_has_a_ring_whose_holes_the_turns_step_over() {
        for count in (2..300).chain([511, 1000, 1024, 1025, 4000, 4096]) {
            let ring = ring(&[], &each(1..=count));
            assert_eq!(round(&ring), (1..=count).collect::<Vec<_>>(), "in order, each once");
            assert!(longest(&ring).0 <= 3, "{count}: {}", longest(&ring).0);
        }
    }

    #[test]
    fn weights_are_spread_over_the_round() {
        let wanted = [(1, 5), (2, 1), (3, 2)];
        let order = round(&ring(&[], &wanted));
        for (number, slots) in wanted {
            assert_eq!(order.iter().filter(|one| **one == number).count(), slots as usize);
        }
        let twice = [order.clone(), order.clone()].concat();
        assert!(!twice.windows(3).any(|three| three.iter().all(|one| *one == 1)), "{order:?}");
        assert_eq!(ring(&ring(&[], &wanted), &wanted), ring(&[], &wanted), "nothing changed");
        assert_ne!(ring(&ring(&[], &wanted), &wanted[..2]), ring(&[], &wanted));
    }

    #[test]
    fn one_endpoint_more_or_less_is_one_slot() {
        for count in [3, 5, 16, 40, 64, 200] {
            let before = ring(&[], &each(1..=count));
            let same = |after: &[u16]| before.iter().zip(after).filter(|(a, b)| a != b).count();
            let replaced = ring(&before, &each((1..count).chain([count + 7])));
            assert_eq!(same(&replaced), 1, "{count}: replaced");
            let fewer = ring(&before, &each(2..=count));
            if fewer.len() == before.len() {
                assert_eq!(same(&fewer), 1, "{count}: fewer");
            }
            let more = ring(&before, &each(1..=count + 1));
            if more.len() == before.len() {
                assert_eq!(same(&more), 1, "{count}: more");
            }
        }
    }

    #[test]
    fn a_long_history_never_leaves_too_many_holes_in_a_row() {
        let mut draw = 7_u64;
        let mut now: Vec<u16> = (1..=20).collect();
        let mut held = Vec::new();
        for _ in 0..500 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (draw >> 33) as u16 % 60 + 1;
            match now.binary_search(&number) {
                Ok(at) if now.len() > 2 => _ = now.remove(at),
                Ok(_) => {}
                Err(at) => now.insert(at, number),
            }
            held = ring(&held, &each(now.iter().copied()));
            let mut order = round(&held);
            order.sort_unstable();
            assert_eq!(order, now);
            assert!(longest(&held).0 < TURNS);
        }
    }
}
