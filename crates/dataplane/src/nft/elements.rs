//! Data elements -> netlink, and back: padding, interval ends, and their exact sizes.

use std::collections::BTreeMap;

use compile::nft::expr::{Contents, Set};
use compile::nft::rules::{ALL_SETS, TABLE, describe};
use compile::nft::state::{Element, Key, SetName, State, Value};
use kernel::nl::batch::Batch;
use kernel::nl::nftables::{self, Held, INTERVAL_END};
use kernel::nl::{Socket, limits};

use super::names::Names;
use crate::{Error, Result};

/// What one element adds to a batch.
pub fn encoded_len(element: &Element) -> usize {
    let data = |bytes: usize| 8 + bytes.next_multiple_of(4);
    let (key, value) = (element.key.len(), element.value.len());
    match element.set {
        // A range is two elements; the second carries a flag.
        SetName::Pods4
        | SetName::Pods6
        | SetName::PodInterfaces
        | SetName::Egress4
        | SetName::Egress6
        | SetName::ServiceCidrs4
        | SetName::ServiceCidrs6 => 2 * (4 + data(key / 2)) + 8,
        // Both ends of a range are in one element.
        SetName::LbAllow4 | SetName::LbAllow6 => 4 + 2 * data(key / 2),
        _ if value == 0 => 4 + data(key),
        _ => 4 + data(key) + data(value),
    }
}

/// What a batch of the largest size spends on everything else than elements.
pub(super) fn overhead(send_max: usize) -> usize {
    let headers: usize = ALL_SETS.iter().map(|name| nftables::elements_message_len(TABLE, &describe(*name).name)).sum();
    // Each set may need a message for deletions and one for additions, and one more per full list; other names are a
    // little longer.
    2 * (headers + 4 * ALL_SETS.len()) + (send_max / limits::LIST_BYTES + 1) * 128 + 64
}

/// Appends deletions, then additions, each grouped by set: inside a transaction only that order matters.
pub(super) fn write(batch: &mut Batch, names: &Names, delete: &[Element], add: &[Element]) -> Result<()> {
    for (elements, adding) in [(delete, false), (add, true)] {
        let mut by_set: BTreeMap<SetName, Vec<&Element>> = BTreeMap::new();
        for element in elements {
            by_set.entry(element.set).or_default().push(element);
        }
        for (name, elements) in by_set {
            let set = describe(name);
            let mut parts = Vec::with_capacity(elements.len());
            for element in elements {
                check(&set, element, adding)?;
                if set.interval && set.key.len() == 1 {
                    parts.extend(range(&set, element));
                } else {
                    parts.extend(sent(&set, element));
                }
            }
            if adding {
                nftables::add_elements(batch, TABLE, names.of(&set.name), parts);
            } else {
                nftables::delete_elements(batch, TABLE, names.of(&set.name), parts);
            }
        }
    }
    Ok(())
}

fn check(set: &Set, element: &Element, adding: bool) -> Result<()> {
    let malformed = |bytes, expected| Err(Error::Malformed { set: set.name.clone(), bytes, expected });
    let expected = if set.interval { 2 * set.key_len() } else { set.key_len() };
    if element.key.len() != expected {
        return malformed(element.key.len(), expected);
    }
    let expected = match &set.contents {
        Contents::Data(fields) if adding => fields.iter().map(|field| field.padded()).sum(),
        _ => 0,
    };
    if element.value.len() != expected {
        return malformed(element.value.len(), expected);
    }
    Ok(())
}

/// An element that is one element for the kernel too.
fn sent<'a>(set: &Set, element: &'a Element) -> Option<nftables::Element<'a>> {
    let (key, end) = element.key.split_at_checked(set.key_len())?;
    let key_end = set.interval.then_some(end);
    let value = if element.value.is_empty() { nftables::Value::Nothing } else { nftables::Value::Data(&element.value) };
    Some(nftables::Element { key, key_end, value, flags: 0 })
}

/// A range of single addresses: its first key, and the first key after it unless it reaches the top.
fn range<'a>(set: &Set, element: &'a Element) -> impl Iterator<Item = nftables::Element<'a>> {
    let (start, end) = element.key.split_at(set.key_len());
    let one = |key, flags| nftables::Element { key, key_end: None, value: nftables::Value::Nothing, flags };
    let open = end.iter().all(|byte| *byte == 0);
    [Some(one(start, 0)), (!open).then(|| one(end, INTERVAL_END))].into_iter().flatten()
}

