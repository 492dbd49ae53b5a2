//! Differences between two sets of elements as operations with an order in which every prefix is safe.

use std::collections::BTreeMap;

use crate::nft::held::{Place, element};
use crate::nft::rules::bits::{PICK_FIRST, W_PICK};
use crate::nft::state::{Element, SetName, Value};
use crate::nft::words;

/// One step that must not be taken apart: a deletion, an addition, or both at the same place.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) delete: Option<Element>,
    pub(super) add: Option<Element>,
    /// The next operation must be in the same transaction.
    pub(super) with_next: bool,
    stage: u8,
}

impl Op {
    /// A packet finds frontend -> set -> slot -> endpoint. So additions go from the endpoint to the frontend and
    /// removals from the frontend to the endpoint; a change in place only ever names what is already there. A frontend
    /// that is changed to another set finds that set ready, and leaves its old one before that is closed; a new
    /// frontend comes last, so that nobody new meets what is about to change.
    fn new(delete: Option<Element>, add: Option<Element>) -> Self {
        let set = add.as_ref().or(delete.as_ref()).map(|element| element.set);
        let depth = set.map_or(0, depth);
        let stage = match (&delete, &add) {
            (None, _) if depth == 0 => NEW_FRONTEND,
            (None, _) => DEEPEST - depth,
            (Some(_), Some(_)) if depth == 0 => FRONTEND,
            (Some(_), Some(new)) if closes(new) => CLOSED,
            (Some(_), Some(_)) => IN_PLACE,
            (Some(_), None) => NEW_FRONTEND + 1 + depth,
        };
        Self { delete, add, with_next: false, stage }
    }
}

const DEEPEST: u8 = 4;
const IN_PLACE: u8 = DEEPEST + 1;
const FRONTEND: u8 = IN_PLACE + 1;
const CLOSED: u8 = FRONTEND + 1;
const NEW_FRONTEND: u8 = CLOSED + 1;

/// Whether this is a set from which nothing can be chosen.
fn closes(element: &Element) -> bool {
    let choice = words::word(&element.value).filter(|_| depth(element.set) == 1);
    choice.is_some_and(|choice| choice & W_PICK < PICK_FIRST)
}

/// How many steps from the destination address. Identities go last: as long as one is there, a restart still knows
/// which flows to end.
fn depth(set: SetName) -> u8 {
    match set {
        SetName::Front4 | SetName::Front6 | SetName::Nodeport4 | SetName::Nodeport6 => 0,
        SetName::SetCluster | SetName::SetLocal | SetName::LbAllow4 | SetName::LbAllow6 => 1,
        SetName::Special | SetName::Slots => 2,
        SetName::CtIds => DEEPEST,
        _ => 3,
    }
}

/// What must be done to get from `before` to `after`, in safe order. The kernel cannot change a value in place
/// (EEXIST): a change is a deletion and an addition in one transaction.
pub(super) fn diff(before: &BTreeMap<Place, Value>, after: &BTreeMap<Place, Value>) -> Vec<Op> {
    let mut ops = Vec::new();
    let delete = |place: &Place| Some(element(place.clone(), Value::default()));
    let add = |place: &Place, value: &Value| Some(element(place.clone(), value.clone()));
    for (place, value) in before {
        match after.get(place) {
            Some(same) if same == value => {}
            Some(new) => ops.push(Op::new(delete(place), add(place, new))),
            None => ops.push(Op::new(delete(place), None)),
        }
    }
    let new = after.iter().filter(|(place, _)| !before.contains_key(*place));
    ops.extend(new.map(|(place, value)| Op::new(None, add(place, value))));
    let mut ops = swaps(ops);
    ops.sort_by_key(|op| op.stage);
    ops
}

/// Ranges must not overlap at any moment (the kernel says ENOTEMPTY), and a wider range may replace narrower ones: all
/// changes of a list of ranges from which some go and to which some come are one transaction.
fn swaps(ops: Vec<Op>) -> Vec<Op> {
    let mut lists: BTreeMap<Place, Vec<Op>> = BTreeMap::new();
    let mut rest = Vec::with_capacity(ops.len());
    for op in ops {
        match op.add.as_ref().or(op.delete.as_ref()).and_then(list_of) {
            Some(list) => lists.entry(list).or_default().push(op),
            None => rest.push(op),
        }
    }
    for mut list in lists.into_values() {
        let swapped = list.iter().any(|op| op.add.is_some()) && list.iter().any(|op| op.delete.is_some());
        if swapped {
            list.iter_mut().for_each(|op| (op.stage, op.with_next) = (FRONTEND, true));
            list.iter_mut().rev().take(1).for_each(|last| last.with_next = false);
        }
        rest.extend(list);
    }
    rest
}

/// The list that a range is in: that of its set, or of its frontend.
fn list_of(element: &Element) -> Option<Place> {
    let head = match element.set {
        SetName::Pods4
        | SetName::Pods6
        | SetName::PodInterfaces
        | SetName::Egress4
        | SetName::Egress6
        | SetName::ServiceCidrs4
        | SetName::ServiceCidrs6 => 0,
        SetName::LbAllow4 => 4 + 8,
        SetName::LbAllow6 => 16 + 8,
        _ => return None,
    };
    Some((element.set, element.key.get(..head)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(set: SetName, key: u8) -> Place {
        (set, vec![key; 32].into())
    }

    #[test]
    fn what_leads_to_an_endpoint_comes_after_it_and_goes_before_it() {
        let value = |byte: u8| Value::from([byte; 4]);
        let way = [SetName::CtIds, SetName::Ep4, SetName::Slots, SetName::SetCluster, SetName::Front4];
        let before: BTreeMap<_, _> = way.map(|set| (place(set, 1), value(1))).into();
        let mut after: BTreeMap<_, _> = way.map(|set| (place(set, 2), value(2))).into();
        let sets = |ops: &[Op]| -> Vec<SetName> {
            ops.iter().filter_map(|op| op.add.as_ref().or(op.delete.as_ref())).map(|element| element.set).collect()
        };
        let back: Vec<SetName> = way.into_iter().rev().collect();
        assert_eq!(sets(&diff(&before, &after)), [&way[..], &back].concat());
        after.extend(before.keys().map(|place| (place.clone(), value(3))));
        let ops = diff(&before, &after);
        assert_eq!(sets(&ops)[..4], way[..4], "what is named comes first");
        assert!(ops[4..9].iter().all(|op| op.delete.is_some() && op.add.is_some()), "then changes in place");
        assert_eq!(sets(&ops)[9..], [SetName::Front4], "then who is new");
    }

    #[test]
    fn ranges_are_exchanged_at_once_per_list() {
        let range = |key: u8, last: u8| {
            let mut place = place(SetName::LbAllow4, key);
            place.1[31] = last;
            (place, Value::default())
        };
        let before = BTreeMap::from([range(1, 1), range(1, 2), range(2, 1)]);
        let after = BTreeMap::from([range(1, 3), range(3, 1)]);
        let together: Vec<bool> = diff(&before, &after).iter().map(|op| op.with_next).collect();
        assert_eq!(together, [false, true, true, false, false], "new list, exchanged list of three, old list");
    }
}
