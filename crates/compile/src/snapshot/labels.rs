//! Names and values of an object's labels or annotations in; the few words that most objects have, without a tree, out.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Labels, annotations or a selector: sorted by name, each name once. A tree would cost 400 bytes for a single label.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Box<str>> {
        self.0.get(self.find(name).ok()?).map(|(_, value)| value)
    }

    /// Whether there is such a name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Box<str>, &Box<str>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Box<str>> {
        self.0.iter().map(|(name, _)| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a value.
    pub fn insert(&mut self, name: Box<str>, value: Box<str>) {
        match self.find(&name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                let mut pairs = std::mem::take(&mut self.0).into_vec();
                pairs.insert(at, (name, value));
                self.0 = pairs.into();
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a Box<str>, &'a Box<str>);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (Box<str>, Box<str>)>, fn(&'a (Box<str>, Box<str>)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl IntoIterator for Labels {
    type Item = (Box<str>, Box<str>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

/// Of a name that comes twice, the last value counts, as in JSON.
impl FromIterator<(Box<str>, Box<str>)> for Labels {
    fn from_iter<T: IntoIterator<Item = (Box<str>, Box<str>)>>(pairs: T) -> Self {
        let mut sorted: Vec<_> = pairs.into_iter().collect();
        sorted.reverse();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        sorted.dedup_by(|(later, _), (kept, _)| later == kept);
        Self(sorted.into())
    }
}

impl<const N: usize> From<[(Box<str>, Box<str>); N]> for Labels {
    fn from(pairs: [(Box<str>, Box<str>); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<Box<str>, Box<str>>()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_counts_and_order_is_by_name() {
        let labels: Labels = serde_json::from_str(r#"{"b":"1","a":"2","b":"3","ab":"4"}"#).unwrap();
        assert_eq!(format!("{labels:?}"), r#"{"a": "2", "ab": "4", "b": "3"}"#);
        assert_eq!(labels.get("b").map(|value| &**value), Some("3"));
        assert!(labels.contains_key("ab") && !labels.contains_key("c") && !labels.is_empty());
        assert!(serde_json::from_str::<Labels>("[]").is_err());
    }
}
