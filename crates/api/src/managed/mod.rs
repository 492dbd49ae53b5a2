//! Who owns which field: an object, what a client wrote and `metadata.managedFields` in, the merged object and the
//! owners after it out. The rules are those of Kubernetes' server-side apply.

mod apply;
mod check;
mod compare;
mod fields;
mod merge;
mod owners;
mod prune;
mod scale;
mod set;
mod shape;
mod skeleton;
mod step;
mod update;

#[cfg(test)]
mod tests;

pub use apply::{Applied, Conflict, Fault};
pub use owners::{Held, Operation, Owner, Owners, is_reset};
pub use scale::{scale_owners, with_scale_owners};
pub use set::FieldSet;
pub use step::{Scalar, Step};

use crate::kind::Kind;
use crate::schema::{DefinitionId, Schema};

/// Who writes, to what, and when.
#[derive(Clone, Debug)]
pub struct Writer<'w> {
    /// Type of what is written.
    definition: DefinitionId,
    /// Version of what is written, with its group.
    api_version: String,
    /// Kind of what is written.
    kind: &'w str,
    /// Subresource written to, empty for the object itself.
    subresource: &'w str,
    /// Name of the manager.
    manager: &'w str,
    /// Now, as an entry shows it.
    now: &'w str,
    /// Fields that this kind of write does not touch.
    ignored: FieldSet,
}

impl<'w> Writer<'w> {
    /// A writer of objects of a kind. `now` is written into the entries that change.
    pub fn new(kind: &'w Kind, subresource: &'w str, manager: &'w str, now: &'w str) -> Option<Self> {
        Some(Self {
            definition: Schema::get().of_kind(kind)?,
            api_version: kind.api_version(),
            kind: kind.kind,
            subresource,
            manager,
            now,
            ignored: ignored(kind, subresource),
        })
    }

    /// A writer of the `autoscaling/v1` Scale of an object.
    pub fn of_scale(manager: &'w str, now: &'w str) -> Option<Self> {
        Some(Self {
            definition: Schema::get().by_name("io.k8s.api.autoscaling.v1.Scale")?,
            api_version: scale::VERSION.to_owned(),
            kind: "Scale",
            subresource: "scale",
            manager,
            now,
            ignored: FieldSet::default(),
        })
    }

    fn owner(&self, operation: Operation) -> Owner {
        Owner::new(self.manager, operation, &self.api_version, self.subresource)
    }
}

/// What a write to a subresource, or to the object itself, leaves alone.
fn ignored(kind: &Kind, subresource: &str) -> FieldSet {
    match (subresource, kind.kind) {
        ("status", "Pod") => {
            FieldSet::of(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        ("status", "Deployment") => FieldSet::of(&[&["spec"], &["metadata", "labels"]]),
        ("status", _) => FieldSet::of(&[&["spec"]]),
        _ if kind.subresources.contains(&"status") => FieldSet::of(&[&["status"]]),
        _ => FieldSet::default(),
    }
}
