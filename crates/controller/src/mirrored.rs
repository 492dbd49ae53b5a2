//! EndpointSlices as they change in; those that mirror Endpoints out, by Service.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;
use compile::endpoints::MANAGED_BY;
use compile::endpoints::mirror::{MIRROR, Mirrored};
use compile::workloads::objects::Meta;
use contract::access::Object;

/// Mirrored slices.
#[derive(Default)]
pub(crate) struct Slices {
    by_key: BTreeMap<ObjectKey, Mirrored>,
    of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Slices {
    /// Takes in a slice; returns the Services to look at again: none, unless it is or was a mirrored one.
    pub(crate) fn put(&mut self, meta: &Meta, object: &Object) -> Result<Vec<ObjectKey>, serde_json::Error> {
        let mut touched = self.delete(&object.key);
        if meta.labels.get(MANAGED_BY).is_some_and(|manager| **manager == *MIRROR) {
            let value = serde_json::from_slice(&object.json)?;
            if let Some(mirrored) = Mirrored::of(&object.key, &value, object.revision) {
                touched.push(mirrored.service.clone());
                self.of.entry(mirrored.service.clone()).or_default().insert(object.key.clone());
                self.by_key.insert(object.key.clone(), mirrored);
            }
        }
        Ok(touched)
    }

    /// Takes in that a slice is gone; returns the Services to look at again.
    pub(crate) fn delete(&mut self, key: &ObjectKey) -> Vec<ObjectKey> {
        let Some(gone) = self.by_key.remove(key) else { return Vec::new() };
        if let Some(slices) = self.of.get_mut(&gone.service) {
            slices.remove(key);
            if slices.is_empty() {
                self.of.remove(&gone.service);
            }
        }
        vec![gone.service]
    }

    /// The mirrored slices of a Service.
    pub(crate) fn of(&self, service: &ObjectKey) -> Vec<&Mirrored> {
        self.of.get(service).into_iter().flatten().filter_map(|key| self.by_key.get(key)).collect()
    }
}
