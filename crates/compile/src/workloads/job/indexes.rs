//! Turns the text of completed indexes, such as `0,2-4`, into a set of numbers, and back.

/// Numbers as ranges: in order, without overlap, both ends included.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// The numbers below `limit` that a text names; what cannot be read counts as nothing.
    pub(super) fn parse(text: &str, limit: i64) -> Self {
        let mut indexes = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>())
                && first >= 0
                && first < limit
            {
                indexes.put(first, last.min(limit - 1));
            }
        }
        indexes
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, index: i64) {
        self.put(index, index);
    }

    fn put(&mut self, first: i64, last: i64) {
        if first > last {
            return;
        }
        let start = self.0.partition_point(|range| range.1 < first - 1);
        let end = self.0.partition_point(|range| range.0 <= last + 1);
        let joined =
            self.0[start..end].iter().fold((first, last), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.0.splice(start..end, [joined]);
    }

    /// Whether a number is among them.
    pub(super) fn contains(&self, index: i64) -> bool {
        let at = self.0.partition_point(|range| range.1 < index);
        self.0.get(at).is_some_and(|range| range.0 <= index)
    }

    /// How many there are.
    pub(super) fn count(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many of them are also in another set.
    pub(super) fn common(&self, other: &Self) -> i64 {
        let overlap = |one: &(i64, i64), two: &(i64, i64)| (one.1.min(two.1) - one.0.max(two.0) + 1).max(0);
        self.0.iter().flat_map(|one| other.0.iter().map(move |two| overlap(one, two))).sum()
    }

    /// As Kubernetes writes them.
    pub(super) fn text(&self) -> String {
        let range = |(first, last): &(i64, i64)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        self.0.iter().map(range).collect::<Vec<_>>().join(",")
    }

    /// The numbers below `limit` that are not among them.
    pub(super) fn missing(&self, limit: i64) -> impl Iterator<Item = i64> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|range| range.1 + 1));
        let ends = self.0.iter().map(|range| range.0).chain([limit]);
        starts.zip(ends).flat_map(move |(start, end)| start..end.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts() {
        for text in ["", "0", "0,1", "0-2", "0,2-4,9"] {
            assert_eq!(Indexes::parse(text, 10).text(), text);
        }
        assert_eq!(Indexes::parse("0,2-4,x,-1,7-99", 9).text(), "0,2-4,7,8");
        assert_eq!(Indexes::parse("0,2-4", 9).common(&Indexes::parse("0-2,4,8", 9)), 3);
        assert_eq!(Indexes::parse("0,2-4", 9).missing(7).collect::<Vec<_>>(), [1, 5, 6]);
    }

    proptest! {
        #[test]
        fn they_are_a_set(numbers in proptest::collection::vec(0_i64..40, 0..60)) {
            let mut indexes = Indexes::default();
            numbers.iter().for_each(|number| indexes.insert(*number));
            let set: BTreeSet<i64> = numbers.into_iter().collect();
            prop_assert_eq!(indexes.count(), i64::try_from(set.len()).unwrap());
            for number in 0..40 {
                prop_assert_eq!(indexes.contains(number), set.contains(&number));
            }
            let missing: Vec<i64> = (0..30).filter(|number| !set.contains(number)).collect();
            prop_assert_eq!(indexes.missing(30).collect::<Vec<_>>(), missing);
            prop_assert_eq!(Indexes::parse(&indexes.text(), 40), indexes);
        }
    }
}