/// Reads every data set.
pub(super) fn read(socket: &mut Socket, names: &Names) -> Result<State> {
    let mut state = State::new();
    for name in ALL_SETS {
        let set = describe(name);
        let held = nftables::elements(socket, TABLE, names.of(&set.name))?;
        let elements: BTreeMap<Key, Value> = if set.interval && set.key.len() == 1 {
            ranges(held, set.key_len())
        } else {
            held.into_iter().map(|one| (whole_key(&one).into(), one.value.into())).collect()
        };
        if !elements.is_empty() {
            state.insert(name, elements);
        }
    }
    Ok(state)
}

/// Key as [`State`] knows it: in interval concatenations both ends.
pub(super) fn whole_key(held: &Held) -> Vec<u8> {
    let mut key = held.key.clone();
    key.extend(held.key_end.iter().flatten());
    key
}

/// Pairs starts with ends; the kernel lists them in any order.
fn ranges(mut held: Vec<Held>, key_len: usize) -> BTreeMap<Key, Value> {
    // Where one range ends and the next starts at the same key, the end belongs to the earlier one.
    held.sort_by_key(|one| (one.key.clone(), one.flags & INTERVAL_END == 0));
    let mut out = BTreeMap::new();
    let mut start: Option<Vec<u8>> = None;
    for one in held {
        if one.flags & INTERVAL_END == 0 {
            start = Some(one.key);
        } else if let Some(mut key) = start.take() {
            key.extend(one.key);
            out.insert(key.into(), Value::default());
        }
    }
    if let Some(mut key) = start {
        key.resize(2 * key_len, 0);
        out.insert(key.into(), Value::default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(set: SetName, key: &[u8], value: &[u8]) -> Element {
        Element { set, key: key.into(), value: value.into() }
    }

    #[test]
    fn the_announced_size_of_an_element_is_the_size_it_has() {
        let samples = [
            element(SetName::Pods4, &[10, 244, 0, 0, 10, 245, 0, 0], &[]),
            element(SetName::Pods6, &[7; 32], &[]),
            element(SetName::PodInterfaces, &[7; 32], &[]),
            element(SetName::Front4, &[1; 12], &[2; 4]),
            element(SetName::Front6, &[1; 24], &[2; 4]),
            element(SetName::LbAllow4, &[1; 32], &[]),
            element(SetName::LbAllow6, &[1; 80], &[]),
            element(SetName::Ep6, &[1; 4], &[2; 20]),
            element(SetName::MembersLocal, &[1; 4], &[]),
        ];
        for sample in samples {
            let size = |count: usize| {
                let mut batch = Batch::new();
                write(&mut batch, &Names::default(), &[], &vec![sample.clone(); count]).unwrap();
                batch.len()
            };
            assert_eq!(size(2) - size(1), encoded_len(&sample), "{sample:?}");
            let mut gone = sample.clone();
            gone.value = Value::default();
            let size = |count: usize| {
                let mut batch = Batch::new();
                write(&mut batch, &Names::default(), &vec![gone.clone(); count], &[]).unwrap();
                batch.len()
            };
            assert_eq!(size(2) - size(1), encoded_len(&gone), "{gone:?}");
        }
    }

    #[test]
    fn elements_of_the_wrong_size_are_refused_before_the_kernel_sees_them() {
        for wrong in [
            element(SetName::Pods4, &[10, 0, 0, 0], &[]),
            element(SetName::Front4, &[1; 12], &[]),
            element(SetName::Front4, &[1; 8], &[2; 4]),
            element(SetName::Hairpin4, &[1; 8], &[1]),
        ] {
            let refused = write(&mut Batch::new(), &Names::default(), &[], &[wrong]);
            assert!(matches!(refused, Err(Error::Malformed { .. })), "{refused:?}");
        }
    }

    #[test]
    fn ranges_are_paired_whatever_the_order_and_adjacent_ones_stay_apart() {
        let held = |key: u8, flags| Held { key: vec![key; 4], flags, ..Held::default() };
        let list = vec![held(9, 0), held(5, 0), held(5, INTERVAL_END), held(7, INTERVAL_END), held(3, 0)];
        let pairs: Vec<Key> = ranges(list, 4).into_keys().collect();
        let pair = |a: u8, b: u8| Key::from([[a; 4], [b; 4]].concat());
        assert_eq!(pairs, [pair(3, 5), pair(5, 7), pair(9, 0)], "the last one reaches the top");
    }
}
