//! The same requests as a real kube-apiserver was sent, and the same owners, objects and refusals as it answered with.

#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "oracle/client.rs"]
mod client;

use std::collections::BTreeMap;

use client::{Answer, Client};
use serde_json::{Value, json};

/// Where we answer otherwise: the pair, our code, and why.
const OTHERWISE: &[(&str, u64, &str)] = &[
    ("apply malformed yaml", 400, "another parser has other words"),
    ("apply a list", 400, "another parser has other words"),
    ("cbor is not served", 415, "kube-apiserver answers without naming what it accepts"),
    ("apply status of a missing service", 404, "kube-apiserver validates a Service that it is not going to create"),
    ("duplicate env in live", 201, "kube-apiserver warns that an environment variable hides an earlier one"),
    ("pod status", 200, "a condition without lastProbeTime is stored without one, not with null"),
];

/// When each entry of an object's owners last changed, as seen in the answer before.
type Times = BTreeMap<String, String>;

/// The owners of an answer, with what became of each entry's time instead of the time.
fn owners(entries: &Value, before: &mut Times, keep: bool) -> Value {
    let mut after = Times::new();
    let mut shown = Vec::new();
    for entry in entries.as_array().into_iter().flatten() {
        let who = format!("{} {} {}", entry["manager"], entry["operation"], entry["subresource"]);
        let time = entry["time"].as_str().unwrap_or("").to_owned();
        let mut entry = entry.clone();
        entry["time"] = match before.get(&who) {
            _ if time.is_empty() => "none",
            Some(earlier) if *earlier == time => "kept",
            _ => "new",
        }
        .into();
        after.insert(who, time);
        shown.push(entry);
    }
    if keep {
        *before = after;
    }
    Value::Array(shown)
}

/// What is compared of an answer.
fn compared(answer: &Value, times: &mut Times, keep: bool) -> Value {
    let mut shown = answer.clone();
    if let Some(entries) = answer.get("managedFields") {
        shown["managedFields"] = owners(entries, times, keep);
    }
    if let Some(spec) = shown.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|name, _| !name.starts_with("clusterIP"));
    }
    // Some messages show the whole object, whose uid and revision are its own.
    let short = |text: &mut Value| {
        if let Some((_, why)) = text.as_str().unwrap_or("").split_once("strict decoding error") {
            *text = why.into();
        }
    };
    shown.get_mut("message").map(short);
    for cause in shown.get_mut("causes").and_then(Value::as_array_mut).into_iter().flatten() {
        short(&mut cause["message"]);
    }
    if let Some(causes) = shown.get_mut("causes").and_then(Value::as_array_mut) {
        causes.sort_by_key(ToString::to_string);
        causes.dedup();
    }
    shown
}

/// Our answer in the form of the recording.
fn recorded(answer: &Answer) -> Value {
    let (body, mut out) = (&answer.body, json!({ "code": answer.code }));
    if !answer.warnings.is_empty() {
        out["warnings"] = answer.warnings.clone().into();
    }
    let members: &[&str] = if body["kind"] == "Status" { &["message", "reason"] } else { &["data", "spec"] };
    let shown = ["ConfigMap", "Service", "Deployment", "Scale", "Status"].iter().any(|kind| body["kind"] == *kind);
    for name in members.iter().filter(|name| shown && body.get(**name).is_some()) {
        out[*name] = body[*name].clone();
    }
    if body["kind"] == "Status" {
        if body["details"]["causes"].is_array() {
            out["causes"] = body["details"]["causes"].clone();
        }
        return out;
    }
    out["managedFields"] = body["metadata"].get("managedFields").cloned().unwrap_or(json!([]));
    for name in ["annotations", "finalizers"] {
        if let Some(value) = body["metadata"].get(name) {
            out[name] = value.clone();
        }
    }
    out
}

/// The object that a request is about.
fn subject(request: &Value) -> String {
    let path = request["path"].as_str().unwrap_or_default().split('?').next().unwrap_or_default();
    let body: Value = request["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    let path = path.trim_end_matches("/status").trim_end_matches("/scale");
    if request["method"] == "POST" {
        format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or(""))
    } else {
        path.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_kept_as_kube_apiserver_keeps_them() {
    let recording: Value = serde_json::from_str(include_str!("oracle/managed_fields.json")).unwrap();
    let client = Client::start(recording["agent"].as_str().unwrap()).await;
    let (mut ours, mut theirs): (BTreeMap<String, Times>, BTreeMap<String, Times>) = Default::default();
    let mut wrong = Vec::new();
    for pair in recording["pairs"].as_array().unwrap() {
        let (name, request) = (pair["name"].as_str().unwrap(), &pair["request"]);
        let answer = client.send(request).await;
        let keep = !request["path"].as_str().unwrap().contains("dryRun") && answer.code < 300;
        let expected = compared(&pair["response"], theirs.entry(subject(request)).or_default(), keep);
        let got = compared(&recorded(&answer), ours.entry(subject(request)).or_default(), keep);
        match OTHERWISE.iter().find(|(otherwise, ..)| *otherwise == name) {
            Some((_, code, why)) if got["code"] != *code || got == expected => {
                wrong.push(format!("{name}: no longer otherwise ({why}):\n  {got}"));
            }
            None if got != expected => {
                wrong.push(format!("{name}:\n  kube-apiserver {expected}\n  ours           {got}"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}
