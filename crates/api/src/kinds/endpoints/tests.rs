//! Endpoints in, errors and cells out.

use serde_json::json;

use super::*;

fn errors(subsets: Value) -> Vec<String> {
    let errors = Endpoints.validate(&json!({ "subsets": subsets }), None, Target::Main);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn subsets() {
    let good = json!([{ "addresses": [{ "ip": "10.0.0.1", "hostname": "a", "nodeName": "n.b" }], "ports": [{ "port": 80, "protocol": "TCP" }] }]);
    assert_eq!(errors(good), Vec::<String>::new());
    assert_eq!(
        errors(json!([{ "ports": [{ "port": 80, "protocol": "TCP" }] }])),
        ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
    );
    let bad = json!([{
        "addresses": [{ "ip": "127.0.0.1" }, { "ip": "x", "hostname": "a.b" }],
        "notReadyAddresses": [{ "ip": "169.254.0.1" }],
        "ports": [{ "port": 0, "protocol": "TCP" }, { "name": "b", "port": 1, "protocol": "X" }],
    }]);
    assert_eq!(
        errors(bad.clone()),
        [
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "subsets[0].addresses[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "subsets[0].addresses[1].hostname: Invalid value: \"a.b\": must not contain dots",
            "subsets[0].addresses[1].ip: Invalid value: \"x\": must be a valid IP address",
            "subsets[0].notReadyAddresses[0].ip: Invalid value: \"169.254.0.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "subsets[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ]
    );
    let stored = json!({ "subsets": bad });
    assert!(Endpoints.validate(&stored, Some(&stored), Target::Main).is_empty(), "unchanged subsets are exempt");
}

#[test]
fn protocols_are_defaulted_and_every_write_warned_about() {
    let mut object = json!({ "subsets": [{ "ports": [{ "port": 1 }, { "port": 2, "protocol": "UDP" }] }] });
    Endpoints.default(&mut object);
    assert_eq!(
        object["subsets"][0]["ports"],
        json!([{ "port": 1, "protocol": "TCP" }, { "port": 2, "protocol": "UDP" }])
    );
    assert_eq!(
        Endpoints.warnings(&object, None),
        ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"]
    );
}

#[test]
fn cells() {
    let cell = |subsets: Value| Endpoints.cells(&json!({ "subsets": subsets }), 0)[1].clone();
    let ips = |count: u8| (1..=count).map(|last| json!({ "ip": format!("10.0.0.{last}") })).collect::<Vec<_>>();
    assert_eq!(cell(json!([])), "<none>");
    assert_eq!(cell(json!([{ "notReadyAddresses": ips(1), "ports": [{ "port": 80 }] }])), "");
    assert_eq!(cell(json!([{ "addresses": ips(2), "ports": [{ "port": 80 }] }])), "10.0.0.1:80,10.0.0.2:80");
    assert_eq!(
        cell(json!([{ "addresses": ips(2), "ports": [{ "port": 80 }, { "port": 81 }] }])),
        "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more..."
    );
    assert_eq!(cell(json!([{ "addresses": ips(5) }])), "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...");
    assert_eq!(cell(json!([{ "addresses": [{ "ip": "fd00::1" }], "ports": [{ "port": 80 }] }])), "[fd00::1]:80");
}
