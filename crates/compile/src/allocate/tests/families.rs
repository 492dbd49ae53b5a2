//! Section 1.4: what the policy and the families of a Service become, on one and on two families.

use super::*;

type Make = fn() -> Cluster;

/// Policy, families and number of addresses of what is created.
fn outcome(mut cluster: Cluster, members: Value) -> (String, Value, usize) {
    let service = cluster.create("web", spec(members.clone())).unwrap_or_else(|error| panic!("{members}: {error}"));
    let text = service["spec"]["ipFamilyPolicy"].as_str().unwrap().to_owned();
    (text, service["spec"]["ipFamilies"].clone(), ips(&service).len())
}

#[test]
fn families_of_new_services() {
    let (four, six) = (json!(["IPv4"]), json!(["IPv6"]));
    let (both, turned) = (json!(["IPv4", "IPv6"]), json!(["IPv6", "IPv4"]));
    let table: Vec<(Make, Value, &str, &Value, usize)> = vec![
        (single, json!({}), "SingleStack", &four, 1),
        (dual, json!({}), "SingleStack", &four, 1),
        (dual, json!({ "ipFamilies": ["IPv6"] }), "SingleStack", &six, 1),
        (dual, json!({ "ipFamilyPolicy": "PreferDualStack" }), "PreferDualStack", &both, 2),
        (single, json!({ "ipFamilyPolicy": "PreferDualStack" }), "PreferDualStack", &four, 1),
        (dual, json!({ "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"] }), "PreferDualStack", &turned, 2),
        (dual, json!({ "ipFamilyPolicy": "RequireDualStack" }), "RequireDualStack", &both, 2),
        (dual, json!({ "clusterIP": "fd00:10:96::5" }), "SingleStack", &six, 1),
        (
            dual,
            json!({ "clusterIP": "fd00:10:96::5", "ipFamilyPolicy": "PreferDualStack" }),
            "PreferDualStack",
            &turned,
            2,
        ),
        (
            dual,
            json!({ "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00:10:96::5"], "ipFamilyPolicy": "RequireDualStack" }),
            "RequireDualStack",
            &both,
            2,
        ),
        (single, json!({ "clusterIP": "None" }), "SingleStack", &four, 1),
        (dual, json!({ "clusterIP": "None" }), "SingleStack", &four, 1),
        (dual, json!({ "clusterIP": "None", "ipFamilyPolicy": "PreferDualStack" }), "PreferDualStack", &both, 1),
        (single, json!({ "clusterIP": "None", "selector": null }), "RequireDualStack", &both, 1),
        (dual, json!({ "clusterIP": "None", "selector": {} }), "RequireDualStack", &both, 1),
        (
            single,
            json!({ "clusterIP": "None", "selector": null, "ipFamilyPolicy": "SingleStack" }),
            "SingleStack",
            &four,
            1,
        ),
        (
            single,
            json!({ "clusterIP": "None", "selector": null, "ipFamilies": ["IPv6"] }),
            "RequireDualStack",
            &turned,
            1,
        ),
    ];
    for (cluster, members, policy, families, addresses) in table {
        let text = members.to_string();
        assert_eq!(outcome(cluster(), members), (policy.to_owned(), families.clone(), addresses), "{text}");
    }
}

#[test]
fn refusals_before_anything_is_taken() {
    let table: Vec<(Make, Value, &str)> = vec![
        (
            single,
            json!({ "ipFamilyPolicy": "RequireDualStack" }),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            single,
            json!({ "ipFamilies": ["IPv6"] }),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            single,
            json!({ "clusterIP": "fd00::1" }),
            "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster",
        ),
        (
            dual,
            json!({ "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"] }),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (
            dual,
            json!({ "ipFamilies": ["IPv4", "IPv6"] }),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (
            dual,
            json!({ "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00:10:96::5"] }),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
        ),
        (
            dual,
            json!({ "clusterIPs": ["10.96.0.5"] }),
            "spec.clusterIPs: Invalid value: [\"10.96.0.5\"]: must be empty when `clusterIP` is not specified",
        ),
        (
            dual,
            json!({ "clusterIP": "x" }),
            "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            dual,
            json!({ "clusterIP": "10.96.0.5", "ipFamilies": ["IPv6"] }),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        // Allocation speaks first and alone: the port error of the same Service is not heard.
        (
            single,
            json!({ "ipFamilies": ["IPv6"], "ports": [{ "port": 0 }] }),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
    ];
    for (cluster, members, expected) in table {
        let text = members.to_string();
        let mut cluster = cluster();
        assert_eq!(error(cluster.create("web", spec(members))), (422, expected.to_owned()), "{text}");
        assert_eq!(cluster.taken, Taken::default(), "{text}");
    }
}

#[test]
fn one_family_to_two_and_back() {
    let mut cluster = dual();
    let first = cluster.create("web", spec(json!({}))).unwrap();
    let two = cluster.patch(&first, json!({ "ipFamilyPolicy": "PreferDualStack" })).unwrap();
    assert_eq!(two["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(ips(&two)[0], ips(&first)[0]);
    assert_eq!(cluster.taken.counts().0, 2);

    let kept = cluster.update(&two, spec(json!({}))).unwrap();
    assert_eq!(kept["spec"], two["spec"], "a bare manifest changes nothing");

    let shrunk = error(cluster.patch(&two, json!({ "clusterIPs": [ips(&two)[0]] })));
    assert_eq!(
        shrunk,
        (422, "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP".to_owned())
    );
    let shrunk = error(cluster.patch(&two, json!({ "ipFamilies": ["IPv4"] })));
    assert_eq!(
        shrunk,
        (422, "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family".to_owned())
    );
    let one = cluster.patch(&two, json!({ "ipFamilyPolicy": "SingleStack" })).unwrap();
    assert_eq!((ips(&one), &one["spec"]["ipFamilies"]), (ips(&first), &json!(["IPv4"])));
    assert_eq!(cluster.taken.counts().0, 1, "the second address is free again");

    let asked = json!([ips(&one)[0], "fd00:10:96::abc"]);
    let two = cluster.patch(&one, json!({ "ipFamilyPolicy": "RequireDualStack", "clusterIPs": asked })).unwrap();
    assert_eq!(ips(&two)[1], "fd00:10:96::abc", "an explicit second address");
    let one = cluster.patch(&two, json!({ "ipFamilyPolicy": "SingleStack", "clusterIPs": [ips(&two)[0]] })).unwrap();
    assert_eq!(one["spec"]["ipFamilies"], json!(["IPv4"]), "shortened by hand works too");
}

#[test]
fn a_settled_service_is_not_upgraded_behind_its_back() {
    let mut cluster = single();
    let old = cluster.create("web", spec(json!({ "ipFamilyPolicy": "PreferDualStack" }))).unwrap();
    cluster.ranges = dual().ranges;
    let same = cluster.patch(&old, json!({ "sessionAffinity": "ClientIP" })).unwrap();
    assert_eq!(same["spec"]["ipFamilies"], json!(["IPv4"]));
    let asked = cluster.patch(&same, json!({ "ipFamilyPolicy": "RequireDualStack" })).unwrap();
    assert_eq!(asked["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
}

#[test]
fn the_primary_family_stays() {
    let mut cluster = dual();
    let old = cluster.create("web", spec(json!({}))).unwrap();
    let (code, text) = error(cluster.patch(&old, json!({ "ipFamilies": ["IPv6"] })));
    assert_eq!(code, 422);
    assert!(text.contains("expected an IPv6 value as indicated by `ipFamilies[0]`"), "{text}");
}
