//! YAML of cases into steps that can be run.

use serde_json::{Map, Value};

/// One row of the reference.
pub(super) struct Case {
    /// Section and words of the row.
    pub row: String,
    /// Service ranges: `dual`, `single`, `six`, or the ranges themselves.
    pub ranges: Vec<String>,
    /// Node ports.
    pub node_ports: (u16, u16),
    /// `--allow-external-ips`.
    pub external_ips: bool,
    /// Requests in order.
    pub steps: Vec<Step>,
}

/// One request and what must come of it.
pub(super) struct Step {
    /// `create`, `put`, ...
    pub verb: String,
    /// What to lay over.
    pub over: Value,
    /// The step as written.
    pub all: Map<String, Value>,
}

impl Step {
    /// A member as text, or what it is when absent.
    pub(super) fn text<'a>(&'a self, field: &str, otherwise: &'a str) -> &'a str {
        self.all.get(field).and_then(Value::as_str).unwrap_or(otherwise)
    }

    /// A list, empty when absent.
    pub(super) fn list(&self, field: &str) -> &[Value] {
        self.all.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

const VERBS: [&str; 7] = ["create", "put", "replace", "merge", "strategic", "status", "delete"];
const OTHERS: [&str; 9] = ["name", "kind", "meta", "dry", "is", "statusIs", "causes", "fails", "warns"];

/// Reads a file of cases. A member that means nothing is a mistake of the writer, so it panics.
pub(super) fn read(text: &str) -> Vec<Case> {
    let cases: Value = serde_saphyr::from_str(text).expect("the cases are YAML");
    cases.as_array().expect("a list of cases").iter().map(case).collect()
}

fn case(value: &Value) -> Case {
    let row = value["row"].as_str().expect("row").to_owned();
    let ranges = match value["ranges"].as_str().unwrap_or("dual") {
        "dual" => "10.96.0.0/24,fd00:10:96::/120",
        "single" => "10.96.0.0/24",
        "six" => "fd00:10:96::/120",
        own => own,
    };
    let ports = value["nodePorts"].as_array().map(|ports| ports.iter().map(|port| port.as_u64().expect("a port")));
    let ports: Vec<u16> = ports.map_or(vec![30000, 32767], |ports| ports.map(|port| port as u16).collect());
    Case {
        ranges: ranges.split(',').map(str::to_owned).collect(),
        node_ports: (ports[0], ports[1]),
        external_ips: value["externalIPs"].as_bool().unwrap_or(true),
        steps: value["steps"].as_array().unwrap_or_else(|| panic!("{row}: steps")).iter().map(step).collect(),
        row,
    }
}

fn step(value: &Value) -> Step {
    let all = value.as_object().expect("a step is a map").clone();
    let verb = VERBS.into_iter().find(|verb| all.contains_key(*verb)).unwrap_or_else(|| panic!("no verb in {value}"));
    for member in all.keys() {
        assert!(member == verb || OTHERS.contains(&member.as_str()), "{member} in {value}");
    }
    let said = ["is", "statusIs", "causes", "fails", "warns"].iter().any(|member| all.contains_key(*member));
    let prepares = matches!(verb, "create" | "delete");
    assert!(said || prepares, "nothing is expected of {value}");
    Step { verb: verb.to_owned(), over: all[verb].clone(), all }
}
