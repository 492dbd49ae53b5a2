//! How lists merge: for each list of the API, by which key strategic patches and server-side apply tell items apart.
//!
//! Facts of the Kubernetes API, written down here; the schemas of the dependency do not carry them.

/// How the items of a list relate to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListKind {
    /// Strategic merge: items with the same value of this field are one. Empty in a list of plain values that is
    /// merged as a set.
    pub merge_key: Option<&'static str>,
    /// Server-side apply: the fields that together name an item.
    pub map_keys: &'static [&'static str],
    /// Server-side apply: a set of plain values.
    pub set: bool,
}

const fn by(merge_key: &'static str, map_keys: &'static [&'static str]) -> ListKind {
    ListKind { merge_key: Some(merge_key), map_keys, set: false }
}

const SET: ListKind = ListKind { merge_key: Some(""), map_keys: &[], set: true };

/// A set for server-side apply alone.
const APPLIED_SET: ListKind = ListKind { merge_key: None, map_keys: &[], set: true };

/// (definition, field, kind). A list that is not here is atomic: replaced as a whole.
const LISTS: &[(&str, &str, ListKind)] = &[
    ("ObjectMeta", "finalizers", SET),
    ("ObjectMeta", "ownerReferences", by("uid", &["uid"])),
    // The strategic key is `port` alone: a historic fault of the API that clients depend on.
    ("ServiceSpec", "ports", by("port", &["port", "protocol"])),
    ("ServiceStatus", "conditions", by("type", &["type"])),
    ("ServiceAccount", "secrets", by("name", &["name"])),
    ("PodSpec", "containers", by("name", &["name"])),
    ("PodSpec", "initContainers", by("name", &["name"])),
    ("PodSpec", "ephemeralContainers", by("name", &["name"])),
    ("PodSpec", "volumes", by("name", &["name"])),
    ("PodSpec", "imagePullSecrets", by("name", &["name"])),
    ("PodSpec", "hostAliases", by("ip", &["ip"])),
    ("PodSpec", "topologySpreadConstraints", by("topologyKey", &["topologyKey", "whenUnsatisfiable"])),
    ("PodSpec", "resourceClaims", by("name", &["name"])),
    ("PodSpec", "schedulingGates", by("name", &["name"])),
    ("PodStatus", "conditions", by("type", &["type"])),
    ("PodStatus", "podIPs", by("ip", &["ip"])),
    ("PodStatus", "hostIPs", ListKind { merge_key: Some("ip"), map_keys: &[], set: false }),
    ("PodStatus", "resourceClaimStatuses", by("name", &["name"])),
    ("Container", "ports", by("containerPort", &["containerPort", "protocol"])),
    ("Container", "env", by("name", &["name"])),
    ("Container", "volumeMounts", by("mountPath", &["mountPath"])),
    ("Container", "volumeDevices", by("devicePath", &["devicePath"])),
    ("EphemeralContainer", "ports", by("containerPort", &["containerPort", "protocol"])),
    ("EphemeralContainer", "env", by("name", &["name"])),
    ("EphemeralContainer", "volumeMounts", by("mountPath", &["mountPath"])),
    ("EphemeralContainer", "volumeDevices", by("devicePath", &["devicePath"])),
    ("ContainerStatus", "volumeMounts", by("mountPath", &["mountPath"])),
    ("ContainerStatus", "allocatedResourcesStatus", by("name", &["name"])),
    // A set for server-side apply only: a strategic patch replaces the addresses of an endpoint.
    ("Endpoint", "addresses", APPLIED_SET),
    ("PodFailurePolicyOnExitCodesRequirement", "values", APPLIED_SET),
    ("ContainerRestartRuleOnExitCodes", "values", APPLIED_SET),
    ("NodeAllocatableResourceClaimStatus", "containers", APPLIED_SET),
    ("ResourceStatus", "resources", ListKind { merge_key: None, map_keys: &["resourceID"], set: false }),
    ("ResourceRequirements", "claims", ListKind { merge_key: None, map_keys: &["name"], set: false }),
    ("NodeSpec", "podCIDRs", SET),
    ("NodeStatus", "addresses", by("type", &["type"])),
    ("NodeStatus", "conditions", by("type", &["type"])),
    ("NamespaceStatus", "conditions", by("type", &["type"])),
    ("DeploymentStatus", "conditions", by("type", &["type"])),
    ("ReplicaSetStatus", "conditions", by("type", &["type"])),
    ("ReplicationControllerStatus", "conditions", by("type", &["type"])),
    ("StatefulSetStatus", "conditions", by("type", &["type"])),
    ("DaemonSetStatus", "conditions", by("type", &["type"])),
    ("PersistentVolumeClaimStatus", "conditions", by("type", &["type"])),
    // Atomic for server-side apply.
    ("JobStatus", "conditions", ListKind { merge_key: Some("type"), map_keys: &[], set: false }),
    ("UncountedTerminatedPods", "failed", ListKind { merge_key: None, map_keys: &[], set: true }),
    ("UncountedTerminatedPods", "succeeded", ListKind { merge_key: None, map_keys: &[], set: true }),
    ("ServiceCIDRStatus", "conditions", by("type", &["type"])),
];

/// Structures of which at most one member may be set: a strategic patch lists what stays in `$retainKeys`.
const ONE_OF: &[(&str, &str)] = &[
    ("DeploymentSpec", "strategy"),
    ("PodSpec", "volumes"),
    ("PodSpec", "resourceClaims"),
    ("PodStatus", "resourceClaimStatuses"),
];

/// How a list field merges.
pub fn list_kind(definition: &str, field: &str) -> ListKind {
    let found = LISTS.iter().find(|(owner, name, _)| *owner == definition && *name == field);
    found.map_or_else(ListKind::default, |(_, _, kind)| *kind)
}

/// Whether patches of a field carry `$retainKeys`.
pub fn retains_keys(definition: &str, field: &str) -> bool {
    ONE_OF.contains(&(definition, field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schema, Type};

    /// A misspelt row would silently make a list atomic.
    #[test]
    fn every_row_names_a_list_of_the_schema() {
        for (definition, field, kind) in LISTS {
            let suffix = format!(".{definition}");
            let mut found = Schema::get().definitions().filter(|known| known.name.ends_with(&suffix));
            let found = found.next().unwrap_or_else(|| panic!("no definition {definition}"));
            let Type::List(items) = &found.fields[*field].r#type else { panic!("{definition}.{field} is no list") };
            if let Type::Object(id) = &**items {
                let fields = &Schema::get().definition(*id).fields;
                for key in kind.map_keys.iter().chain(&kind.merge_key) {
                    assert!(fields.contains_key(*key), "{definition}.{field} has no key {key}");
                }
            }
        }
    }
}
