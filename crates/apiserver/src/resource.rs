//! Requests for objects: options out of the URL and the body, the pipeline's call, the answer in the shape asked for.

use api::decode::Validation;
use api::kind::{Kind, Target};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use bytes::Bytes;
use contract::access::{DeleteOptions, Object};
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::advice;
use crate::ask::Ask;
use crate::body::{self, Parsed};
use crate::list::{ListOptions, Listed};
use crate::negotiate::{self, Accepted, Format, Shape, Written, accepted, body_format};
use crate::object::{meta, parsed, revision};
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::route::Verb;
use crate::select::Selection;
use crate::table::{self, Include};
use crate::watch::{Stop, View, WatchOptions};
use crate::write::patch::Language;
use crate::write::subresource::{ScaleChange, scale_of};
use crate::write::{Outcome, WriteOptions};

/// Serves everything but streams of pods.
pub(crate) async fn serve(api: &Api, ask: Ask, stop: Stop, body: Incoming) -> Result<Response<Body>, Status> {
    let accepted = accepted(&ask.headers)?;
    match ask.verb {
        Verb::Get => get(api, &ask, accepted),
        Verb::List => list(api, &ask, accepted).await,
        Verb::Watch => watch(api, &ask, accepted, stop).await,
        Verb::Create => create(api, &ask, accepted, body).await,
        Verb::Update => update(api, &ask, accepted, body).await,
        Verb::Patch => patch(api, &ask, accepted, body).await,
        Verb::Delete => delete(api, &ask, accepted, body).await,
        Verb::DeleteCollection => delete_collection(api, &ask, accepted, body).await,
    }
}

impl Ask {
    /// Key of the object that the URL names.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }

    fn target(&self) -> Target {
        if self.subresource == "status" { Target::Status } else { Target::Main }
    }

    fn selection(&self) -> Result<Selection, Status> {
        let [labels, fields] = ["labelSelector", "fieldSelector"].map(|name| self.query.get(name).unwrap_or(""));
        Selection::parse(self.kind, Some(self.namespace.clone()), labels, fields)
    }

    pub(crate) fn write_options(&self) -> Result<WriteOptions, Status> {
        let validation = match self.query.get("fieldValidation") {
            None | Some("Warn") => Validation::Warn,
            Some("Ignore") => Validation::Ignore,
            Some("Strict") => Validation::Strict,
            Some(other) => {
                return Err(Status::bad_request(format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \
                     \"Warn\""
                )));
            }
        };
        Ok(WriteOptions { dry_run: dry_run(&self.query.all("dryRun"))?, validation })
    }
}

fn dry_run(values: &[String]) -> Result<bool, Status> {
    match values.iter().find(|value| !value.is_empty() && *value != "All") {
        Some(other) => {
            Err(Status::bad_request(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
        }
        None => Ok(values.iter().any(|value| value == "All")),
    }
}

fn get(api: &Api, ask: &Ask, accepted: Accepted) -> Result<Response<Body>, Status> {
    let object = api.read(ask.kind, &ask.key())?;
    show(api, ask, accepted, 200, &object)
}

/// An object in the shape asked for.
fn show(api: &Api, ask: &Ask, accepted: Accepted, code: u16, object: &Object) -> Result<Response<Body>, Status> {
    if ask.subresource == "scale" {
        return Ok(reply::json(code, accepted.format, &scale_of(&parsed(&object.json)?)));
    }
    let shown = match accepted.shape {
        Shape::Object => return Ok(reply::json_bytes(code, accepted.format, object.json.clone())),
        Shape::Metadata => table::metadata(parsed(&object.json)?),
        Shape::Table => {
            let include = Include::parse(ask.query.get("includeObject"))?;
            let meta = json!({ "resourceVersion": object.revision.to_string() });
            let row = advice::row(api, ask.kind, parsed(&object.json)?, include);
            table::table(table::definitions(ask.kind), vec![row], meta)
        }
    };
    Ok(reply::json(code, accepted.format, &shown))
}

async fn list(api: &Api, ask: &Ask, accepted: Accepted) -> Result<Response<Body>, Status> {
    let options = ListOptions::parse(&ask.query)?;
    let selection = ask.selection()?;
    match api.list_objects(ask.kind, &selection, &options).await {
        Ok(listed) => show_list(api, ask, accepted, &listed),
        Err(failure) => {
            let (code, status) = failure.to_json();
            Ok(reply::json(code, Format::Json, &status))
        }
    }
}

fn show_list(api: &Api, ask: &Ask, accepted: Accepted, listed: &Listed) -> Result<Response<Body>, Status> {
    let mut meta = json!({ "resourceVersion": listed.revision.to_string() });
    if let Some(token) = &listed.more {
        meta["continue"] = token.as_str().into();
    }
    if let Some(remaining) = listed.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    let shown = match accepted.shape {
        Shape::Object => {
            return Ok(reply::json_bytes(200, accepted.format, object_list(ask.kind, &meta, listed)));
        }
        Shape::Metadata => {
            let items = listed.records.iter().map(|record| parsed(&record.body).map(table::metadata));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items,
            })
        }
        Shape::Table => {
            let include = Include::parse(ask.query.get("includeObject"))?;
            let row = |body: &Bytes| parsed(body).map(|object| advice::row(api, ask.kind, object, include));
            let rows = listed.records.iter().map(|record| row(&record.body)).collect::<Result<Vec<_>, _>>()?;
            table::table(table::definitions(ask.kind), rows, meta)
        }
    };
    Ok(reply::json(200, accepted.format, &shown))
}

