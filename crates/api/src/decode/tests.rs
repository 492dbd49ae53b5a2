//! What comes in and what becomes of it.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds;

fn service(spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" }, "spec": spec })
}

#[test]
fn wrong_types_are_named_as_go_names_them() {
    for (spec, expected) in [
        (
            json!({"ports": [{"port": "http"}]}),
            "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            json!({"ports": "x"}),
            "json: cannot unmarshal string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            json!({"ports": [{"port": 99_999_999_999_i64}]}),
            "json: cannot unmarshal number 99999999999 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            json!({"ports": [{"port": 80.5}]}),
            "cannot unmarshal number 80.5 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            json!({"selector": {"a": 1}}),
            "cannot unmarshal number into Go struct field ServiceSpec.spec.selector of type string",
        ),
        (
            json!({"selector": ["a"]}),
            "cannot unmarshal array into Go struct field ServiceSpec.spec.selector of type map[string]string",
        ),
        (json!("x"), "cannot unmarshal string into Go struct field Service.spec of type v1.ServiceSpec"),
    ] {
        let error = decode(&kinds::SERVICE, &service(spec), Validation::Ignore).unwrap_err();
        assert_eq!(error.code, 400);
        let prefix = "Service in version \"v1\" cannot be handled as a Service: ";
        assert!(error.message.starts_with(prefix) && error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn unknown_fields_are_dropped_warned_of_or_refused() {
    let body = service(json!({ "foo": 1, "ports": [{ "port": 80, "bar": {} }] }));
    let warned = decode(&kinds::SERVICE, &body, Validation::Warn).unwrap();
    assert_eq!(warned.object, service(json!({ "ports": [{ "port": 80 }] })));
    let mut warnings = warned.warnings;
    warnings.sort();
    assert_eq!(warnings, ["unknown field \"spec.foo\"", "unknown field \"spec.ports[0].bar\""]);
    assert!(decode(&kinds::SERVICE, &body, Validation::Ignore).unwrap().warnings.is_empty());
    let error = decode(&kinds::SERVICE, &service(json!({ "foo": 1 })), Validation::Strict).unwrap_err();
    assert!(error.message.ends_with("strict decoding error: unknown field \"spec.foo\""), "{}", error.message);
}

#[test]
fn duplicates_are_seen() {
    let (value, duplicates) = parse_json(br#"{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": 2}]}"#).unwrap();
    assert_eq!(value, json!({"a": {"b": 2}, "c": [{"d": 2}]}));
    assert_eq!(duplicates, ["a.b", "c[0].d"]);
}

#[test]
fn nulls_and_empty_lists_go_and_empty_objects_stay() {
    let body = json!({ "spec": { "containers": [{ "name": "a", "env": [], "securityContext": {}, "args": null }],
        "volumes": [{ "name": "v", "emptyDir": {} }], "nodeSelector": {} } });
    let decoded = decode(&kinds::POD, &body, Validation::Strict).unwrap().object;
    let container = json!({ "name": "a", "securityContext": {} });
    assert_eq!(decoded["spec"], json!({ "containers": [container], "volumes": [{ "name": "v", "emptyDir": {} }] }));
}

#[test]
fn a_body_of_another_kind_is_refused() {
    let error = decode(&kinds::SERVICE, &json!({"apiVersion": "v1", "kind": "Pod"}), Validation::Warn).unwrap_err();
    assert!(error.message.contains("Kind=Pod") && error.message.contains("Kind=Service"), "{}", error.message);
    assert_eq!(decode(&kinds::SERVICE, &json!([]), Validation::Warn).unwrap_err().code, 400);
}

#[test]
fn malformed_and_deep_json_is_refused() {
    for bad in ["", "{", "{\"a\":}", "{} x", "\u{0}"] {
        assert_eq!(parse_json(bad.as_bytes()).unwrap_err().code, 400, "{bad:?}");
    }
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert!(parse_json(deep.as_bytes()).unwrap_err().message.contains("deeper than"));
}

#[test]
fn secrets_must_be_base64() {
    let secret = |data: &str| json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": data}});
    assert!(decode(&kinds::SECRET, &secret("aGk="), Validation::Strict).is_ok());
    for bad in ["aGk", "a-k=", "===="] {
        let error = decode(&kinds::SECRET, &secret(bad), Validation::Strict).unwrap_err();
        assert!(error.message.contains("illegal base64 data"), "{bad}: {}", error.message);
    }
}

#[test]
fn what_asks_for_nothing_is_nothing() {
    let body = service(json!({
        "clusterIP": "", "type": "", "loadBalancerClass": "", "selector": {}, "externalIPs": [],
        "ports": [{ "port": 0, "nodePort": 0, "name": "", "targetPort": 0 }] }));
    let decoded = decode(&kinds::SERVICE, &body, Validation::Strict).unwrap().object;
    // An empty class is a mistake that validation tells of, a required port of 0 as well.
    assert_eq!(decoded["spec"], json!({ "loadBalancerClass": "", "ports": [{ "port": 0, "targetPort": 0 }] }));
}

#[test]
fn quantities_and_times_have_one_form() {
    let pod = |limits: Value, time: &str| {
        json!({ "metadata": { "creationTimestamp": time },
                "spec": { "containers": [{ "name": "a", "resources": { "limits": limits } }] } })
    };
    let decoded = decode(
        &kinds::POD,
        &pod(json!({ "cpu": 2, "memory": "1.5Gi" }), "2026-01-02T03:04:05.6+01:00"),
        Validation::Strict,
    );
    let object = decoded.unwrap().object;
    assert_eq!(object["metadata"]["creationTimestamp"], "2026-01-02T02:04:05Z");
    assert_eq!(object["spec"]["containers"][0]["resources"]["limits"], json!({ "cpu": "2", "memory": "1.5Gi" }));
    for good in ["0", "-1", "+.5", "5.", "100m", "1e3", "1E-3", "12Ki", "1E"] {
        assert!(
            decode(&kinds::POD, &pod(json!({ "cpu": good }), "2026-01-02T03:04:05Z"), Validation::Strict).is_ok(),
            "{good}"
        );
    }
    for bad in ["", ".", "x", "1x", "1.2.3", "1ki", "1e", "1 Gi", "--1", "1Kii"] {
        let error =
            decode(&kinds::POD, &pod(json!({ "cpu": bad }), "2026-01-02T03:04:05Z"), Validation::Strict).unwrap_err();
        assert!(
            error.message.contains("spec.containers[0].resources.limits.cpu: quantities must match"),
            "{bad}: {error}"
        );
    }
    for bad in ["yesterday", "2026-13-01T00:00:00Z", "2026-01-02T03:04:05", ""] {
        let error = decode(&kinds::POD, &pod(json!({}), bad), Validation::Strict).unwrap_err();
        assert!(error.message.contains("metadata.creationTimestamp: parsing time"), "{bad}: {error}");
    }
}

/// Names are the client's: a body whose one long key holds many faults must not be answered with their product.
#[test]
fn faults_are_told_within_limits() {
    let long = "x".repeat(100_000);
    let twice = "\"a\":1,".repeat(3000);
    let (_, duplicates) = parse_json(format!("{{\"{long}\":{{{twice}\"b\":2}}}}").as_bytes()).unwrap();
    assert_eq!(duplicates.len(), FIELD_FAULTS_MAX);
    assert!(duplicates.iter().all(|path| path.len() <= PATH_BYTES_MAX));
    let unknown: serde_json::Map<String, Value> = (0..300).map(|n| (format!("é{n}{long}"), Value::Null)).collect();
    let body = service(Value::Object(unknown));
    let warnings = decode(&kinds::SERVICE, &body, Validation::Warn).unwrap().warnings;
    assert!(warnings.len() == FIELD_FAULTS_MAX && warnings.iter().all(|text| text.len() <= PATH_BYTES_MAX + 20));
}

/// Any JSON, with member names that the schemas know mixed in.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "ports",
        "port",
        "name",
        "labels",
        "containers",
        "selector",
        "template",
        "env",
        "$patch",
        "$retainKeys",
        "$setElementOrder/ports",
        "$deleteFromPrimitiveList/finalizers",
        "finalizers",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["delete", "replace", "merge", "80", "TCP", ""]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_decoded_or_refused(value in any_json()) {
        for kind in kinds::ALL {
            if let Ok(decoded) = decode(kind, &value, Validation::Warn) {
                let again = decode(kind, &decoded.object, Validation::Strict).expect("what was decoded is strictly right");
                prop_assert_eq!(again.object, decoded.object);
            }
        }
    }
}
