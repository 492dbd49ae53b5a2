//! Which plain fields vanish when they hold "", 0 or false: Kubernetes' types cannot tell those from nothing.
//!
//! People write some of them by hand (`clusterIP: ""` and `nodePort: 0` ask for an allocation), and clients that speak
//! protobuf send all of them. A field that is not here keeps what it holds, because in most of them
//! (`loadBalancerClass`, the name of an EndpointSlice port) an empty text is a value of its own. Statuses are left as their controllers write them.

const FIELDS: &[(&str, &[&str])] = &[
    ("ObjectMeta", &["generateName", "generation", "name", "namespace", "resourceVersion", "selfLink", "uid"]),
    (
        "ServiceSpec",
        &[
            "clusterIP",
            "externalName",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "loadBalancerIP",
            "publishNotReadyAddresses",
            "sessionAffinity",
            "type",
        ],
    ),
    ("ServicePort", &["name", "nodePort", "protocol"]),
    (
        "PodSpec",
        &[
            "dnsPolicy",
            "hostIPC",
            "hostNetwork",
            "hostPID",
            "hostname",
            "nodeName",
            "priorityClassName",
            "restartPolicy",
            "schedulerName",
            "serviceAccount",
            "serviceAccountName",
            "subdomain",
        ],
    ),
    ("Container", CONTAINER),
    ("EphemeralContainer", CONTAINER),
    ("ContainerPort", &["hostIP", "hostPort", "name", "protocol"]),
    ("EnvVar", &["value"]),
    ("VolumeMount", &["readOnly", "subPath", "subPathExpr"]),
    ("Probe", &["failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds"]),
    ("HTTPGetAction", &["host", "path", "scheme"]),
    ("TCPSocketAction", &["host"]),
    ("Toleration", &["effect", "key", "operator", "value"]),
    ("EmptyDirVolumeSource", &["medium"]),
    ("ObjectReference", &["apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"]),
    ("Event", &["action", "count", "message", "reason", "reportingComponent", "reportingInstance", "type"]),
    ("EventSource", &["component", "host"]),
    ("DeploymentSpec", &["minReadySeconds", "paused"]),
    ("DeploymentStrategy", &["type"]),
    ("ReplicaSetSpec", &["minReadySeconds"]),
    ("StatefulSetSpec", &["minReadySeconds", "podManagementPolicy"]),
    ("StatefulSetUpdateStrategy", &["type"]),
    ("DaemonSetSpec", &["minReadySeconds"]),
    ("DaemonSetUpdateStrategy", &["type"]),
    ("NodeSpec", &["podCIDR", "providerID", "unschedulable"]),
    ("Secret", &["type"]),
    ("IngressRule", &["host"]),
    ("HTTPIngressPath", &["path"]),
    ("ServiceBackendPort", &["name", "number"]),
    ("IngressTLS", &["secretName"]),
    ("IngressClassSpec", &["controller"]),
    ("ParentReference", &["group", "namespace"]),
    ("PriorityClass", &["description", "globalDefault"]),
];

const CONTAINER: &[&str] = &[
    "image",
    "imagePullPolicy",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "workingDir",
];

/// Whether a field that holds "", 0 or false counts as not given.
pub(super) fn zero_is_absent(definition: &str, field: &str) -> bool {
    FIELDS.iter().any(|(owner, fields)| *owner == definition && fields.contains(&field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schema, Type};

    /// A misspelt row would silently do nothing.
    #[test]
    fn every_row_names_a_plain_optional_field_of_the_schema() {
        for (definition, fields) in FIELDS {
            let suffix = format!(".{definition}");
            let mut found = Schema::get().definitions().filter(|known| known.name.ends_with(&suffix));
            let found = found.next().unwrap_or_else(|| panic!("no definition {definition}"));
            for name in *fields {
                let field = found.fields.get(*name).unwrap_or_else(|| panic!("{definition} has no {name}"));
                let plain = matches!(field.r#type, Type::String | Type::Integer { .. } | Type::Boolean);
                assert!(plain && !field.required, "{definition}.{name} is {:?}", field.r#type);
            }
        }
    }
}
