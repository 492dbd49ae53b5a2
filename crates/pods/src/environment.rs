//! A container's environment: its Pod, its addresses and the objects it refers to in, names and values out. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use crate::holder::root::PROGRAMS;
use crate::references::References;

/// The search path of every pod: the built-in programs come first.
pub fn default_path() -> Vec<(String, String)> {
    let path = format!("{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    vec![("PATH".to_owned(), path), ("HOME".to_owned(), "/root".to_owned()), ("TERM".to_owned(), "xterm".to_owned())]
}

/// The environment of a container; the error names the reference that cannot be resolved.
pub fn of(
    pod: &Pod,
    container: &Container,
    addresses: &[IpAddr],
    node_addresses: &[IpAddr],
    references: &References,
) -> Result<Vec<(String, String)>, String> {
    let mut all: BTreeMap<String, String> = default_path().into_iter().collect();
    all.insert("HOSTNAME".to_owned(), pod.metadata.name.clone().unwrap_or_default());
    for (name, path) in [
        ("MAINSTAY_POD", "metadata.name"),
        ("MAINSTAY_NAMESPACE", "metadata.namespace"),
        ("MAINSTAY_NODE", "spec.nodeName"),
    ] {
        all.insert(name.to_owned(), field(pod, path, addresses, node_addresses).unwrap_or_default());
    }
    let ports = container.ports.iter().flatten();
    let ports: Vec<_> =
        ports.map(|port| format!("{}/{}", port.container_port, port.protocol.as_deref().unwrap_or("TCP"))).collect();
    all.insert("MAINSTAY_PORTS".to_owned(), ports.join(","));
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => ("ConfigMap", &map.name, map.optional),
            (_, Some(secret)) => ("Secret", &secret.name, secret.optional),
            _ => continue,
        };
        for (key, value) in references.all(kind, name, optional.unwrap_or(false))? {
            all.insert(format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = value_of(pod, variable, addresses, node_addresses, references)?;
        if let Some(value) = value {
            let value = expand(&value, |name| own.get(name).or_else(|| all.get(name)).cloned());
            own.insert(variable.name.clone(), value);
        }
    }
    all.extend(own);
    Ok(all.into_iter().collect())
}

fn value_of(
    pod: &Pod,
    variable: &EnvVar,
    addresses: &[IpAddr],
    node_addresses: &[IpAddr],
    references: &References,
) -> Result<Option<String>, String> {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    match &variable.value_from {
        None => Ok(Some(variable.value.clone().unwrap_or_default())),
        Some(EnvVarSource { field_ref: Some(source), .. }) => field(pod, &source.field_path, addresses, node_addresses)
            .map(Some)
            .ok_or_else(|| format!("env {}: unsupported fieldPath: {}", variable.name, source.field_path)),
        Some(EnvVarSource { config_map_key_ref: Some(source), .. }) => references
            .one("ConfigMap", &source.name, &source.key, source.optional.unwrap_or(false))
            .map(|value| value.map(text)),
        Some(EnvVarSource { secret_key_ref: Some(source), .. }) => references
            .one("Secret", &source.name, &source.key, source.optional.unwrap_or(false))
            .map(|value| value.map(text)),
        Some(_) => Err(format!("env {}: this kind of valueFrom is not supported", variable.name)),
    }
}

/// A field of the downward API.
pub fn field(pod: &Pod, path: &str, addresses: &[IpAddr], node_addresses: &[IpAddr]) -> Option<String> {
    let joined = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let first = |addresses: &[IpAddr]| addresses.first().map(ToString::to_string).unwrap_or_default();
    let spec = pod.spec.as_ref();
    let keyed = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
    let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    if let Some(key) = keyed("metadata.labels['") {
        return Some(of(&pod.metadata.labels, key));
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return Some(of(&pod.metadata.annotations, key));
    }
    Some(match path {
        "metadata.name" => pod.metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => pod.metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => pod.metadata.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.podIP" => first(addresses),
        "status.podIPs" => joined(addresses),
        "status.hostIP" => first(node_addresses),
        "status.hostIPs" => joined(node_addresses),
        _ => return None,
    })
}

/// Replaces `$(NAME)` by its value; `$$` is a dollar sign, an unknown name stays as it is.
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&value(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_and_dollars_escaped() {
        let value = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(expand("$(A)-$$(A)-$(B)-$x-$(open", value), "1-$(A)-$(B)-$x-$(open");
    }

    #[test]
    fn downward_fields_and_order_of_sources() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "p", "namespace": "n", "labels": { "app": "web" } },
            "spec": { "nodeName": "node", "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }], "env": [
                { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
                { "name": "URL", "value": "http://$(IP)" },
                { "name": "PATH", "value": "/own" },
            ] }] },
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let env = of(&pod, container, &["10.0.0.2".parse().unwrap()], &[], &References::default()).unwrap();
        let env: BTreeMap<_, _> = env.into_iter().collect();
        let seen = ["IP", "APP", "URL", "PATH", "MAINSTAY_NODE", "MAINSTAY_PORTS"].map(|name| env[name].as_str());
        assert_eq!(seen, ["10.0.0.2", "web", "http://10.0.0.2", "/own", "node", "80/TCP"]);
    }

    #[test]
    fn a_missing_config_map_is_named() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {}, "spec": { "containers": [{ "name": "c", "envFrom": [{ "configMapRef": { "name": "cm" } }] }] },
        }))
        .unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let failed = of(&pod, container, &[], &[], &References::default()).unwrap_err();
        assert_eq!(failed, "configmap \"cm\" not found");
    }
}
