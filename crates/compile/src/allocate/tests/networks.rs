//! Section 1.8: added networks, in which order they are tried, which of them may go.

use api::kinds::SERVICE_CIDR;

use super::*;

fn network(name: &str, cidrs: &[&str]) -> Value {
    let mut object = json!({ "metadata": { "name": name }, "spec": { "cidrs": cidrs } });
    SERVICE_CIDR.rules.default(&mut object);
    SERVICE_CIDR.rules.prepare_create(&mut object);
    object
}

/// A claim on an address by something that is no Service.
fn claim(address: &str) -> Value {
    let parent = json!({ "group": "g.example", "resource": "gateways", "name": "edge" });
    json!({ "metadata": { "name": address }, "spec": { "parentRef": parent } })
}

#[test]
fn the_default_network_is_tried_first_then_others_by_name() {
    let mut cluster = cluster(&["10.96.0.0/30"], 30000..=30001);
    for object in [network("b", &["10.98.0.0/30"]), network("a", &["10.97.0.0/30", "fd00::/112"])] {
        cluster.taken.put_network(&object);
    }
    let mut given =
        |name: &str| ips(&cluster.create(name, spec(json!({}))).unwrap())[0].rsplit_once('.').unwrap().0.to_owned();
    let order: Vec<_> = ["1", "2", "3", "4", "5", "6"].map(&mut given).to_vec();
    assert_eq!(order, ["10.96.0", "10.96.0", "10.97.0", "10.97.0", "10.98.0", "10.98.0"]);
    let full = cluster.create("web", spec(json!({}))).unwrap_err();
    assert!(full.code == 500 && full.message.ends_with("range is full"), "{full}");
    let dual = error(cluster.create("web", spec(json!({ "ipFamilies": ["IPv6"] }))));
    assert_eq!(
        dual.1, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        "families are the flags'"
    );
    let dry = cluster.write("web", spec(json!({})), None, true).unwrap();
    assert_eq!(ips(&dry), ["10.96.0.0"]);
}

#[test]
fn the_stored_default_network_replaces_the_configured_one() {
    let mut cluster = single();
    cluster.taken.put_network(&network("kubernetes", &["10.50.0.0/24"]));
    assert!(ips(&cluster.create("a", spec(json!({}))).unwrap())[0].starts_with("10.50.0."));
    let (code, text) = error(cluster.create("web", spec(json!({ "clusterIP": "10.96.0.10" }))));
    assert!(code == 422 && text.ends_with("does not match the current range (10.50.0.0/24)"), "{text}");
    cluster.taken.remove_network(&network("kubernetes", &[]));
    cluster.create("web", spec(json!({ "clusterIP": "10.96.0.10" }))).unwrap();
}

#[test]
fn networks_that_are_not_ready_or_too_wide_give_nothing() {
    let mut cluster = cluster(&["10.96.0.0/24", "fd00:96::/112"], 30000..=30001);
    let mut going = network("going", &["10.97.0.0/24"]);
    going["metadata"]["deletionTimestamp"] = "t".into();
    let mut unready = network("unready", &["10.98.0.0/24"]);
    unready["status"]["conditions"][0]["status"] = "False".into();
    for object in [going, unready, network("wide", &["fd01::/63"])] {
        cluster.taken.put_network(&object);
    }
    for ip in ["10.97.0.5", "10.98.0.5"] {
        let (_, text) = error(cluster.create("web", spec(json!({ "clusterIP": ip }))));
        assert!(text.ends_with("does not match the current range (10.96.0.0/24)"), "{text}");
    }
    let wide = json!({ "clusterIP": "fd01::5", "ipFamilies": ["IPv6"] });
    let (_, text) = error(cluster.create("web", spec(wide)));
    assert!(text.ends_with("does not match the current range (fd00:96::/112)"), "{text}");
}

#[test]
fn claims_keep_addresses_from_services() {
    let mut cluster = cluster(&["10.96.0.0/30"], 30000..=30001);
    let first = cluster.create("first", spec(json!({ "clusterIP": "10.96.0.1" }))).unwrap();
    cluster.taken.claim(&claim("10.96.0.2"));
    let before = cluster.taken.clone();
    let of_first = api::object::ObjectKey::new("default", "first");
    cluster.taken.claim(&api::kinds::ip_address::of_service("10.96.0.1".parse().unwrap(), &of_first));
    assert_eq!(cluster.taken, before, "what says that a Service has its address says nothing new");
    let (_, text) = error(cluster.create("web", spec(json!({ "clusterIP": "10.96.0.2" }))));
    assert!(text.ends_with("provided IP is already allocated (by gateways.g.example/edge)"), "{text}");
    assert_eq!(cluster.create("web", spec(json!({}))).unwrap_err().code, 500, "dynamic ones pass it by");
    cluster.taken.unclaim(&claim("10.96.0.2"));
    assert_eq!(ips(&cluster.create("web", spec(json!({}))).unwrap()), ["10.96.0.2"]);
    assert_eq!(cluster.taken.held().count(), 2);
    cluster.taken.remove(&first);
    assert!(!cluster.taken.has("10.96.0.1".parse().unwrap()));
}

#[test]
fn a_network_may_go_when_no_address_is_left_without_one() {
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], bool);
    let table: &[Row<'_>] = &[
        (&["10.97.0.0/24"], &["10.96.0.0/24"], &[], true),
        (&["10.97.0.0/24"], &["10.96.0.0/24"], &["10.96.0.5"], true),
        (&["10.97.0.0/24"], &["10.96.0.0/24"], &["10.97.0.5"], false),
        (&["10.97.0.0/24"], &["10.97.0.0/16"], &["10.97.0.5"], true),
        (&["10.97.0.0/24"], &["10.97.0.0/24"], &["10.97.0.5"], true),
        (&["10.97.0.0/24"], &["10.97.0.0/28"], &["10.97.0.5"], true),
        (&["10.97.0.0/24"], &["10.97.0.0/28"], &["10.97.0.5", "10.97.0.99"], false),
        (&["10.97.0.0/24", "fd00::/112"], &["10.97.0.0/16"], &["10.97.0.5"], true),
        (&["10.97.0.0/24", "fd00::/112"], &["10.97.0.0/16"], &["fd00::5"], false),
        (&[], &[], &["10.97.0.5"], true),
    ];
    for (own, others, held, expected) in table {
        let others: Vec<Cidr> = others.iter().map(|cidr| cidr.parse().unwrap()).collect();
        let held = held.iter().map(|address| address.parse().unwrap());
        assert_eq!(may_go(&network("x", own), &others, held), *expected, "{own:?} {others:?}");
    }
}
