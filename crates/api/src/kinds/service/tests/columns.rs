//! Services in, the cells that `kubectl get -o wide` prints out.

use super::*;

fn cells(service: &Value) -> Vec<Value> {
    let service = merged(service.clone(), json!({ "metadata": { "creationTimestamp": "1970-01-01T00:00:00Z" } }));
    Service.cells(&service, 90)
}

#[test]
fn a_cell_per_column() {
    let names: Vec<_> = Service.columns().iter().map(|column| (column.name, column.priority)).collect();
    assert_eq!(
        names,
        [
            ("Name", 0),
            ("Type", 0),
            ("Cluster-IP", 0),
            ("External-IP", 0),
            ("Port(s)", 0),
            ("Age", 0),
            ("Selector", 1),
            ("Endpoints", 1),
            ("Programmed", 1),
            ("Problem", 1),
        ]
    );
    let row = cells(&service(json!({})));
    assert_eq!(
        row,
        ["web", "ClusterIP", "10.96.0.10", "<none>", "80/TCP", "90s", "app=web", "<unknown>", "<none>", "<unknown>"]
    );
}

#[test]
fn addresses_and_ports_by_type() {
    let cell = |service: Value, index: usize| cells(&service)[index].as_str().unwrap().to_owned();
    let ingress = |ingress: Value, spec: Value| {
        merged(balanced(spec), json!({ "status": { "loadBalancer": { "ingress": ingress } } }))
    };
    assert_eq!(cell(external_name(json!({})), 2), "<none>");
    assert_eq!(cell(external_name(json!({})), 3), "example.com");
    assert_eq!(cell(external_name(json!({})), 4), "<none>");
    assert_eq!(cell(service(json!({ "clusterIP": "None", "clusterIPs": ["None"] })), 2), "None");
    assert_eq!(cell(service(json!({ "externalIPs": ["1.1.1.1", "2.2.2.2"] })), 3), "1.1.1.1,2.2.2.2");
    assert_eq!(cell(balanced(json!({})), 3), "<pending>");
    assert_eq!(cell(balanced(json!({})), 4), "80:30080/TCP");
    let two = json!([{ "ip": "9.9.9.9" }, { "hostname": "a.b" }, { "ip": "1.1.1.1" }]);
    assert_eq!(cell(ingress(two, json!({ "externalIPs": ["0.1.2.3"] })), 3), "1.1.1.1,9.9.9.9,a.b,0.1.2.3");
    assert_eq!(cell(balanced(json!({ "externalIPs": ["0.1.2.3"] })), 3), "0.1.2.3");
    assert_eq!(cell(service(json!({ "selector": { "b": "2", "a": "1" } })), 6), "a=1,app=web,b=2");
    assert_eq!(cell(service(json!({ "selector": null })), 6), "<none>");
    let programmed = merged(
        service(json!({})),
        json!({ "status": { "conditions": [{ "type": "Programmed", "status": "False" }] } }),
    );
    assert_eq!(cell(programmed, 8), "False");
}
