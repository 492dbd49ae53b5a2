//! MS1005, MS1007 and MS1008: the slices of the second article, as they are printed and as they go wrong.

use super::*;

const NAME: &str = "kubernetes.io/service-name";

fn service(world: &mut World, ports: Value) {
    world.service("my-service", json!({ "ports": ports }));
}

#[test]
fn ms1005_an_unnamed_service_port_and_a_slice_port_called_http() {
    let mut world = World::new();
    service(&mut world, json!([{ "port": 80, "targetPort": 9376 }]));
    world.slice("my-service-1", json!({ NAME: "my-service" }), json!({ "name": "http", "port": 9376 }), "10.4.5.6");
    let finding = world.one("my-service", "MS1005");
    assert_eq!(
        finding.line(),
        "MS1005 port \"http\" of endpointslice my-service-1 joins no port of svc my-service: it has \"\" (unnamed)"
    );
    assert_eq!((finding.field.as_str(), finding.severity), ("ports[0].name", Severity::Problem));
    assert_eq!(warnings(&world.find("my-service")), [finding.line()]);
    let slice = json!({ "metadata": { "labels": { NAME: "my-service" } }, "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 9376 }], "endpoints": [{ "addresses": ["10.4.5.6"] }] });
    assert_eq!(world.fixed("my-service", "MS1005", &slice), "1 endpoint, nothing left to mend");
    let fix =
        r#"kubectl patch endpointslice my-service-1 --type=json -p '[{"op":"add","path":"/ports/0/name","value":""}]'"#;
    assert_eq!(command(&finding), fix);
    service(&mut world, json!([{ "port": 80, "name": "http" }]));
    assert_eq!(world.wrong("my-service"), [] as [&str; 0]);
}

#[test]
fn ms1005_a_port_of_another_protocol_or_one_of_several() {
    let mut world = World::new();
    service(&mut world, json!([{ "port": 53, "name": "dns", "protocol": "UDP" }]));
    world.slice("s", json!({ NAME: "my-service" }), json!({ "name": "dns", "port": 53 }), "10.4.5.6");
    assert_eq!(world.one("my-service", "MS1005").fix, None, "no name would join them");
    service(&mut world, json!([{ "port": 80, "name": "web" }, { "port": 90, "name": "metrics" }]));
    world.put(
        "endpointslices",
        "s",
        json!({ "metadata": { "labels": { NAME: "my-service" } }, "addressType": "IPv4",
        "ports": [{ "name": "web", "port": 1 }, { "name": "metrcs", "port": 2 }], "endpoints": [] }),
    );
    let finding = world.one("my-service", "MS1005");
    assert_eq!(finding.severity, Severity::Warning);
    assert!(command(&finding).contains(r#""path":"/ports/1/name","value":"metrics""#), "{finding:?}");
}

#[test]
fn ms1005_a_label_that_is_missing_misspelt_or_of_nobody() {
    for (labels, line) in [
        (
            json!({}),
            "MS1005 endpointslice my-service-1 has no label kubernetes.io/service-name: no endpoints for my-service",
        ),
        (
            json!({ NAME: "my-servce" }),
            "MS1005 endpointslice my-service-1 has kubernetes.io/service-name=my-servce, and there is no such Service: no endpoint...",
        ),
    ] {
        let mut world = World::new();
        service(&mut world, json!([{ "port": 80 }]));
        world.slice("my-service-1", labels, json!({ "port": 9376 }), "10.4.5.6");
        let finding = world.one("my-service", "MS1005");
        assert_eq!(finding.line(), line);
        assert!(command(&finding).contains(r#"{"kubernetes.io/service-name":"my-service"}"#), "{finding:?}");
    }
}

fn of_slice(world: &World, name: &str) -> Vec<String> {
    let slice = world.snapshot.slices.get(&ObjectKey::new("default", name)).unwrap();
    slice_findings(&world.config, &world.snapshot, &world.index, slice).iter().map(Finding::line).collect()
}

#[test]
fn ms1005_is_told_when_the_slice_is_written_too() {
    let mut world = World::new();
    service(&mut world, json!([{ "port": 80 }]));
    world.slice("a", json!({ "kubernetes.io/service_name": "my-service" }), json!({ "port": 1 }), "10.4.5.6");
    world.slice("b", json!({ NAME: "my-servic" }), json!({ "port": 1 }), "10.4.5.6");
    world.slice("c", json!({ NAME: "my-service" }), json!({ "name": "x", "port": 1 }), "10.4.5.6");
    world.slice("d", json!({ NAME: "my-service" }), json!({ "port": 1 }), "10.4.5.6");
    assert_eq!(
        of_slice(&world, "a"),
        [
            "MS1005 the slice has no label kubernetes.io/service-name, but has kubernetes.io/service_name: no Service uses it"
        ]
    );
    assert_eq!(
        of_slice(&world, "b"),
        ["MS1005 kubernetes.io/service-name=my-servic: there is no Service my-servic in default; nearest: my-service"]
    );
    assert_eq!(of_slice(&world, "c").len(), 1);
    assert_eq!(of_slice(&world, "d"), [] as [&str; 0]);
}

#[test]
fn ms1007_endpoints_that_are_no_machines() {
    for (address, why) in [
        ("10.96.0.10", "the address of Service default/other; an endpoint cannot be a Service"),
        ("10.96.0.9", "its own address; an endpoint cannot be a Service"),
        ("10.96.7.7", "in the Service range, where no machine is"),
        ("127.0.0.1", "a loopback address: each pod's own"),
        ("169.254.169.254", "link-local (cloud metadata lives there)"),
        ("224.0.0.1", "no address of one machine"),
    ] {
        let mut world = World::new();
        service(&mut world, json!([{ "port": 80 }]));
        world.service(
            "other",
            json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "selector": { "a": "b" } }),
        );
        world.slice("s", json!({ NAME: "my-service" }), json!({ "port": 9376 }), address);
        let finding = world.one("my-service", "MS1007");
        assert_eq!(finding.line(), format!("MS1007 endpoint {address} of endpointslice s is {why}"));
        assert_eq!((finding.severity, of_slice(&world, "s")), (Severity::Problem, vec![finding.line()]));
    }
    let mut world = World::new();
    service(&mut world, json!([{ "port": 80 }]));
    world.slice("s", json!({ NAME: "my-service" }), json!({ "port": 9376 }), "192.168.1.7");
    assert_eq!(world.one("my-service", "MS1007").severity, Severity::Note, "a node's address works");
}

#[test]
fn ms1008_no_selector_and_no_slice() {
    let mut world = World::new();
    service(&mut world, json!([{ "port": 80, "name": "http" }]));
    let finding = world.one("my-service", "MS1008");
    assert!(command(&finding).contains(r#""labels":{"kubernetes.io/service-name":"my-service"}"#), "{finding:?}");
    assert_eq!(warnings(&world.find("my-service")), [] as [&str; 0], "the slice comes next in the same file");
}

#[test]
fn endpoints_are_judged_as_the_slices_that_they_are_mirrored_into() {
    let mut world = World::new();
    service(&mut world, json!([{ "port": 80, "name": "http" }]));
    let of = |world: &World, subset: Value| {
        let key = ObjectKey::new("default", "my-service");
        let object = json!({ "subsets": [subset] });
        let found = endpoints_findings(&world.config, &world.snapshot, &world.index, &key, &object);
        found.iter().map(|finding| (finding.line(), finding.field.clone())).collect::<Vec<_>>()
    };
    let bad = json!({ "addresses": [{ "ip": "10.4.5.6" }, { "ip": "10.96.0.9" }], "ports": [{ "port": 9376 }] });
    assert_eq!(
        of(&world, bad),
        [
            (
                "MS1005 port \"\" (unnamed) of endpoints my-service joins no port of svc my-service: it has \"http\""
                    .to_owned(),
                "subsets[0].ports[0].name".to_owned()
            ),
            (
                "MS1007 endpoint 10.96.0.9 of endpoints my-service is its own address; an endpoint cannot be a Service"
                    .to_owned(),
                "subsets[0].addresses[1].ip".to_owned()
            ),
        ]
    );
    let good = json!({ "addresses": [{ "ip": "10.4.5.6" }], "ports": [{ "port": 9376, "name": "http" }] });
    assert_eq!(of(&world, good), []);
    assert_eq!(of(&world, json!({ "addresses": [{ "ip": 7 }], "ports": "x" })), []);
}
