//! Services in; defaults, errors, warnings, updates and cells out. Rows follow the tables of Kubernetes' Service semantics.

use serde_json::{Value, json};

use super::Service;
use crate::kind::{Rules, Target};

mod columns;
mod update;
mod validate;

/// `base` with the members of `over` laid over it, null removing.
fn merged(mut base: Value, over: Value) -> Value {
    json_patch::merge(&mut base, &over);
    base
}

/// A valid ClusterIP Service as it is after defaulting and allocation, with `spec` laid over.
fn service(spec: Value) -> Value {
    let base = json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None", "selector": { "app": "web" },
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
        },
        "status": { "loadBalancer": {} },
    });
    merged(base, json!({ "spec": spec }))
}

/// The same for a load balancer.
fn balanced(spec: Value) -> Value {
    let base = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
        "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080 }],
    });
    service(merged(base, spec))
}

fn external_name(spec: Value) -> Value {
    let base = json!({
        "type": "ExternalName", "externalName": "example.com", "ports": null, "internalTrafficPolicy": null,
        "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null,
    });
    service(merged(base, spec))
}

fn texts(new: &Value, old: Option<&Value>, target: Target) -> Vec<String> {
    let errors = Service.validate(new, old, target);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn defaulted(spec: Value) -> Value {
    let mut service = json!({ "spec": spec });
    Service.default(&mut service);
    service["spec"].take()
}

#[test]
fn a_bare_service_gets_its_defaults() {
    assert_eq!(
        defaulted(json!({ "ports": [{ "port": 80 }], "selector": { "a": "b" } })),
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "selector": { "a": "b" }, "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
        })
    );
}

#[test]
fn defaults_per_field() {
    let table = [
        (json!({ "type": "NodePort" }), "/externalTrafficPolicy", json!("Cluster")),
        (json!({ "type": "LoadBalancer" }), "/externalTrafficPolicy", json!("Cluster")),
        (json!({ "type": "LoadBalancer" }), "/allocateLoadBalancerNodePorts", json!(true)),
        (
            json!({ "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false }),
            "/allocateLoadBalancerNodePorts",
            json!(false),
        ),
        (json!({ "externalIPs": ["1.2.3.4"] }), "/externalTrafficPolicy", json!("Cluster")),
        (json!({}), "/externalTrafficPolicy", Value::Null),
        (json!({ "externalIPs": [] }), "/externalTrafficPolicy", Value::Null),
        (json!({ "type": "ExternalName" }), "/internalTrafficPolicy", Value::Null),
        (json!({ "internalTrafficPolicy": "Local" }), "/internalTrafficPolicy", json!("Local")),
        (json!({ "sessionAffinity": "ClientIP" }), "/sessionAffinityConfig/clientIP/timeoutSeconds", json!(10800)),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": {} } }),
            "/sessionAffinityConfig/clientIP/timeoutSeconds",
            json!(10800),
        ),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } } }),
            "/sessionAffinityConfig/clientIP/timeoutSeconds",
            json!(5),
        ),
        (
            json!({ "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } } }),
            "/sessionAffinityConfig",
            Value::Null,
        ),
        (
            json!({ "ports": [{ "port": 53, "protocol": "UDP", "targetPort": "dns" }] }),
            "/ports/0/targetPort",
            json!("dns"),
        ),
        (json!({ "ports": [{ "port": 53, "targetPort": 0 }] }), "/ports/0/targetPort", json!(53)),
        (json!({ "ports": [{ "port": 53, "targetPort": "" }] }), "/ports/0/targetPort", json!(53)),
        (json!({ "ports": [{ "port": 53, "nodePort": 0 }] }), "/ports/0/nodePort", Value::Null),
        (json!({ "healthCheckNodePort": 0 }), "/healthCheckNodePort", Value::Null),
        (json!({ "clusterIP": "", "clusterIPs": [] }), "/clusterIP", Value::Null),
        (json!({ "selector": {} }), "/selector", Value::Null),
        (json!({ "publishNotReadyAddresses": false }), "/publishNotReadyAddresses", Value::Null),
        (json!({ "publishNotReadyAddresses": true }), "/publishNotReadyAddresses", json!(true)),
    ];
    for (spec, pointer, expected) in table {
        let text = spec.to_string();
        let spec = defaulted(spec);
        assert_eq!(spec.pointer(pointer).cloned().unwrap_or_default(), expected, "{pointer} of {text}");
        assert_eq!(defaulted(spec.clone()), spec, "defaulting twice changes nothing: {text}");
    }
    let mut with_status = json!({ "spec": { "type": "LoadBalancer" }, "status": { "loadBalancer": { "ingress": [
        { "ip": "1.2.3.4" }, { "hostname": "a.b" }, { "ip": "1.2.3.5", "ipMode": "Proxy" } ] } } });
    Service.default(&mut with_status);
    assert_eq!(
        with_status["status"]["loadBalancer"]["ingress"],
        json!([{ "ip": "1.2.3.4", "ipMode": "VIP" }, { "hostname": "a.b" }, { "ip": "1.2.3.5", "ipMode": "Proxy" }])
    );
}

#[test]
fn warnings_say_what_is_ignored_or_deprecated() {
    let table = [
        (service(json!({})), vec![]),
        (
            service(
                json!({ "clusterIP": "None", "clusterIPs": ["None"], "loadBalancerIP": "1.2.3.4", "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP" }),
            ),
            vec![
                "spec.loadBalancerIP is ignored for headless services",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            service(json!({ "externalIPs": ["FD00::1"] })),
            vec![
                "spec.externalIPs[0]: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            ],
        ),
        (
            external_name(json!({ "externalIPs": ["1.2.3.4"] })),
            vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
        ),
        (
            service(json!({ "externalName": "a.b" })),
            vec!["spec.externalName is ignored when spec.type is not \"ExternalName\""],
        ),
        (
            service(json!({ "trafficDistribution": "PreferClose" })),
            vec!["spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""],
        ),
        (
            balanced(json!({ "loadBalancerIP": "010.1.1.1", "loadBalancerSourceRanges": ["10.0.0.1/8"] })),
            vec![
                "spec.loadBalancerIP: non-standard IP address \"010.1.1.1\" is invalid: use \"10.1.1.1\"",
                "spec.loadBalancerSourceRanges[0]: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
            ],
        ),
        (
            merged(
                service(json!({})),
                json!({ "metadata": { "annotations": { "service.kubernetes.io/topology-aware-hints": "auto" } } }),
            ),
            vec![
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
            ],
        ),
    ];
    for (service, expected) in table {
        assert_eq!(Service.warnings(&service, None), expected, "{service}");
    }
}

#[test]
fn selectable_fields() {
    let service = service(json!({}));
    assert_eq!(Service.field(&service, "spec.clusterIP").as_deref(), Some("10.96.0.10"));
    assert_eq!(Service.field(&service, "spec.type").as_deref(), Some("ClusterIP"));
    assert_eq!(Service.field(&external_name(json!({})), "spec.clusterIP").as_deref(), Some(""));
    assert_eq!(Service.field(&service, "spec.ports"), None);
}