/// Stored objects are JSON already: a list only puts commas between them.
fn object_list(kind: &Kind, meta: &Value, listed: &Listed) -> Bytes {
    let size: usize = listed.records.iter().map(|record| record.body.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
        kind.kind,
        kind.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, record) in listed.records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&record.body);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

async fn watch(api: &Api, ask: &Ask, accepted: Accepted, stop: Stop) -> Result<Response<Body>, Status> {
    if accepted.format != Format::Json {
        return Err(negotiate::not_acceptable("application/json;stream=watch"));
    }
    let options = WatchOptions::parse(&ask.query)?;
    let mut fields = ask.query.get("fieldSelector").unwrap_or("").to_owned();
    if !ask.name.is_empty() {
        let separator = if fields.is_empty() { "" } else { "," };
        fields = format!("{fields}{separator}metadata.name={}", ask.name);
    }
    let labels = ask.query.get("labelSelector").unwrap_or("");
    let selection = Selection::parse(ask.kind, Some(ask.namespace.clone()), labels, &fields)?;
    let view = View { shape: accepted.shape, include: Include::parse(ask.query.get("includeObject"))? };
    let lines = api.watch_objects(ask.kind, selection, options, view, stop).await?;
    Ok(reply::with_type(200, "application/json", reply::stream(lines)))
}

/// The body of a create or update. Duplicate keys count as unknown fields do.
pub(crate) async fn body_of(ask: &Ask, options: WriteOptions, body: Incoming) -> Result<(Value, Vec<String>), Status> {
    let format = body_format(&ask.headers)?;
    let Parsed { value, duplicates } = body::parse(&body::read(body).await?, format)?;
    let duplicates: Vec<_> = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    match options.validation {
        Validation::Strict if !duplicates.is_empty() => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            ask.kind.kind,
            ask.kind.version,
            ask.kind.kind,
            duplicates.join(", ")
        ))),
        Validation::Ignore => Ok((value, Vec::new())),
        _ => Ok((value, duplicates)),
    }
}

async fn create(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let options = ask.write_options()?;
    let (value, warnings) = body_of(ask, options, body).await?;
    if ask.subresource == "binding" {
        api.bind(&ask.key(), &value, options.dry_run).await?;
        return Ok(reply::json(
            201,
            accepted.format,
            &json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            }),
        ));
    }
    let mut outcome = api.create_object(ask.kind, &ask.namespace, &value, options).await?;
    outcome.warnings.splice(0..0, warnings);
    written(api, ask, accepted, outcome).await
}

async fn update(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let options = ask.write_options()?;
    let (value, warnings) = body_of(ask, options, body).await?;
    let key = ask.key();
    let mut outcome = match ask.subresource.as_str() {
        "scale" => api.scale_object(ask.kind, &key, ScaleChange::Replace(&value), options.dry_run).await?,
        "finalize" => api.finalize_namespace(&key, &value, options.dry_run).await?,
        _ => api.replace_object(ask.kind, &key, ask.target(), &value, options).await?,
    };
    outcome.warnings.splice(0..0, warnings);
    written(api, ask, accepted, outcome).await
}

async fn patch(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let options = ask.write_options()?;
    let language = Language::of(&negotiate::content_type(&ask.headers))?;
    let change = body::parse(&body::read(body).await?, Written::Json)?.value;
    let key = ask.key();
    let outcome = match ask.subresource.as_str() {
        "scale" => api.scale_object(ask.kind, &key, ScaleChange::Patch(language, &change), options.dry_run).await?,
        _ => api.patch_object(ask.kind, &key, ask.target(), language, &change, options).await?,
    };
    written(api, ask, accepted, outcome).await
}

async fn written(api: &Api, ask: &Ask, accepted: Accepted, mut outcome: Outcome) -> Result<Response<Body>, Status> {
    advice::warn(api, ask, &mut outcome).await;
    let mut response = show(api, ask, accepted, if outcome.created { 201 } else { 200 }, &outcome.object)?;
    reply::warn(&mut response, &outcome.warnings);
    Ok(response)
}

/// `DeleteOptions` from the body, else from the query.
async fn delete_options(ask: &Ask, body: Incoming) -> Result<(DeleteOptions, bool), Status> {
    let bytes = body::read(body).await?;
    if bytes.is_empty() {
        let orphan = ask.query.get("orphanDependents").map(|_| ask.query.flag("orphanDependents"));
        let options = DeleteOptions {
            grace_seconds: ask.query.number("gracePeriodSeconds")?,
            propagation: propagation(ask.query.get("propagationPolicy"), orphan)?,
            uid: None,
            revision: None,
        };
        return Ok((options, dry_run(&ask.query.all("dryRun"))?));
    }
    let value = body::parse(&bytes, body_format(&ask.headers)?)?.value;
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
    let mut dry = ask.query.all("dryRun");
    dry.extend(value["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    let options = DeleteOptions {
        grace_seconds,
        propagation: propagation(text("/propagationPolicy")?.as_deref(), value["orphanDependents"].as_bool())?,
        uid: text("/preconditions/uid")?,
        revision: version,
    };
    Ok((options, dry_run(&dry)?))
}

/// The policy, or the older flag that means the same.
fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<String>, Status> {
    match (policy, orphan) {
        (Some(_), Some(_)) => Err(Status::new(
            422,
            "Invalid",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: orphanDependents and \
             deletionPropagation cannot be both set",
        )),
        (Some(policy), None) => Ok(Some(policy.to_owned())),
        (None, Some(true)) => Ok(Some("Orphan".to_owned())),
        (None, Some(false)) => Ok(Some("Background".to_owned())),
        (None, None) => Ok(None),
    }
}

async fn delete(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
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

async fn delete_collection(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
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
