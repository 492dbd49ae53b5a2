//! Section 1.8 and appendix A of the reference: what is accepted, what it becomes, what is refused and how it is shown.

use serde_json::{Value, json};

use super::*;
use crate::kind::Target;
use crate::kinds::recorded::{replay, sent, write};

fn object(kind: &str, spec: Value) -> Value {
    let name = if kind == "IPAddress" { "10.96.0.9" } else { "x" };
    json!({ "kind": kind, "apiVersion": "networking.k8s.io/v1", "metadata": { "name": name }, "spec": spec })
}

fn backend() -> Value {
    json!({ "service": { "name": "web", "port": { "number": 80 } } })
}

#[test]
fn refusals_are_those_of_kubernetes() {
    assert_eq!(replay(include_str!("tests/refused.jsonl")), 84);
}

#[test]
fn policies_are_about_what_comes_in_unless_they_say_more() {
    let table = [
        (json!({}), json!({ "podSelector": {}, "policyTypes": ["Ingress"] })),
        (
            json!({ "podSelector": {}, "egress": [{}] }),
            json!({ "podSelector": {}, "egress": [{}], "policyTypes": ["Ingress", "Egress"] }),
        ),
        (
            json!({ "policyTypes": ["Egress"], "ingress": [{ "ports": [{ "port": "http" }, {}] }] }),
            json!({ "podSelector": {}, "policyTypes": ["Egress"],
                "ingress": [{ "ports": [{ "port": "http", "protocol": "TCP" }, { "protocol": "TCP" }] }] }),
        ),
    ];
    for (given, expected) in table {
        assert_eq!(write(&object("NetworkPolicy", given), None).unwrap()["spec"], expected);
    }
    let wide = json!({ "ingress": [{ "from": [{ "ipBlock": {
        "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }, { "namespaceSelector": {}, "podSelector": {} }],
        "ports": [{ "port": 80, "endPort": 90, "protocol": "SCTP" }] }] });
    assert!(write(&object("NetworkPolicy", wide), None).is_ok());
}

#[test]
fn networks_of_a_stored_policy_are_not_refused_again() {
    let with = |cidr: &str| object("NetworkPolicy", json!({ "egress": [{ "to": [{ "ipBlock": { "cidr": cidr } }] }] }));
    let old = sent(&with("010.0.0.0/8"));
    assert!(write(&with("010.0.0.0/8"), Some(&old)).is_ok());
    assert!(write(&with("011.0.0.0/8"), Some(&old)).is_err());
    assert_eq!(
        NETWORK_POLICY.rules.warnings(&old, None),
        ["spec.egress[0].to[0].ipBlock.cidr: non-standard CIDR value \"010.0.0.0/8\" is invalid: use \"10.0.0.0/8\""]
    );
}

#[test]
fn ingresses_keep_their_status_and_show_empty_parts() {
    let spec = json!({ "defaultBackend": { "service": { "name": "web", "port": { "name": "http" } } },
        "rules": [{ "host": "", "http": { "paths": [{ "path": "", "pathType": "ImplementationSpecific",
            "backend": { "resource": { "kind": "Bucket", "name": "b" } } }] } }] });
    let mut given = object("Ingress", spec);
    given["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    let stored = write(&given, None).unwrap();
    assert_eq!(stored["status"], json!({ "loadBalancer": {} }), "a creator cannot set it");
    assert_eq!(stored["spec"]["rules"][0].get("host"), None);
    let mut reported = stored.clone();
    reported["spec"] = json!({});
    reported["status"] = given["status"].clone();
    INGRESS.rules.prepare_update(&mut reported, &stored, Target::Status);
    assert_eq!((&reported["spec"], &reported["status"]), (&stored["spec"], &given["status"]));
    let check = |ip: &str, hostname: &str| {
        let mut reported = reported.clone();
        reported["status"]["loadBalancer"]["ingress"] = json!([{ "ip": ip, "hostname": hostname }]);
        INGRESS.rules.validate(&reported, Some(&stored), Target::Status).to_string()
    };
    assert_eq!(check("192.0.2.1", "a.b"), "[]");
    assert_eq!(
        check("192.0.2.256", "1.2.3.4"),
        "[status.loadBalancer.ingress[0].ip: Invalid value: \"192.0.2.256\": must be a valid IP address, (e.g. \
         10.9.8.7 or 2001:db8::ffff), status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a \
         DNS name, not an IP address]"
    );
}

#[test]
fn classes_of_ingresses() {
    let mut old_style = object("Ingress", json!({ "defaultBackend": backend() }));
    old_style["metadata"]["annotations"] = json!({ "kubernetes.io/ingress.class": "nginx" });
    let stored = write(&old_style, None).unwrap();
    let told = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
    assert_eq!(INGRESS.rules.warnings(&stored, None), [told]);
    assert!(INGRESS.rules.warnings(&stored, Some(&stored)).is_empty());
    assert!(ingress::names_class(&stored));
    old_style["spec"]["ingressClassName"] = "nginx".into();
    assert!(write(&old_style, None).is_ok(), "both may be given when they agree");

    let mut class =
        object("IngressClass", json!({ "controller": "a.b/c", "parameters": { "kind": "K", "name": "n" } }));
    let stored = write(&class, None).unwrap();
    assert_eq!(stored["spec"]["parameters"]["scope"], "Cluster");
    assert_eq!(INGRESS_CLASS.rules.cells(&stored, 0), ["x", "a.b/c", "K/n", "<unknown>"]);
    class["metadata"]["annotations"] = json!({ "ingressclass.kubernetes.io/is-default-class": "true" });
    class["spec"]["parameters"] =
        json!({ "apiGroup": "g.h", "kind": "K", "name": "n", "scope": "Namespace", "namespace": "a" });
    let stored = write(&class, None).unwrap();
    assert_eq!(INGRESS_CLASS.rules.cells(&stored, 0), ["x (default)", "a.b/c", "K.g.h/n", "<unknown>"]);
    assert!(ingress_class::is_default(&stored));
    class["spec"] = json!({ "controller": "a.b/c" });
    assert_eq!(INGRESS_CLASS.rules.cells(&write(&class, None).unwrap(), 0)[2], "<none>");
}

#[test]
fn rows_of_ingresses_and_policies() {
    let rule = |host: &str| json!({ "host": host });
    let rows = [
        (json!({ "defaultBackend": backend() }), "<none>", "*", "80"),
        (
            json!({ "ingressClassName": "n", "rules": [rule("a"), rule("b"), rule("c")], "tls": [{}] }),
            "n",
            "a,b,c",
            "80, 443",
        ),
        (json!({ "rules": [rule("a"), {}, rule("b"), rule("c"), rule("d")] }), "<none>", "a,b,c + 2 more...", "80"),
        (json!({ "rules": [{}, {}] }), "<none>", "*", "80"),
    ];
    for (spec, class, hosts, ports) in rows {
        let mut ingress = object("Ingress", spec);
        ingress["status"] = json!({ "loadBalancer": { "ingress": [
            { "ip": "192.0.2.9" }, { "hostname": "b.example" }, { "ip": "192.0.2.10" }, { "ip": "192.0.2.9" }] } });
        let expected = ["x", class, hosts, "192.0.2.10,192.0.2.9,b.example", ports, "<unknown>"];
        assert_eq!(INGRESS.rules.cells(&ingress, 0), expected);
    }
    let selector = json!({ "matchLabels": { "a": "b" }, "matchExpressions": [
        { "key": "c", "operator": "In", "values": ["e", "d"] }, { "key": "f", "operator": "DoesNotExist" }] });
    let cells = |spec| NETWORK_POLICY.rules.cells(&object("NetworkPolicy", spec), 0)[1].clone();
    assert_eq!(cells(json!({ "podSelector": selector })), "a=b,c in (d,e),!f");
    assert_eq!(cells(json!({ "podSelector": {} })), "<none>");
}

#[test]
fn service_networks_are_born_ready_and_protected() {
    let stored = write(&object("ServiceCIDR", json!({ "cidrs": ["10.0.0.0/24", "fd00::/112"] })), None).unwrap();
    assert_eq!(stored["metadata"]["finalizers"], json!([service_cidr::FINALIZER]));
    assert_eq!(
        stored["status"]["conditions"],
        json!([{ "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready" }])
    );
    assert!(service_cidr::is_ready(&stored));
    assert_eq!(SERVICE_CIDR.rules.cells(&stored, 0), ["x", "10.0.0.0/24,fd00::/112", "<unknown>"]);
    let mut going = stored.clone();
    going["metadata"]["deletionTimestamp"] = "t".into();
    assert!(!service_cidr::is_ready(&going));
    let mut unready = stored.clone();
    service_cidr::set_ready(&mut unready, service_cidr::Ready::Terminating);
    assert!(!service_cidr::is_ready(&unready));
    assert_eq!(unready["status"]["conditions"][0]["reason"], "Terminating");
    service_cidr::set_ready(&mut unready, service_cidr::Ready::True);
    assert_eq!(unready, stored);
}

#[test]
fn a_service_network_only_grows_by_the_other_family() {
    let with = |cidrs: &[&str]| object("ServiceCIDR", json!({ "cidrs": cidrs }));
    let old = write(&with(&["10.0.0.0/24"]), None).unwrap();
    let grown = write(&with(&["10.0.0.0/24", "fd00::/112"]), Some(&old)).unwrap();
    assert_eq!(grown["spec"]["cidrs"][1], "fd00::/112");
    assert!(write(&with(&["10.0.0.0/24"]), Some(&grown)).is_err());
}

#[test]
fn addresses_say_whose_they_are() {
    let key = crate::object::ObjectKey::new("default", "web");
    let made = write(&ip_address::of_service("fd00::9".parse().unwrap(), &key), None).unwrap();
    assert_eq!(made["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv6");
    assert_eq!(IP_ADDRESS.rules.cells(&made, 0), ["fd00::9", "services/default/web"]);
    assert!(ip_address::service(&made) == Some(key) && ip_address::is_managed(&made));
    let other = json!({ "parentRef": { "group": "Gateway.io", "resource": "Gateways", "name": "g" } });
    let other = object("IPAddress", other);
    assert_eq!(ip_address::parent_text(&other), "gateways.gateway.io/g");
    assert!(ip_address::service(&other).is_none() && !ip_address::is_managed(&other));
    assert_eq!(IP_ADDRESS.rules.cells(&object("IPAddress", json!({})), 0)[1], "<none>");
}
