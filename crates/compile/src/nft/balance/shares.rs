//! Weights -> how many slots each endpoint has.

use crate::nft::rules::PICK_CLASSES_MAX;

/// Most slots of one set; a random draw reaches as many.
const SLOTS_MAX: u64 = PICK_CLASSES_MAX as u64;

/// Slots in proportion to `weights`, as few as say it exactly. Where that takes more than there may be, equal weights
/// still have equally many, and no weight above zero has none. Zero has none, unless all are zero: then each has one.
pub(in crate::nft) fn shares(weights: &[u32]) -> Vec<u32> {
    let largest = weights.iter().copied().max().unwrap_or(0);
    if weights.iter().all(|weight| *weight == largest) {
        return vec![1; weights.len()];
    }
    let exact = largest / weights.iter().copied().filter(|weight| *weight > 0).fold(0, gcd).max(1);
    let slots = |of_largest: u32, weight: u32| match u64::from(weight) {
        0 => 0,
        weight => ((2 * weight * u64::from(of_largest) + u64::from(largest)) / (2 * u64::from(largest))).max(1),
    };
    let fits = |of_largest| weights.iter().map(|weight| slots(of_largest, *weight)).sum::<u64>() <= SLOTS_MAX;
    let (mut low, mut high) = (1, exact);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    weights.iter().map(|weight| slots(low, *weight) as u32).collect()
}

fn gcd(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_in_proportion_and_few() {
        assert_eq!(shares(&[]), [0_u32; 0]);
        assert_eq!(shares(&[7]), [1]);
        assert_eq!(shares(&[5, 5, 5]), [1, 1, 1]);
        assert_eq!(shares(&[30, 10, 0, 20]), [3, 1, 0, 2]);
        assert_eq!(shares(&[0, 0]), [1, 1], "nobody wants none: everybody has one");
        assert_eq!(shares(&[1, 1000]), [1, 1000], "exact as long as it fits");
    }

    #[test]
    fn what_does_not_fit_is_rounded_alike_for_equals_and_never_away() {
        for weights in [vec![997, 1000, 1000, 991, 983, 1000], vec![1000; 4094], {
            let mut many = vec![10; 1000];
            many.extend([1, 3]);
            many
        }] {
            let slots = shares(&weights);
            assert!(slots.iter().sum::<u32>() <= PICK_CLASSES_MAX);
            let unit = f64::from(*slots.iter().max().unwrap()) / f64::from(*weights.iter().max().unwrap());
            for (weight, count) in weights.iter().zip(&slots) {
                let off = (f64::from(*count) - f64::from(*weight) * unit).abs();
                assert!(off <= 0.5 || *count == 1, "{weight}: {count} slots of {unit} each");
                assert!(*count > 0);
            }
            let of = |weight: u32| weights.iter().zip(&slots).filter(move |(own, _)| **own == weight).map(|(_, n)| *n);
            assert!(weights.iter().all(|weight| of(*weight).max() == of(*weight).min()), "equals stay equal");
        }
        assert_eq!(shares(&[1000, 1000, 997, 1]), [1000, 1000, 997, 1], "exact: together below 4096");
    }
}
