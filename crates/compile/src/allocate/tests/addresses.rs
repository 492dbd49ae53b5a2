//! Section 1.5 and the type changes of 1.7: who gets which address, and what a refusal says.

use super::*;

#[test]
fn explicit_addresses() {
    let mut cluster = single();
    let made = cluster.create("first", spec(json!({ "clusterIP": "10.96.0.10" }))).unwrap();
    assert_eq!((ips(&made), made["spec"]["clusterIP"].as_str()), (vec!["10.96.0.10"], Some("10.96.0.10")));
    let prefix = |ip: &str| format!("spec.clusterIPs: Invalid value: [\"{ip}\"]: failed to allocate IP {ip}:");
    let table = [
        ("10.96.0.10", "provided IP is already allocated (by default/first)"),
        ("10.97.0.1", "the provided network does not match the current range (10.96.0.0/16)"),
        ("10.96.0.0", "the provided network does not match the current range (10.96.0.0/16)"),
        ("10.96.255.255", "the provided network does not match the current range (10.96.0.0/16)"),
    ];
    for (ip, why) in table {
        let refused = error(cluster.create("web", spec(json!({ "clusterIP": ip }))));
        assert_eq!(refused, (422, format!("{} {why}", prefix(ip))));
    }
    let made = cluster.create("web", spec(json!({ "clusterIP": "10.96.255.254" }))).unwrap();
    assert_eq!(ips(&made), ["10.96.255.254"], "static requests may use the dynamic band");
    let first = cluster.ranges.service[0].first_usable().unwrap().to_string();
    let kubernetes = cluster.create("kubernetes", spec(json!({ "clusterIP": first }))).unwrap();
    assert_eq!(ips(&kubernetes), ["10.96.0.1"]);
}

#[test]
fn an_exhausted_range_is_a_server_error() {
    let mut cluster = cluster(&["10.96.0.0/30"], 30000..=30001);
    for name in ["a", "b"] {
        cluster.create(name, spec(json!({}))).unwrap();
    }
    let refused = cluster.create("web", spec(json!({}))).unwrap_err();
    assert_eq!((refused.code, refused.reason), (500, "InternalError"));
    assert_eq!(
        refused.message,
        "Internal error occurred: failed to allocate a serviceIP for Service \"web\": range is full"
    );
}

#[test]
fn dry_run_takes_nothing_and_checks_ranges_only() {
    let mut cluster = dual();
    cluster.create("first", spec(json!({ "clusterIP": "10.96.0.10" }))).unwrap();
    let before = cluster.taken.clone();
    let dry = cluster.write("web", spec(json!({ "clusterIP": "10.96.0.10" })), None, true).unwrap();
    assert_eq!(ips(&dry), ["10.96.0.10"]);
    let dry = cluster.write("web", spec(json!({ "ipFamilyPolicy": "RequireDualStack" })), None, true).unwrap();
    assert_eq!(ips(&dry), ["10.96.0.0", "fd00:10:96::"]);
    let (code, text) = error(cluster.write("web", spec(json!({ "clusterIP": "10.97.0.1" })), None, true));
    assert!(code == 422 && text.contains("does not match the current range"), "{text}");
    assert_eq!(cluster.taken, before);
}

#[test]
fn addresses_survive_types_that_carry_them() {
    let mut cluster = single();
    let mut service = cluster.create("web", spec(json!({}))).unwrap();
    let ip = ips(&service)[0].to_owned();
    for kind in ["NodePort", "LoadBalancer", "NodePort", "ClusterIP", "LoadBalancer", "ClusterIP"] {
        service = cluster.patch(&service, json!({ "type": kind })).unwrap();
        assert_eq!(ips(&service), [ip.as_str()], "{kind}");
        assert_eq!(node_ports(&service)[0] != 0, kind != "ClusterIP", "{kind}");
        assert_eq!(cluster.taken.counts(), (1, usize::from(kind != "ClusterIP")), "{kind}");
    }
}

#[test]
fn to_external_name_and_back() {
    let mut cluster = dual();
    let old = cluster.create("web", spec(json!({ "type": "NodePort", "ipFamilyPolicy": "PreferDualStack" }))).unwrap();
    assert_eq!(cluster.taken.counts(), (2, 1));
    // The conformance sequence: read, change type and name only, write back.
    let alias = cluster.patch(&old, json!({ "type": "ExternalName", "externalName": "example.com" })).unwrap();
    assert_eq!(cluster.taken.counts(), (0, 0));
    for gone in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalTrafficPolicy"] {
        assert_eq!(alias["spec"].get(gone), None, "{gone}");
    }
    assert_eq!((node_ports(&alias), &alias["spec"]["selector"]), (vec![0], &json!({ "app": "web" })));

    for kind in ["ClusterIP", "NodePort"] {
        let back = cluster.patch(&alias, json!({ "type": kind, "externalName": null })).unwrap();
        assert_eq!((ips(&back).len(), node_ports(&back)[0] != 0), (1, kind == "NodePort"));
        cluster.taken.remove(&back);
    }
    let asked = json!({ "type": "ClusterIP", "externalName": null, "clusterIP": "10.96.0.99" });
    assert_eq!(ips(&cluster.patch(&alias, asked).unwrap()), ["10.96.0.99"]);
}

#[test]
fn a_service_cannot_be_moved() {
    let mut cluster = single();
    let old = cluster.create("web", spec(json!({ "clusterIP": "10.96.0.10" }))).unwrap();
    let moved = "spec.clusterIPs[0]: Invalid value: [\"10.96.0.11\"]: may not change once set";
    assert_eq!(error(cluster.patch(&old, json!({ "clusterIP": "10.96.0.11" }))), (422, moved.to_owned()));
    let headless = "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set";
    assert_eq!(error(cluster.patch(&old, json!({ "clusterIP": "None" }))), (422, headless.to_owned()));
    let none = cluster.create("none", spec(json!({ "clusterIP": "None" }))).unwrap();
    let refused = cluster.patch(&none, json!({ "clusterIP": "10.96.0.12" })).unwrap_err();
    assert!(refused.message.contains("may not change once set"), "{refused}");
    assert_eq!(cluster.taken.counts().0, 1, "refused writes take nothing");
}
