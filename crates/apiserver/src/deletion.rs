//! Requests to delete in: options out of the body or the URL, one object, many or an eviction deleted, what became of
//! them out.

use api::field::FieldErrors;
use api::kinds;
use api::status::Status;
use contract::access::DeleteOptions;
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::body;
use crate::list::ListOptions;
use crate::negotiate::{Accepted, Format, accepted, body_format};
use crate::object::{meta, parsed, revision};
use crate::pipeline::Api;
use crate::query::Query;
use crate::reply::{self, Body};
use crate::show::{show, show_list};
use crate::write::delete::invalid_options;

/// How to delete, and whether only to say what would happen.
type Options = (DeleteOptions, bool);

/// `DeleteOptions` from the body, else from the query.
async fn delete_options(ask: &Ask, body: Incoming) -> Result<Options, Status> {
    let bytes = body::read(body).await?;
    if !bytes.is_empty() {
        let value = body::parse(&bytes, body_format(&ask.headers)?)?.value;
        return options_of(&value, &ask.query);
    }
    let orphan = ask.query.get("orphanDependents").map(|_| ask.query.flag("orphanDependents"));
    let options = DeleteOptions {
        grace_seconds: ask.query.number("gracePeriodSeconds")?,
        propagation: propagation(ask.query.get("propagationPolicy"), orphan)?,
        uid: None,
        revision: None,
    };
    Ok((options, dry_run(&ask.query.all("dryRun"))?))
}

/// `DeleteOptions` that a client sent.
fn options_of(value: &Value, query: &Query) -> Result<Options, Status> {
    let wrong = |field: &str| Status::bad_request(format!("DeleteOptions: {field} has the wrong type"));
    let kind = value["kind"].as_str().unwrap_or("DeleteOptions");
    if !value.is_object() || kind != "DeleteOptions" {
        return Err(Status::bad_request(format!("the body of a delete must be DeleteOptions, not {kind:?}")));
    }
    let text = |field: &str| match value.pointer(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(field)),
    };
    let grace_seconds = match value.get("gracePeriodSeconds") {
        None | Some(Value::Null) => None,
        Some(seconds) => Some(seconds.as_i64().ok_or_else(|| wrong("gracePeriodSeconds"))?),
    };
    let version = match text("/preconditions/resourceVersion")? {
        None => None,
        Some(version) => Some(revision(&version).ok_or_else(|| wrong("preconditions.resourceVersion"))?),
    };
    let mut dry = query.all("dryRun");
    dry.extend(value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    let options = DeleteOptions {
        grace_seconds,
        propagation: propagation(text("/propagationPolicy")?.as_deref(), value["orphanDependents"].as_bool())?,
        uid: text("/preconditions/uid")?,
        revision: version,
    };
    Ok((options, dry_run(&dry)?))
}

fn dry_run(values: &[String]) -> Result<bool, Status> {
    if values.iter().all(|value| value.is_empty() || value == "All") {
        return Ok(values.iter().any(|value| value == "All"));
    }
    let mut errors = FieldErrors::default();
    errors.not_supported("dryRun", values.to_vec(), &["All"]);
    Err(invalid_options(&errors))
}

/// The policy, or the older flag that means the same.
fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<String>, Status> {
    let mut errors = FieldErrors::default();
    match (policy, orphan) {
        (Some(policy), Some(_)) => {
            errors.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set");
        }
        (Some(policy @ ("Foreground" | "Background" | "Orphan")), None) => return Ok(Some(policy.to_owned())),
        (Some(other), None) => {
            errors.not_supported("propagationPolicy", other, &["Foreground", "Background", "Orphan", "nil"]);
        }
        (None, Some(true)) => return Ok(Some("Orphan".to_owned())),
        (None, Some(false)) => return Ok(Some("Background".to_owned())),
        (None, None) => return Ok(None),
    }
    Err(invalid_options(&errors))
}

/// Serves a DELETE of one object.
pub(crate) async fn delete(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let (options, dry_run) = delete_options(ask, body).await?;
    let outcome = api.delete_object(ask.kind, &ask.key(), &options, dry_run).await?;
    // Pods and Services answer with the object, others with what became of it.
    let returns_object = [kinds::POD.kind, kinds::SERVICE.kind].contains(&ask.kind.kind);
    if returns_object || !outcome.gone {
        return show(api, ask, accepted, 200, &outcome.object);
    }
    let object = parsed(&outcome.object.json)?;
    let mut details = json!({ "name": ask.name, "kind": ask.kind.plural, "uid": meta(&object, "uid") });
    if !ask.kind.group.is_empty() {
        details["group"] = ask.kind.group.into();
    }
    Ok(reply::json(
        200,
        accepted.format,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        }),
    ))
}

/// Serves a DELETE of everything that is selected: the objects as they were.
pub(crate) async fn delete_collection(
    api: &Api,
    ask: &Ask,
    accepted: Accepted,
    body: Incoming,
) -> Result<Response<Body>, Status> {
    let (options, dry_run) = delete_options(ask, body).await?;
    let selection = ask.selection()?;
    let list = ListOptions { limit: ListOptions::parse(&ask.query)?.limit, ..ListOptions::default() };
    let listed = match api.list_objects(ask.kind, &selection, &list).await {
        Ok(listed) => listed,
        Err(failure) => {
            let (code, status) = failure.to_json();
            return Ok(reply::json(code, Format::Json, &status));
        }
    };
    for record in &listed.records {
        match api.delete_object(ask.kind, &record.key, &options, dry_run).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    show_list(api, ask, accepted, &listed)
}

/// Serves `pods/NAME/eviction`: a deletion that asks first. There are no PodDisruptionBudgets that could forbid it.
pub(crate) async fn evict(api: &Api, ask: &Ask, body: Incoming) -> Result<Response<Body>, Status> {
    let accepted = accepted(&ask.headers)?;
    let eviction = body::parse(&body::read(body).await?, body_format(&ask.headers)?)?.value;
    let kind = eviction["kind"].as_str().unwrap_or("Eviction");
    if !eviction.is_object() || kind != "Eviction" {
        return Err(Status::bad_request(format!(
            "the body of an eviction must be an Eviction of policy/v1, not {kind:?}"
        )));
    }
    if ![ask.name.as_str(), ""].contains(&meta(&eviction, "name")) {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let none = json!({});
    let (options, dry_run) = options_of(eviction.get("deleteOptions").unwrap_or(&none), &ask.query)?;
    api.delete_object(ask.kind, &ask.key(), &options, dry_run).await?;
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(reply::json(201, accepted.format, &done))
}
