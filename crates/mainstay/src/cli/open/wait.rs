//! A Service in, the moment at which it answers out; or what is wrong with it, or that it took too long.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::client::Client;
use super::super::explain::{Target, text_of};
use super::super::target::namespace_is_there;
use super::place::{self, Place, Port};

/// How often the API is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is asked what is wrong.
const ASK: Duration = Duration::from_secs(1);
/// How long something may be wrong while objects are still being made.
const GRACE: Duration = Duration::from_secs(3);
/// What passes by itself: pods that start, kernels that catch up, addresses that are chosen.
const PASSING: [&str; 3] = ["MS1006", "MS1202", "MS1501"];

/// How the waiting ended.
pub(super) enum Outcome {
    /// It answers there.
    Ready(Place),
    /// Something is wrong: what `explain` says.
    Wrong(Value),
    /// Nothing is wrong, but it does not answer yet: what is still missing.
    TimedOut(&'static str),
}

/// The Service.
pub(super) async fn service(client: &Client, target: &Target) -> Result<Value> {
    let Target { namespace, name, .. } = target;
    let answer = client.get(&format!("/api/v1/namespaces/{namespace}/services/{name}")).await?;
    if answer.code == 404 {
        namespace_is_there(client, namespace).await?;
        bail!(
            "there is no Service {name} in namespace {namespace}.\nSee what there is: kubectl get services -n {namespace}"
        );
    }
    answer.ok()
}

/// Waits until the Service is programmed, has a ready endpoint, and its port a place on this host.
pub(super) async fn answering(client: &Client, target: &Target, port: &Port, patience: Duration) -> Result<Outcome> {
    let began = Instant::now();
    let (mut asked, mut wrong): (Instant, Option<(String, Instant)>) = (Instant::now(), None);
    loop {
        let missing = match missing(client, target, port).await? {
            Ok(place) => return Ok(Outcome::Ready(place)),
            Err(missing) => missing,
        };
        let late = began.elapsed() >= patience;
        if late || asked.elapsed() >= ASK {
            asked = Instant::now();
            let answer = explain(client, target).await?;
            let code = problem(&answer).map(str::to_owned);
            if late {
                return Ok(if code.is_some() { Outcome::Wrong(answer) } else { Outcome::TimedOut(missing) });
            }
            wrong = match (code, wrong) {
                (Some(code), Some((before, since))) if code == before => Some((code, since)),
                (code, _) => code.map(|code| (code, asked)),
            };
            let lasting =
                |(code, since): &(String, Instant)| since.elapsed() >= GRACE && !PASSING.contains(&code.as_str());
            if wrong.as_ref().is_some_and(lasting) {
                return Ok(Outcome::Wrong(answer));
            }
        }
        sleep(LOOK).await;
    }
}

/// Where it answers, or what is still missing.
async fn missing(client: &Client, target: &Target, port: &Port) -> Result<Result<Place, &'static str>> {
    let service = service(client, target).await?;
    if !programmed(&service) {
        return Ok(Err("its rules are not applied yet"));
    }
    let Target { namespace, name, .. } = target;
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let slices = client.get(&format!("{slices}?labelSelector=kubernetes.io/service-name%3D{name}")).await?.ok()?;
    if !served(&slices) {
        return Ok(Err("it has no ready endpoint"));
    }
    let status = client.get("/mainstay/status").await?.ok()?;
    Ok(place::place(&service, &status, target, port).ok_or("its port is not published yet"))
}

/// Whether every node has applied the Service.
fn programmed(service: &Value) -> bool {
    let mut conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| text_of(condition, "type") == "Programmed" && text_of(condition, "status") == "True")
}

/// Whether some endpoint is ready.
fn served(slices: &Value) -> bool {
    let slices = slices["items"].as_array().into_iter().flatten();
    let mut endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    // Unsaid means ready.
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
}

async fn explain(client: &Client, target: &Target) -> Result<Value> {
    let question = json!({ "kind": "services", "namespace": target.namespace, "name": target.name });
    client.post("/mainstay/explain", &question).await?.ok()
}

/// The code of the first failing step, if that is a problem.
fn problem(answer: &Value) -> Option<&str> {
    let first = answer["first"].as_str()?;
    let mut findings = answer["findings"].as_array()?.iter();
    let finding = findings.find(|finding| text_of(finding, "code") == first)?;
    (text_of(finding, "severity") == "problem").then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_programmed_and_served() {
        let condition =
            |status: &str| json!({ "status": { "conditions": [{ "type": "Programmed", "status": status }] } });
        assert!(programmed(&condition("True")) && !programmed(&condition("False")) && !programmed(&json!({})));
        let slices = |endpoint: Value| json!({ "items": [{ "endpoints": null }, { "endpoints": [endpoint] }] });
        assert!(served(&slices(json!({ "conditions": { "ready": true } }))));
        assert!(served(&slices(json!({ "conditions": {} }))));
        assert!(!served(&slices(json!({ "conditions": { "ready": false } }))));
        assert!(!served(&json!({ "items": [] })));
    }

    #[test]
    fn only_problems_end_the_waiting() {
        let answer =
            |severity: &str| json!({ "first": "MS1001", "findings": [{ "code": "MS1001", "severity": severity }] });
        assert_eq!(problem(&answer("problem")), Some("MS1001"));
        assert_eq!(problem(&answer("warning")), None);
        assert_eq!(problem(&json!({ "first": null, "findings": [] })), None);
    }
}
