//! Steps into requests against an API in memory, and answers into what differs from what the row says.

use ::api::kind::{Kind, Target};
use ::api::kinds;
use compile::allocate::Ranges;
use contract::access::{Access, DeleteOptions};
use serde_json::{Value, json};
use store::Store;

use super::case::{Case, Step, read};
use crate::pipeline::{Api, Config};
use crate::write::patch::Language;
use crate::write::tests::config;
use crate::write::{ObjectKey, Outcome, Status, WriteOptions};

/// Runs every case of a file on an API of its own, and tells all that differs at once.
pub(super) async fn check(text: &str) {
    let mut wrong = Vec::new();
    let cases = read(text);
    for case in &cases {
        let directory = tempfile::tempdir().expect("a directory");
        let mut runner = Runner::new(case, directory.path()).await;
        for (index, step) in case.steps.iter().enumerate() {
            let differences = runner.step(step).await;
            wrong.extend(differences.into_iter().map(|text| format!("{} step {}: {text}", case.row, index + 1)));
        }
    }
    assert!(!cases.is_empty() && wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

struct Runner {
    api: Api,
    ranges: Ranges,
}

impl Runner {
    async fn new(case: &Case, directory: &std::path::Path) -> Self {
        let service = case.ranges.iter().map(|range| range.parse().expect("a range")).collect();
        let ranges = Ranges { service, node_ports: case.node_ports.0..=case.node_ports.1 };
        let config = Config { ranges: ranges.clone(), allow_external_ips: case.external_ips, ..config(30000..=30001) };
        let api = Api::new(Store::open_dir(directory).expect("a store"), config).expect("an API");
        let namespace = json!({ "metadata": { "name": "default" } });
        api.create(&kinds::NAMESPACE, namespace).await.expect("the namespace");
        Self { api, ranges }
    }

    async fn step(&mut self, step: &Step) -> Vec<String> {
        let kind = kind(step);
        let key = ObjectKey::new("default", step.text("name", "web"));
        let before = self.now(kind, &key).await;
        let answer = self.request(kind, &key, step, &before).await;
        let (object, warnings) = match &answer {
            Ok(outcome) => (parsed(&outcome.object.json), outcome.warnings.clone()),
            Err(_) => (Value::Null, Vec::new()),
        };
        let mut wrong = refusal(step, answer.as_ref().err());
        let pairs = [("is", if kind.kind == "Service" { "/spec" } else { "" }), ("statusIs", "/status")];
        for (member, place) in pairs.into_iter().filter(|(member, _)| answer.is_ok() && step.all.contains_key(*member))
        {
            let (is, was) = (object.pointer(place), before.pointer(place));
            self.differ(&step.all[member], is, was, member, &mut wrong);
        }
        let expected: Vec<&str> = step.list("warns").iter().filter_map(Value::as_str).collect();
        if answer.is_ok() && warnings != expected {
            wrong.push(format!("warnings are {warnings:?}, not {expected:?}"));
        }
        // What is refused or only tried must leave everything as it was.
        if (answer.is_err() || step.all.contains_key("dry")) && self.now(kind, &key).await != before {
            wrong.push("the stored object has changed".to_owned());
        }
        wrong
    }

    async fn now(&self, kind: &'static Kind, key: &ObjectKey) -> Value {
        self.api.get(kind, key).await.map_or(Value::Null, |object| parsed(&object.json))
    }

    async fn request(
        &self,
        kind: &'static Kind,
        key: &ObjectKey,
        step: &Step,
        stored: &Value,
    ) -> Result<Outcome, Status> {
        let options = &WriteOptions { dry_run: step.all.contains_key("dry"), ..WriteOptions::default() };
        let laid = |mut object: Value| {
            let place = if kind.kind == "Service" { &mut object["spec"] } else { &mut object };
            lay(place, &step.over);
            lay(&mut object["metadata"], &step.all.get("meta").cloned().unwrap_or(json!({})));
            object
        };
        let bare = || {
            let mut object = base(kind);
            object["metadata"] = json!({ "name": *key.name, "namespace": "default" });
            laid(object)
        };
        let patch = |language, change: Value| async move {
            self.api.patch_object(kind, key, Target::Main, language, &change, options).await
        };
        match step.verb.as_str() {
            "create" => self.api.create_object(kind, "default", &bare(), options).await,
            "replace" => self.api.replace_object(kind, key, Target::Main, &bare(), options).await,
            "put" => self.api.replace_object(kind, key, Target::Main, &laid(stored.clone()), options).await,
            "status" => {
                let mut object = stored.clone();
                lay(&mut object["status"], &step.over);
                lay(&mut object["metadata"], &step.all.get("meta").cloned().unwrap_or(json!({})));
                self.api.replace_object(kind, key, Target::Status, &object, options).await
            }
            "merge" => patch(Language::Merge, json!({ "spec": step.over })).await,
            "strategic" => patch(Language::Strategic, json!({ "spec": step.over })).await,
            _ => self.api.delete_object(kind, key, &DeleteOptions::default(), options.dry_run).await,
        }
    }

    /// What of `is` is not as `wanted` says.
    fn differ(&self, wanted: &Value, is: Option<&Value>, was: Option<&Value>, path: &str, wrong: &mut Vec<String>) {
        let family = |index: usize| self.ranges.service.iter().find(|range| range.network.is_ipv6() == (index == 6));
        let address = |index| {
            let given = is.and_then(Value::as_str).and_then(|text| text.parse().ok());
            given.zip(family(index)).is_some_and(|(given, range)| range.contains(given) && given != range.network)
        };
        let right = match (wanted, is) {
            (Value::Object(wanted), Some(Value::Object(_))) => {
                for (member, wanted) in wanted {
                    let of = |value: Option<&Value>| value.and_then(|value| value.get(member)).cloned();
                    self.differ(wanted, of(is).as_ref(), of(was).as_ref(), &format!("{path}.{member}"), wrong);
                }
                return;
            }
            (Value::Array(wanted), Some(Value::Array(items))) if wanted.len() == items.len() => {
                for (index, (wanted, is)) in wanted.iter().zip(items).enumerate() {
                    let was = was.and_then(|was| was.get(index));
                    self.differ(wanted, Some(is), was, &format!("{path}[{index}]"), wrong);
                }
                return;
            }
            (Value::Null, is) => is.is_none(),
            (Value::String(wanted), is) => match wanted.as_str() {
                "@ip4" => address(4),
                "@ip6" => address(6),
                "@nodePort" => {
                    is.and_then(Value::as_u64).is_some_and(|port| self.ranges.node_ports.contains(&(port as u16)))
                }
                "@same" => is.is_some() && is == was,
                _ => is.and_then(Value::as_str) == Some(wanted),
            },
            (wanted, is) => is == Some(wanted),
        };
        if !right {
            wrong.push(format!("{path} is {}, not {wanted}", is.unwrap_or(&Value::Null)));
        }
    }
}

/// What differs between the error that came and the one that was to come.
fn refusal(step: &Step, status: Option<&Status>) -> Vec<String> {
    let matches = |wanted: &Value, is: &str| {
        let wanted = wanted.as_str().unwrap_or_default();
        wanted.strip_suffix('*').map_or(wanted == is, |prefix| is.starts_with(prefix))
    };
    let fails = step.list("fails");
    let causes = step.list("causes");
    let Some(status) = status else {
        let expected = !fails.is_empty() || !causes.is_empty();
        return if expected { vec!["accepted, but must be refused".to_owned()] } else { Vec::new() };
    };
    let of = |field: &str, cause: &Value| cause[field].as_str().unwrap_or_default().to_owned();
    let got: Vec<(String, String)> = status.details["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| (of("field", cause), of("message", cause)))
        .collect();
    let right = match (fails, causes) {
        ([code, reason, message], []) => {
            code.as_u64() == Some(status.code.into()) && *reason == status.reason && matches(message, &status.message)
        }
        ([], [_, ..]) => {
            let same = |(wanted, (field, message)): (&Value, &(String, String))| {
                wanted[0] == *field && matches(&wanted[1], message)
            };
            let prefix = format!("{} \"{}\" is invalid: ", kind(step).qualified_kind(), step.text("name", "web"));
            (status.code, status.reason) == (422, "Invalid")
                && status.message.starts_with(&prefix)
                && got.len() == causes.len()
                && causes.iter().zip(&got).all(same)
        }
        _ => false,
    };
    if right {
        Vec::new()
    } else {
        vec![format!("refused with {} {}: {} {got:?}", status.code, status.reason, status.message)]
    }
}

fn kind(step: &Step) -> &'static Kind {
    let plural = step.text("kind", "services");
    [&kinds::SERVICE, &kinds::ENDPOINT_SLICE, &kinds::ENDPOINTS]
        .into_iter()
        .find(|kind| kind.plural == plural)
        .expect("a kind")
}

/// The least that a Service needs, for a row to say only what it is about.
fn base(kind: &Kind) -> Value {
    let service = json!({ "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] } });
    if kind.kind == "Service" { service } else { json!({}) }
}

/// Lays one value over another; null removes.
fn lay(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(members), Value::Object(over)) => {
            for (member, over) in over {
                if over.is_null() {
                    members.remove(member);
                } else {
                    lay(members.entry(member.clone()).or_insert(json!({})), over);
                }
            }
        }
        (value, Value::Null) => *value = json!({}),
        (value, over) => *value = over.clone(),
    }
}

fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).expect("JSON")
}
