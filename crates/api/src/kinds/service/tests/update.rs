//! A stored Service and a write in, the Service to store and the errors out: section by section of what an update keeps and clears.

use super::*;
use crate::kinds::service::carry_over;

fn errors(new: &Value, old: &Value) -> Vec<String> {
    texts(new, Some(old), Target::Main)
}

/// The update as the apiserver runs it, without the allocator.
fn updated(new: Value, old: &Value) -> Value {
    let mut new = new;
    Service.default(&mut new);
    carry_over(&mut new, old);
    Service.prepare_update(&mut new, old, Target::Main);
    new
}

#[test]
fn what_may_not_change() {
    let ip = |ip: &str| service(json!({ "clusterIP": ip, "clusterIPs": [ip] }));
    let dual = || {
        service(
            json!({ "clusterIPs": ["10.96.0.10", "fd00::a"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack" }),
        )
    };
    let once = "may not change once set";
    let table = [
        (ip("10.96.0.11"), ip("10.96.0.10"), vec![format!("spec.clusterIPs[0]: Invalid value: [\"10.96.0.11\"]: {once}")]),
        (ip("None"), ip("10.96.0.10"), vec![format!("spec.clusterIPs[0]: Invalid value: [\"None\"]: {once}")]),
        (ip("10.96.0.10"), ip("None"), vec![format!("spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: {once}")]),
        (ip("10.96.0.10"), external_name(json!({})), vec![]),
        (external_name(json!({})), ip("10.96.0.10"), vec![]),
        (service(json!({})), dual(), vec![]),
        (dual(), service(json!({})), vec![]),
        (
            service(json!({ "ipFamilyPolicy": "PreferDualStack" })),
            dual(),
            vec![
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP".to_owned(),
                "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily".to_owned(),
            ],
        ),
        (
            service(json!({ "ipFamilies": ["IPv6"], "clusterIP": "fd00::a", "clusterIPs": ["fd00::a"] })),
            service(json!({})),
            vec![
                format!("spec.clusterIPs[0]: Invalid value: [\"fd00::a\"]: {once}"),
                format!("spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: {once}"),
            ],
        ),
        (
            service(json!({ "ipFamilies": ["IPv6"], "clusterIP": "None", "clusterIPs": ["None"] })),
            service(json!({ "clusterIP": "None", "clusterIPs": ["None"] })),
            vec![],
        ),
        (balanced(json!({ "loadBalancerClass": "a/b" })), balanced(json!({})), vec![format!("spec.loadBalancerClass: Invalid value: \"a/b\": {once}")]),
        (balanced(json!({})), balanced(json!({ "loadBalancerClass": "a/b" })), vec![format!("spec.loadBalancerClass: Invalid value: null: {once}")]),
        (balanced(json!({ "loadBalancerClass": "a/b" })), service(json!({})), vec![]),
        (
            balanced(json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001 })),
            balanced(json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000 })),
            vec!["spec.healthCheckNodePort: Forbidden: field is immutable".to_owned()],
        ),
    ];
    for (new, old, expected) in table {
        assert_eq!(errors(&new, &old), expected, "{new} over {old}");
    }
    let emptied = service(json!({ "clusterIP": null, "clusterIPs": null, "ipFamilies": null }));
    assert!(
        errors(&emptied, &dual()).iter().any(|text| text.ends_with("primary clusterIP can not be unset")),
        "only reachable past the carry-over"
    );
}

#[test]
fn blank_addresses_are_carried_over() {
    let old = service(json!({}));
    for spec in
        [json!({ "clusterIP": null, "clusterIPs": null }), json!({ "clusterIP": "" }), json!({ "clusterIPs": [] })]
    {
        let mut new = service(spec);
        Service.default(&mut new);
        carry_over(&mut new, &old);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.10");
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.10"]));
    }
    let headless = service(json!({ "clusterIP": "None", "clusterIPs": ["None"] }));
    let mut new = service(json!({ "clusterIP": null, "clusterIPs": null }));
    carry_over(&mut new, &headless);
    assert_eq!(new["spec"]["clusterIP"], "None", "a headless Service cannot be given an address by blanking");
    let mut new = service(json!({ "clusterIP": "10.96.0.77" }));
    carry_over(&mut new, &old);
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.77"]), "the plural follows the singular");
    let mut new = external_name(json!({ "clusterIPs": ["10.96.0.10"] }));
    carry_over(&mut new, &old);
    assert_eq!(new.pointer("/spec/clusterIPs"), None, "cleared on the client's behalf");
}

