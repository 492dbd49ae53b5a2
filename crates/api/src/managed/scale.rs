//! Owners of an object into owners of its Scale, which is its number of replicas alone, and back.

use super::owners::{Held, Owners};
use super::set::FieldSet;
use super::step::Step;

/// Version of a Scale.
pub(super) const VERSION: &str = "autoscaling/v1";

/// Those owners of an object that own its number of replicas, as owners of its Scale.
pub fn scale_owners(parent: &Owners) -> Owners {
    let path = path();
    let mut scale = Owners::default();
    for (owner, held) in parent.0.iter().filter(|(_, held)| held.set.has(&path)) {
        let set = FieldSet::of(&[&["spec", "replicas"]]);
        let held = Held { api_version: VERSION.to_owned(), set, time: held.time.clone() };
        scale.0.insert(owner.clone(), held);
    }
    scale
}

/// Owners of an object after its Scale was written: who no longer owns the Scale's replicas loses the object's.
pub fn with_scale_owners(parent: &Owners, mut scale: Owners, api_version: &str) -> Owners {
    let path = path();
    let replicas = FieldSet::of(&[&["spec", "replicas"]]);
    let mut all = Owners::default();
    for (owner, held) in &parent.0 {
        let mut held = held.clone();
        if held.set.has(&path) && scale.0.remove(owner).is_none() {
            held.set = held.set.difference(&replicas);
        }
        if !held.set.is_empty() {
            all.0.insert(owner.clone(), held);
        }
    }
    for (owner, _) in scale.0.into_iter().filter(|(_, held)| held.set.has(&path)) {
        // A Scale keeps no time of its own, as in Kubernetes.
        let time = parent.0.get(&owner).map(|held| held.time.clone()).unwrap_or_default();
        all.0.insert(owner, Held { api_version: api_version.to_owned(), set: replicas.clone(), time });
    }
    all
}

/// The path of the number of replicas, in an object and in its Scale.
fn path() -> [Step; 2] {
    [Step::Field("spec".to_owned()), Step::Field("replicas".to_owned())]
}
