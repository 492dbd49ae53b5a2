//! Durations in, percentiles out; a seed in, the same random choices out.

use std::time::Duration;

/// How often something is measured: at least once.
pub(super) fn count() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The sample that `percent` of all samples do not exceed (nearest rank), in microseconds with one decimal; none
    /// without samples.
    pub(super) fn percentile_us(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        let sample = sorted.get(rank.max(1) - 1)?;
        Some((sample.as_secs_f64() * 1e7).round() / 10.0)
    }
}

/// SplitMix64: every run makes the same choices.
#[derive(Debug)]
pub(super) struct Choices(u64);

impl Choices {
    /// Choices of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile_us(50), None);
        for us in (1..=200).rev() {
            samples.add(Duration::from_micros(us));
        }
        assert_eq!(samples.percentile_us(50), Some(100.0));
        assert_eq!(samples.percentile_us(99), Some(198.0));
        assert_eq!(samples.percentile_us(100), Some(200.0));
        let mut one = Samples::default();
        one.add(Duration::from_nanos(1_250));
        assert_eq!((one.percentile_us(50), one.percentile_us(99)), (Some(1.3), Some(1.3)));
    }

    #[test]
    fn a_seed_makes_the_same_choices_everywhere_in_range() {
        let draw = |seed| {
            let mut choices = Choices::new(seed);
            (0..1_000).map(move |_| choices.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..10).all(|wanted| draw(1).contains(&wanted)));
    }
}
