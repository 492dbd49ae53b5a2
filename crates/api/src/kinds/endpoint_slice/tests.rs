//! EndpointSlices in; defaults, errors, warnings and cells out.

use super::*;

fn errors(slice: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = EndpointSlice.validate(slice, old, Target::Main);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn with_addresses(kind: &str, addresses: Value) -> Value {
    let mut slice =
        json!({ "addressType": kind, "endpoints": [{ "addresses": addresses }], "ports": [{ "port": 80 }] });
    EndpointSlice.default(&mut slice);
    slice
}

#[test]
fn defaults() {
    let mut slice = json!({ "addressType": "IPv4", "ports": [{ "port": 80 }, { "name": "b", "protocol": "UDP" }] });
    EndpointSlice.default(&mut slice);
    assert_eq!(
        slice,
        json!({ "addressType": "IPv4", "endpoints": [], "ports": [
            { "name": "", "port": 80, "protocol": "TCP" }, { "name": "b", "protocol": "UDP" } ] })
    );
    let mut slice = json!({ "endpoints": [{ "addresses": ["10.0.0.1"], "deprecatedTopology": { "a": "b" } }] });
    EndpointSlice.prepare_create(&mut slice);
    assert_eq!(slice["endpoints"], json!([{ "addresses": ["10.0.0.1"] }]));
}

#[test]
fn addresses_of_each_family() {
    let at = "endpoints[0].addresses";
    let table = [
        ("IPv4", json!(["10.0.0.1"]), vec![]),
        ("IPv4", json!([]), vec![format!("{at}: Required value: must contain at least 1 address")]),
        (
            "IPv4",
            json!(["127.0.0.1"]),
            vec![format!(
                "{at}[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
            )],
        ),
        (
            "IPv4",
            json!(["169.254.1.1"]),
            vec![format!(
                "{at}[0]: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            )],
        ),
        ("IPv4", json!(["fd00::1"]), vec![format!("{at}: Invalid value: \"fd00::1\": must be an IPv4 address")]),
        (
            "IPv4",
            json!(["10.0.0.01"]),
            vec![format!("{at}[0]: Invalid value: \"10.0.0.01\": must not have leading 0s")],
        ),
        ("IPv6", json!(["fd00::1"]), vec![]),
        ("IPv6", json!(["10.0.0.1"]), vec![format!("{at}: Invalid value: \"10.0.0.1\": must be an IPv6 address")]),
        (
            "IPv6",
            json!(["FD00::1"]),
            vec![format!("{at}[0]: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")")],
        ),
        (
            "IPv6",
            json!(["::1"]),
            vec![format!("{at}[0]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)")],
        ),
        (
            "IPv6",
            json!(["fe80::1"]),
            vec![format!(
                "{at}[0]: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            )],
        ),
        ("FQDN", json!(["example.com"]), vec![]),
        (
            "FQDN",
            json!(["localhost"]),
            vec![format!(
                "{at}[0]: Invalid value: \"localhost\": should be a domain with at least two segments separated by dots"
            )],
        ),
        ("", json!(["x"]), vec!["addressType: Required value".to_owned()]),
        (
            "IPX",
            json!(["x"]),
            vec!["addressType: Unsupported value: \"IPX\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"".to_owned()],
        ),
    ];
    for (kind, addresses, expected) in table {
        let slice = with_addresses(kind, addresses);
        assert_eq!(errors(&slice, None), expected, "{slice}");
        assert!(
            errors(&slice, Some(&slice)).iter().all(|error| !error.starts_with("endpoints")),
            "stored endpoints are exempt"
        );
    }
}

#[test]
fn ports_hints_and_limits() {
    let mut slice = with_addresses("IPv4", json!(["10.0.0.1"]));
    slice["ports"] = json!([
        { "name": "a", "protocol": "TCP" }, { "name": "a", "protocol": "X" }, { "name": "b.c", "protocol": "UDP", "appProtocol": "a b" },
    ]);
    slice["endpoints"][0]["nodeName"] = json!("N");
    slice["endpoints"][0]["hostname"] = json!("a.b");
    slice["endpoints"][0]["hints"] =
        json!({ "forZones": [{ "name": "z" }, { "name": "z" }], "forNodes": [{ "name": "N" }] });
    let fields: Vec<_> =
        EndpointSlice.validate(&slice, None, Target::Main).0.into_iter().map(|error| error.field).collect();
    assert_eq!(
        fields,
        [
            "ports[1].name",
            "ports[1].protocol",
            "ports[2].name",
            "ports[2].appProtocol",
            "endpoints[0].nodeName",
            "endpoints[0].hostname",
            "endpoints[0].hints.forZones[1].name",
            "endpoints[0].hints.forNodes[0].name",
        ]
    );
    let many = |count: usize| vec![json!({ "addresses": ["10.0.0.1"] }); count];
    assert!(errors(&json!({ "addressType": "IPv4", "endpoints": many(1000) }), None).is_empty());
    assert_eq!(
        errors(&json!({ "addressType": "IPv4", "endpoints": many(1001) }), None),
        ["endpoints: Too many: 1001: must have at most 1000 items"]
    );
    assert_eq!(
        errors(&with_addresses("IPv4", vec!["10.0.0.1"; 101].into()), None),
        ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]
    );
    let zones: Vec<_> = (0..9).map(|zone| json!({ "name": zone.to_string() })).collect();
    let hinted =
        json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"], "hints": { "forZones": zones } }] });
    assert_eq!(errors(&hinted, None), ["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"]);
}

#[test]
fn the_family_is_fixed() {
    let (old, new) = (with_addresses("IPv4", json!(["10.0.0.1"])), with_addresses("IPv6", json!(["fd00::1"])));
    assert_eq!(errors(&new, Some(&old)), ["addressType: Invalid value: \"IPv6\": field is immutable"]);
}

#[test]
fn warnings_and_cells() {
    let fqdn = with_addresses("FQDN", json!(["a.b"]));
    assert_eq!(EndpointSlice.warnings(&fqdn, None), ["spec.addressType: FQDN endpoints are deprecated"]);
    assert!(EndpointSlice.warnings(&fqdn, Some(&fqdn)).is_empty());
    let slice = json!({
        "metadata": { "name": "s" }, "addressType": "IPv4", "ports": [{ "port": 80 }, { "name": "any" }, {}, { "port": 1 }],
        "endpoints": [{ "addresses": ["10.0.0.1", "10.0.0.2"] }, { "addresses": ["10.0.0.3"] }, { "addresses": ["10.0.0.4"] }],
    });
    assert_eq!(
        EndpointSlice.cells(&slice, 0),
        ["s", "IPv4", "80,any,* + 1 more...", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...", "<unknown>"]
    );
    assert_eq!(EndpointSlice.cells(&json!({}), 0)[2..4], ["<unset>", "<unset>"]);
}
