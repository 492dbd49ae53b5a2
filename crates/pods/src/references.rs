//! ConfigMaps and Secrets a Pod refers to: their names in, their contents out.

use std::collections::{BTreeMap, BTreeSet};

use api::kinds::{CONFIG_MAP, SECRET};
use api::object::ObjectKey;
use contract::access::Access;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

/// Contents by kind and name.
#[derive(Debug, Default)]
pub struct References(BTreeMap<(&'static str, String), BTreeMap<String, Vec<u8>>>);

impl References {
    /// Reads everything that the Pod refers to. What does not exist is left out; using it then is the error.
    pub async fn load(access: &dyn Access, pod: &Pod) -> Self {
        let mut loaded = Self::default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        for (kind, name) in needed(pod) {
            let key = ObjectKey::new(namespace.as_str(), name.as_str());
            let of = if kind == "Secret" { &SECRET } else { &CONFIG_MAP };
            let Ok(object) = access.get(of, &key).await else { continue };
            let contents = if kind == "Secret" { of_secret(&object.json) } else { of_config_map(&object.json) };
            loaded.0.insert((kind, name), contents);
        }
        loaded
    }

    /// Everything in one object.
    pub fn all(&self, kind: &'static str, name: &str, optional: bool) -> Result<BTreeMap<String, Vec<u8>>, String> {
        match self.0.get(&(kind, name.to_owned())) {
            Some(found) => Ok(found.clone()),
            None if optional => Ok(BTreeMap::new()),
            None => Err(format!("{} \"{name}\" not found", kind.to_lowercase())),
        }
    }

    /// One key of one object.
    pub fn one(&self, kind: &'static str, name: &str, key: &str, optional: bool) -> Result<Option<Vec<u8>>, String> {
        match self.all(kind, name, optional)?.remove(key) {
            None if !optional => Err(format!("couldn't find key {key} in {kind} {name}")),
            found => Ok(found),
        }
    }
}

fn needed(pod: &Pod) -> BTreeSet<(&'static str, String)> {
    let mut needed = BTreeSet::new();
    let Some(spec) = &pod.spec else { return needed };
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for source in container.env_from.iter().flatten() {
            needed.extend(source.config_map_ref.iter().map(|source| ("ConfigMap", source.name.clone())));
            needed.extend(source.secret_ref.iter().map(|source| ("Secret", source.name.clone())));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            needed.extend(source.config_map_key_ref.iter().map(|source| ("ConfigMap", source.name.clone())));
            needed.extend(source.secret_key_ref.iter().map(|source| ("Secret", source.name.clone())));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        needed.extend(volume.config_map.iter().map(|source| ("ConfigMap", source.name.clone())));
        let secret = volume.secret.as_ref().and_then(|source| source.secret_name.clone());
        needed.extend(secret.map(|name| ("Secret", name)));
    }
    needed
}

fn of_config_map(json: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let Ok(map) = serde_json::from_slice::<ConfigMap>(json) else { return BTreeMap::new() };
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value))).collect()
}

fn of_secret(json: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let Ok(secret) = serde_json::from_slice::<Secret>(json) else { return BTreeMap::new() };
    secret.data.unwrap_or_default().into_iter().map(|(key, ByteString(value))| (key, value)).collect()
}
