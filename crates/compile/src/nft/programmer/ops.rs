//! Differences between two sets of elements as operations with an order in which every prefix is safe.

use std::collections::{BTreeMap, BTreeSet};

use super::batches::Group;
use crate::nft::held::{Place, element};
use crate::nft::state::{Element, SetName, Value};

/// One step that must not be taken apart: a deletion, an addition, or both at the same place.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) delete: Option<Element>,
    pub(super) add: Option<Element>,
}

impl Op {
    /// When in the order this belongs: what leads to an endpoint comes after the endpoint, and goes before it.
    ///
    /// A packet finds frontend -> set -> slot -> endpoint. So additions go from the endpoint to the frontend and
    /// removals from the frontend to the endpoint; a change in place only ever names what is already there.
    pub(super) fn stage(&self) -> u8 {
        let set = self.add.as_ref().or(self.delete.as_ref()).map(|element| element.set);
        let depth = set.map_or(0, depth);
        match (&self.delete, &self.add) {
            (None, _) => 3 - depth,
            (Some(_), Some(_)) => 4,
            (Some(_), None) => 5 + depth,
        }
    }
}

/// How many steps from the destination address.
fn depth(set: SetName) -> u8 {
    match set {
        SetName::Front4 | SetName::Front6 | SetName::Nodeport4 | SetName::Nodeport6 => 0,
        SetName::SetCluster | SetName::SetLocal | SetName::LbAllow4 | SetName::LbAllow6 => 1,
        SetName::Slots => 2,
        _ => 3,
    }
}

/// What must be done to get from `before` to `after`, in safe order. The kernel cannot change a value in place
/// (EEXIST): a change is a deletion and an addition in one transaction.
pub(super) fn diff(before: &BTreeMap<Place, Value>, after: &BTreeMap<Place, Value>) -> Vec<Op> {
    let mut ops = Vec::new();
    let delete = |place: &Place| element(place.clone(), Value::default());
    for (place, value) in before {
        match after.get(place) {
            Some(same) if same == value => {}
            Some(new) => {
                ops.push(Op { delete: Some(delete(place)), add: Some(element(place.clone(), new.clone())) });
            }
            None => ops.push(Op { delete: Some(delete(place)), add: None }),
        }
    }
    for (place, value) in after.iter().filter(|(place, _)| !before.contains_key(*place)) {
        ops.push(Op { delete: None, add: Some(element(place.clone(), value.clone())) });
    }
    ops.sort_by_key(Op::stage);
    ops
}

/// A frontend that moves from one Service to another is deleted by one group and added by another; the deletion moves
/// to the addition, so that both are in one transaction and the address is never without an owner.
pub(super) fn hand_over(groups: &mut [Group], moved: &BTreeSet<Place>) {
    for (set, key) in moved {
        let at = |element: &Option<Element>| {
            element.as_ref().is_some_and(|element| element.set == *set && element.key == *key)
        };
        let adder = groups.iter().position(|group| group.ops.iter().any(|op| at(&op.add) && op.delete.is_none()));
        let deleter = groups.iter().position(|group| group.ops.iter().any(|op| at(&op.delete) && op.add.is_none()));
        let (Some(adder), Some(deleter)) = (adder, deleter) else { continue };
        let mut deletion = None;
        groups[deleter].ops.retain_mut(|op| {
            let found = at(&op.delete) && op.add.is_none();
            if found {
                deletion = op.delete.take();
            }
            !found
        });
        if let Some(op) = groups[adder].ops.iter_mut().find(|op| at(&op.add)) {
            op.delete = deletion;
        }
        // The change in place now has another stage than the bare addition had.
        groups[adder].ops.sort_by_key(Op::stage);
    }
}
