//! Names, ways in and shares: MS1009, MS1102, MS1105, MS1202, MS1203, MS1302, MS1303, MS1401, MS1501.

use super::*;

#[test]
fn ms1102_a_local_policy_and_no_local_endpoint() {
    for (policy, spec) in [
        ("internalTrafficPolicy", json!({ "internalTrafficPolicy": "Local" })),
        ("externalTrafficPolicy", json!({ "externalTrafficPolicy": "Local", "type": "NodePort" })),
    ] {
        let mut world = World::new();
        world.service("web", spec);
        world.slice("s", json!({ "kubernetes.io/service-name": "web" }), json!({ "port": 80 }), "10.4.5.6");
        let finding = world.one("web", "MS1102");
        assert_eq!((finding.severity, finding.field), (Severity::Problem, format!("spec.{policy}")));
        assert_eq!(finding.evidence, ["1 ready on no node (endpoint without nodeName)"]);
        assert!(finding.summary.ends_with("node n1 is dropped, no local endpoint"), "{}", finding.summary);
        let here = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "web" } }, "addressType": "IPv4",
            "ports": [{ "port": 80 }], "endpoints": [{ "addresses": ["10.4.5.6"], "nodeName": "n1" }] });
        world.put("endpointslices", "s", here);
        assert_eq!(world.wrong("web"), [] as [&str; 0]);
        world.put("nodes", "n2", json!({}));
        assert_eq!(world.one("web", "MS1102").severity, Severity::Warning);
    }
}

#[test]
fn ms1105_a_node_port_that_a_process_of_the_node_has() {
    let mut world = World::new();
    let port = json!([{ "port": 80, "nodePort": 30007 }]);
    world.service("web", json!({ "type": "NodePort", "ports": port, "selector": { "app": "web" } }));
    world.pod("a", "web", json!({ "app": "web" }));
    let socket = |address: &str, port| Socket { protocol: Protocol::Tcp, address: address.parse().unwrap(), port };
    world.facts.node_sockets = Some(vec![socket("127.0.0.1", 30007), socket("0.0.0.0", 6443)]);
    assert_eq!(world.wrong("web"), [] as [&str; 0]);
    world.facts.node_sockets = Some(vec![socket("0.0.0.0", 30007)]);
    assert!(
        world
            .one("web", "MS1105")
            .summary
            .starts_with("nodePort 30007/TCP: a process of the node listens on 0.0.0.0:30007")
    );
    let taken = json!([{ "port": 80, "nodePort": 30086 }]);
    world.service("other", json!({ "type": "NodePort", "ports": taken, "selector": { "app": "web" } }));
    world.facts.node_sockets = Some(vec![socket("0.0.0.0", 30007), socket("0.0.0.0", 30087)]);
    let command = world.one("web", "MS1105").fix.unwrap().command;
    assert!(
        command.contains(r#""op":"replace""#) && command.contains(r#""value":30088"#),
        "a number that is free: {command}"
    );
}

#[test]
fn ms1202_a_change_that_is_not_applied_yet() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } })).pod("a", "web", json!({ "app": "web" }));
    world.facts.applied = Some(Revision(1));
    assert_eq!(world.one("web", "MS1202").summary, "the last change is revision 2; the node has applied 1");
    world.facts.applied = Some(Revision(2));
    assert_eq!(world.wrong("web"), [] as [&str; 0]);
}

#[test]
fn ms1203_and_ms1401_are_remarks() {
    let mut world = World::new();
    world.service(
        "web",
        json!({ "selector": { "app": "web" }, "sessionAffinity": "ClientIP", "type": "NodePort",
        "trafficDistribution": "PreferSameZone", "ports": [{ "port": 80, "nodePort": 30007 }] }),
    );
    world.pod("a", "web", json!({ "app": "web" }));
    let found = world.find("web");
    let ids: Vec<_> = found.iter().map(|finding| (finding.code.id, finding.severity)).collect();
    let note = Severity::Note;
    assert_eq!(ids, [("MS1203", note), ("MS1203", note), ("MS1401", note)]);
    assert!(found[0].summary.contains("10800 s"), "{}", found[0].summary);
    assert_eq!(word(&found), None);
    world.service("web", json!({ "selector": { "app": "web" }, "type": "LoadBalancer" }));
    assert!(world.one("web", "MS1401").summary.contains("no loadBalancerSourceRanges"));
    world.service(
        "web",
        json!({ "selector": { "app": "web" }, "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"] }),
    );
    assert!(!world.find("web").iter().any(|finding| finding.code.id == "MS1401"));
}