#[test]
fn node_ports_are_carried_over_by_name() {
    let port = |name: &str, port: i64, node: i64| json!({ "name": name, "port": port, "protocol": "TCP", "targetPort": port, "nodePort": node });
    let numbers = |new: &[Value], old: &[Value]| -> Vec<i64> {
        let mut new = balanced(json!({ "ports": new }));
        Service.default(&mut new);
        carry_over(&mut new, &balanced(json!({ "ports": old })));
        let twice = {
            let mut twice = new.clone();
            carry_over(&mut twice, &balanced(json!({ "ports": old })));
            twice
        };
        assert_eq!(twice, new, "doing it twice changes nothing");
        new["spec"]["ports"].as_array().unwrap().iter().map(|port| port["nodePort"].as_i64().unwrap_or(0)).collect()
    };
    let old = [port("a", 1, 30001), port("b", 2, 30002)];
    assert_eq!(numbers(&[port("a", 1, 0), port("b", 2, 0)], &old), [30001, 30002]);
    assert_eq!(numbers(&[port("b", 9, 0), port("a", 8, 0)], &old), [30002, 30001], "by name, whatever the port");
    assert_eq!(numbers(&[port("c", 1, 0)], &old), [0]);
    assert_eq!(
        numbers(&[port("a", 1, 0), port("b", 2, 30001)], &old),
        [0, 30001],
        "the number serves another port now"
    );
    assert_eq!(numbers(&[port("a", 1, 31000), port("b", 2, 0)], &old), [31000, 30002]);

    let local = |number: Value| balanced(json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": number }));
    let mut new = local(Value::Null);
    carry_over(&mut new, &local(json!(30999)));
    assert_eq!(new["spec"]["healthCheckNodePort"], 30999);
    let mut off = balanced(
        json!({ "allocateLoadBalancerNodePorts": false, "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }] }),
    );
    carry_over(&mut off, &balanced(json!({})));
    assert_eq!(off.pointer("/spec/ports/0/nodePort"), None, "not wanted any more");
}

#[test]
fn a_type_change_clears_what_the_client_left_alone() {
    let node_port = json!([{ "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080 }]);
    let old = balanced(
        json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 30999, "loadBalancerClass": "a/b", "loadBalancerSourceRanges": ["10.0.0.0/8"] }),
    );
    let old =
        merged(old, json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "1.2.3.4", "ipMode": "VIP" }] } } }));

    let new = updated(
        merged(
            old.clone(),
            json!({ "spec": { "type": "ExternalName", "externalName": "a.b", "loadBalancerSourceRanges": null } }),
        ),
        &old,
    );
    assert_eq!(errors(&new, &old), Vec::<String>::new());
    assert_eq!(
        new["spec"],
        json!({ "type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None", "selector": { "app": "web" },
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }] })
    );
    assert_eq!(new["status"]["loadBalancer"], json!({}));

    let new = updated(merged(old.clone(), json!({ "spec": { "type": "NodePort" } })), &old);
    assert_eq!(new["spec"]["ports"], node_port, "NodePort keeps its numbers");
    assert_eq!(new["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(new.pointer("/spec/healthCheckNodePort"), None);
    assert_eq!(new.pointer("/spec/loadBalancerClass"), None);
    assert_eq!(new.pointer("/spec/allocateLoadBalancerNodePorts"), None);
    assert_eq!(
        errors(&new, &old),
        ["spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        "source ranges are never cleared"
    );

    let new = updated(
        merged(
            old.clone(),
            json!({ "spec": { "type": "ClusterIP", "externalTrafficPolicy": "Cluster", "healthCheckNodePort": 30998,
        "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30081 }], "loadBalancerSourceRanges": null } }),
        ),
        &old,
    );
    assert_eq!(
        errors(&new, &old),
        [
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.externalTrafficPolicy: Invalid value: \"Cluster\": may only be set for externally-accessible services",
            "spec.healthCheckNodePort: Invalid value: 30998: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ],
        "what the client changed is not silently dropped"
    );
    let kept = updated(merged(old.clone(), json!({ "spec": { "externalTrafficPolicy": "Cluster" } })), &old);
    assert_eq!(kept.pointer("/spec/healthCheckNodePort"), None, "Local to Cluster frees the port too");
}

#[test]
fn status_belongs_to_the_status_subresource() {
    let old = merged(
        balanced(json!({})),
        json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "1.2.3.4", "ipMode": "VIP" }] } } }),
    );
    let mut new = merged(old.clone(), json!({ "status": { "loadBalancer": null } }));
    Service.prepare_update(&mut new, &old, Target::Main);
    assert_eq!(new, old, "a main write keeps the stored status, and an unchanged spec announces nothing");
    let mut new = merged(
        old.clone(),
        json!({ "spec": { "type": "ClusterIP" }, "status": { "loadBalancer": {}, "conditions": [] } }),
    );
    Service.prepare_update(&mut new, &old, Target::Status);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["status"]["conditions"], json!([]));
    let mut new = merged(
        service(json!({})),
        json!({ "status": { "conditions": [{ "type": "X" }], "loadBalancer": { "ingress": [{}] } } }),
    );
    Service.prepare_create(&mut new);
    assert_eq!(new["status"]["loadBalancer"], json!({}), "a creator sets no status");
}

#[test]
fn every_changed_spec_is_announced_as_pending() {
    let condition = |service: &Value| service["status"]["conditions"][0].clone();
    let pending = json!({ "type": "Programmed", "status": "False", "reason": "Pending", "message": "waiting for every node to apply this change" });
    let mut created = service(json!({}));
    Service.prepare_create(&mut created);
    assert_eq!(condition(&created), pending);

    let stored = |status: &str| {
        let conditions = json!([
            { "type": "Programmed", "status": status, "lastTransitionTime": "t", "reason": "r", "message": "m" },
            { "type": "Other", "status": "True", "lastTransitionTime": "t", "reason": "r", "message": "m" },
        ]);
        merged(service(json!({})), json!({ "status": { "conditions": conditions } }))
    };
    for (status, time) in [("True", None), ("False", Some("t"))] {
        let old = stored(status);
        let new = updated(merged(old.clone(), json!({ "spec": { "sessionAffinity": "ClientIP" } })), &old);
        let mut expected = pending.clone();
        if let Some(time) = time {
            expected["lastTransitionTime"] = time.into();
        }
        assert_eq!(condition(&new), expected, "{status}");
        assert_eq!(new["status"]["conditions"][1]["type"], "Other", "other conditions stay");
        let same = updated(merged(old.clone(), json!({ "metadata": { "labels": { "a": "b" } } })), &old);
        assert_eq!(same["status"], old["status"], "labels are not programmed");
    }
}
