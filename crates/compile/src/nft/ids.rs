//! Numbers that live in the kernel data: handed out once, kept as long as used, and not reused soon.

use std::collections::BTreeSet;

/// Hands out numbers 1..=max in a circle, so that a freed number comes back as late as possible: an affinity entry or
/// a conntrack mark may still name it for a while.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    used: BTreeSet<u32>,
    next: u32,
    max: u32,
}

impl Numbers {
    /// All of 1..=max are free.
    pub(super) fn new(max: u32) -> Self {
        Self { used: BTreeSet::new(), next: 1, max }
    }

    /// A free number; none if all are used.
    pub(super) fn take(&mut self) -> Option<u32> {
        let free = self.free_from(self.next, self.max).or_else(|| self.free_from(1, self.next - 1))?;
        self.used.insert(free);
        self.next = if free == self.max { 1 } else { free + 1 };
        Some(free)
    }

    /// Takes a certain number; false if it is used already or is none of ours.
    pub(super) fn claim(&mut self, number: u32) -> bool {
        let ours = (1..=self.max).contains(&number);
        let claimed = ours && self.used.insert(number);
        if claimed && number >= self.next {
            self.next = if number == self.max { 1 } else { number + 1 };
        }
        claimed
    }

    /// Gives a number back.
    pub(super) fn free(&mut self, number: u32) {
        self.used.remove(&number);
    }

    /// The first free number in first..=last. Used numbers mostly are a run behind `next`, so this looks at few.
    fn free_from(&self, first: u32, last: u32) -> Option<u32> {
        if first > last {
            return None;
        }
        let mut candidate = first;
        for used in self.used.range(first..=last) {
            if *used != candidate {
                break;
            }
            candidate += 1;
        }
        (candidate <= last).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_late_as_possible() {
        let mut numbers = Numbers::new(4);
        assert_eq!([1, 2, 3].map(|_| numbers.take()), [Some(1), Some(2), Some(3)]);
        numbers.free(1);
        assert_eq!(numbers.take(), Some(4));
        assert_eq!(numbers.take(), Some(1));
        assert_eq!(numbers.take(), None);
        numbers.free(3);
        assert_eq!(numbers.take(), Some(3));
        assert_eq!(numbers.take(), None);
    }

    #[test]
    fn claimed_numbers_are_not_handed_out() {
        let mut numbers = Numbers::new(5);
        assert!(numbers.claim(2) && !numbers.claim(2) && !numbers.claim(0) && !numbers.claim(6));
        let taken: Vec<_> = (0..5).map(|_| numbers.take()).collect();
        assert_eq!(taken, [Some(3), Some(4), Some(5), Some(1), None]);
    }
}