#[test]
fn ms1302_an_answer_that_is_not_the_address() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" } })).pod("a", "web", json!({ "app": "web" }));
    world.facts.answers = Some(vec![]);
    assert_eq!(world.one("web", "MS1302").summary, "DNS answers nothing, the Service has 10.96.0.9");
}

#[test]
fn ms1303_aliases_that_lead_nowhere() {
    let alias = |name: &str| {
        let mut world = World::new();
        world.service("real", json!({ "selector": { "app": "web" } }));
        world.service(
            "db",
            json!({ "type": "ExternalName", "externalName": name, "clusterIP": null, "clusterIPs": [] }),
        );
        world
    };
    for (name, summary) in [
        ("10.4.5.6", "externalName 10.4.5.6 is an address; DNS answers it as a name, and no resolver finds it"),
        (
            "rael.default.svc.cluster.local",
            "externalName leads to Service default/rael, which does not exist; nearest: real",
        ),
        ("db.default.svc.cluster.local.", "externalName is this Service's own name: an endless alias"),
    ] {
        let finding = alias(name).one("db", "MS1303");
        assert_eq!((finding.summary.as_str(), finding.severity), (summary, Severity::Problem));
    }
    assert!(command(&alias("10.4.5.6").one("db", "MS1303")).contains(r#""addresses":["10.4.5.6"]"#));
    assert_eq!(alias("real.default.svc.cluster.local").wrong("db"), [] as [&str; 0]);
    assert_eq!(alias("db.example.com").find("db"), []);
    let report = explain(&alias("db.example.com").case("db"));
    assert_eq!(report.steps.len(), 1);
    assert_eq!(report.steps[0].text, "db.default.svc.cluster.local -> CNAME db.example.com");
}

#[test]
fn ms1501_a_load_balancer_without_address_says_why() {
    let mut world = World::new();
    world.pod("a", "web", json!({ "app": "web" }));
    let spec = |more: Value| {
        let mut spec = json!({ "selector": { "app": "web" }, "type": "LoadBalancer",
            "ports": [{ "port": 80, "targetPort": 8080, "nodePort": 30080 }] });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    world.service("web", spec(json!({})));
    let finding = world.one("web", "MS1501");
    assert_eq!(finding.line(), "MS1501 no address: spec.type is LoadBalancer and there is no pool of addresses");
    assert_eq!(command(&finding), "Start with one: mainstay up --lb-pool 10.99.0.0/24");
    assert_eq!(finding.evidence, ["meanwhile it is reachable on every node at port 30080"]);
    assert_eq!(warnings(&world.find("web")), [finding.line()]);
    assert_eq!(word(&world.find("web")), Some("NoAddress"));
    world.config.pools = Pools::parse(&["10.99.0.1-10.99.0.1"]).unwrap();
    assert_eq!(world.wrong("web"), [] as [&str; 0], "it will get the address in a moment");
    for (more, words) in [
        (json!({ "loadBalancerClass": "acme.com/lb" }), "spec.loadBalancerClass \"acme.com/lb\" belongs to another"),
        (json!({ "ipFamilies": ["IPv6"] }), "no IPv6 address: spec.ipFamilies has IPv6 and no pool has any"),
        (json!({ "loadBalancerIP": "10.9.9.9" }), "spec.loadBalancerIP 10.9.9.9 is in no pool"),
    ] {
        world.service("web", spec(more));
        let finding = world.one("web", "MS1501");
        assert!(finding.summary.starts_with(words) && finding.fix.is_some(), "{finding:?}");
    }
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": "10.99.0.1" }] } });
    world.put(
        "services",
        "first",
        json!({ "metadata": { "uid": "f" }, "spec": spec(json!({ "ipFamilies": ["IPv4"] })), "status": status }),
    );
    world.service("web", spec(json!({})));
    assert!(world.one("web", "MS1501").summary.starts_with("no IPv4 address: all 1 of pool default are taken"));
}

#[test]
fn ms1009_a_headless_service_translates_no_ports() {
    let mut world = World::new();
    world.service("web", json!({ "selector": { "app": "web" }, "clusterIP": "None", "clusterIPs": ["None"] }));
    world.pod("a", "web", json!({ "app": "web" }));
    let finding = world.one("web", "MS1009");
    assert_eq!(finding.summary, "headless: nothing turns port 80 into 8080; clients must connect to web:8080");
}
