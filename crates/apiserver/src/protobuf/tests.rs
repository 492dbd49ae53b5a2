//! Hand-made protobuf bodies in, the JSON that Go would have written out.

use serde_json::json;

use super::*;

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn body(version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, object), bytes(3, b""), bytes(4, b"")].concat()
}

#[test]
fn every_message_of_the_table_is_known_and_numbers_are_unique() {
    let known = [
        "string",
        "bytes",
        "int32",
        "int64",
        "bool",
        "quantity",
        "raw",
        "time",
        "micro-time",
        "int-or-string",
        "strings",
    ];
    assert!(MESSAGES.len() > 200);
    for (name, fields) in MESSAGES.iter() {
        let mut numbers: Vec<_> = fields.iter().map(|field| field.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), fields.len(), "{name}");
        for field in fields {
            assert!(
                known.contains(&field.of) || MESSAGES.contains_key(field.of),
                "{name}.{}: {}",
                field.name,
                field.of
            );
        }
    }
    let lines = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let (name, fields) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(MESSAGES[name].len(), fields.split(", ").count(), "{name}");
    }
    for kind in api::kinds::served() {
        assert!(MESSAGES.contains_key(kind.kind), "{}", kind.kind);
    }
}

#[test]
fn a_service_keeps_what_go_would_write_as_json() {
    let port = [
        bytes(1, b"http"),
        bytes(2, b""),
        number(3, 80),
        bytes(4, &[number(1, 1), number(2, 0), bytes(3, b"web")].concat()),
        number(5, 0),
    ];
    let label = [bytes(1, b"app"), bytes(2, b"ham")].concat();
    let spec = [bytes(1, &port.concat()), bytes(2, &label), bytes(3, b""), number(13, 0), number(20, 0)].concat();
    let meta = [bytes(1, b"ham"), bytes(3, b""), bytes(8, b""), bytes(11, &label)].concat();
    let service = [bytes(1, &meta), bytes(2, &spec), bytes(3, &bytes(1, b""))].concat();
    assert_eq!(
        decode(&body("v1", "Service", &service)).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "ham", "labels": { "app": "ham" } },
            "spec": {
                "ports": [{ "name": "http", "port": 80, "targetPort": "web" }], "selector": { "app": "ham" },
                "allocateLoadBalancerNodePorts": false,
            },
        })
    );
}

#[test]
fn special_types_and_inlined_messages() {
    // A Pod with a memory limit, an HTTP probe, an emptyDir, a deletion time and a negative number.
    let limits = bytes(1, &[bytes(1, b"memory"), bytes(2, &bytes(1, b"64Mi"))].concat());
    let http = bytes(2, &[bytes(1, b"/"), bytes(2, &[number(1, 0), number(2, 8080)].concat())].concat());
    let probe = [bytes(1, &http), number(2, 5)].concat();
    let container = [bytes(1, b"main"), bytes(8, &limits), bytes(10, &probe)].concat();
    let volume = [bytes(1, b"tmp"), bytes(2, &bytes(2, b""))].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), number(4, -1)].concat();
    let meta = [bytes(1, b"ham"), bytes(9, &[number(1, 1_795_248_000), number(2, 0)].concat())].concat();
    let pod = decode(&body("v1", "Pod", &[bytes(1, &meta), bytes(2, &spec)].concat())).unwrap();
    assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-11-21T08:00:00Z");
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{
                "name": "main", "resources": { "limits": { "memory": "64Mi" } },
                "livenessProbe": { "httpGet": { "path": "/", "port": 8080 }, "initialDelaySeconds": 5 },
            }],
            "volumes": [{ "name": "tmp", "emptyDir": {} }],
            "terminationGracePeriodSeconds": -1,
        })
    );
    let secret = bytes(2, &[bytes(1, b"key"), bytes(2, b"value")].concat());
    assert_eq!(decode(&body("v1", "Secret", &secret)).unwrap()["data"], json!({ "key": "dmFsdWU=" }));
}

#[test]
fn malformed_bodies_are_refused() {
    for (bytes, why) in [
        (b"{}".to_vec(), "magic"),
        (body("v1", "", b""), "which kind"),
        (body("v1", "Teapot", b""), "not known"),
        (body("v1", "Pod", b"\x0a\x05abc"), "cut off"),
        (body("v1", "Pod", b"\x0b"), "malformed"),
        (body("v1", "Pod", &number(1, 3)), "number stands"),
        (body("v1", "ConfigMap", &bytes(1, &bytes(1, b"\xff"))), "UTF-8"),
    ] {
        let error = decode(&bytes).unwrap_err();
        assert!(error.contains(why), "{error} should say {why}");
    }
    // Every prefix of a good body is either refused or read, never a panic.
    let good = body("v1", "Pod", &bytes(2, &bytes(2, &bytes(1, b"main"))));
    for end in 0..good.len() {
        let _ = decode(&good[..end]);
    }
}

#[test]
fn questions_about_rights_are_read_too() {
    let attributes = [bytes(2, b"get"), bytes(5, b"pods")].concat();
    let extra = [bytes(1, b"scopes"), bytes(2, &[bytes(1, b"a"), bytes(1, b"b")].concat())].concat();
    let spec = [bytes(1, &attributes), bytes(3, b"bob"), bytes(5, &extra)].concat();
    let review = [bytes(1, b""), bytes(2, &spec), bytes(3, &number(1, 0))].concat();
    let decoded = decode(&body("authorization.k8s.io/v1", "SubjectAccessReview", &review)).unwrap();
    let attributes = json!({ "verb": "get", "resource": "pods" });
    let spec = json!({ "resourceAttributes": attributes, "user": "bob", "extra": { "scopes": ["a", "b"] } });
    assert_eq!(decoded["spec"], spec);
}

#[test]
fn an_event_of_the_newer_group_has_numbers_of_its_own() {
    let node = [bytes(1, b"Node"), bytes(3, b"peer")].concat();
    let time = [number(1, 1_795_302_505), number(2, 993_704_000)].concat();
    let event =
        [bytes(1, &bytes(1, b"peer.1")), bytes(2, &time), bytes(4, b"kube-proxy"), bytes(8, &node), bytes(10, b"up")];
    assert_eq!(
        decode(&body("events.k8s.io/v1", "Event", &event.concat())).unwrap(),
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "peer.1" },
            "eventTime": "2026-11-21T23:08:25.993704Z", "reportingController": "kube-proxy",
            "regarding": { "kind": "Node", "name": "peer" }, "note": "up",
        })
    );
}
