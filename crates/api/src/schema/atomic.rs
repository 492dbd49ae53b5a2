//! Which structures and maps server-side apply owns as a whole: facts of the Kubernetes API, written down here.

/// Structures that are always atomic.
const STRUCTURES: &[&str] = &[
    "ConfigMapKeySelector",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "ServiceBackendPort",
    "TypedLocalObjectReference",
];

/// Maps that are atomic: (definition, field).
const MAPS: &[(&str, &str)] = &[
    ("ServiceSpec", "selector"),
    ("PodSpec", "nodeSelector"),
    ("Scheduling", "nodeSelector"),
    ("ReplicationControllerSpec", "selector"),
];

/// Whether a structure is owned as a whole.
pub fn is_atomic(definition: &str) -> bool {
    STRUCTURES.contains(&definition)
}

/// Whether a map is owned as a whole.
pub fn is_atomic_map(definition: &str, field: &str) -> bool {
    MAPS.contains(&(definition, field))
}
