//! A merged object without the fields that its applier dropped, unless somebody else owns them.

use serde_json::Value;

use super::fields::{fields_of, remove, with_named};
use super::owners::Owners;
use super::set::FieldSet;
use super::shape::Shape;

/// Drops what `last` (the fields applied before) holds and no owner holds now.
pub(super) fn prune(shape: Shape<'_>, merged: Value, owners: &Owners, last: Option<&FieldSet>) -> Value {
    let Some(last) = last.filter(|last| !last.is_empty()) else { return merged };
    let last = with_named(shape, last);
    let all = with_named(shape, &fields_of(shape, &merged));
    let mut owned = FieldSet::default();
    for held in owners.0.values() {
        owned = owned.union(&held.set);
    }
    let owned = with_named(shape, &owned);
    // Without everything applied before, then with what is owned now, whoever by.
    let bare = remove(shape, &merged, &last);
    let kept = with_named(shape, &fields_of(shape, &bare)).union(&owned);
    let pruned = remove(shape, &merged, &all.difference(&kept));
    // What went along with a dropped field but was never applied is not the applier's to drop.
    let left = with_named(shape, &fields_of(shape, &pruned));
    remove(shape, &merged, &all.difference(&left).intersection(&last))
}
