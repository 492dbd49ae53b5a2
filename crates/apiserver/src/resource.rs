//! Requests for objects: options out of the URL and the body, the pipeline's call, the answer in the shape asked for.

use api::field::FieldErrors;
use api::kind::{Kind, Target};
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use bytes::Bytes;
use contract::access::Object;
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::advice;
use crate::ask::Ask;
use crate::body::{self, Parsed};
use crate::deletion;
use crate::list::{ListOptions, Listed};
use crate::negotiate::{self, Accepted, Format, Shape, Written, accepted, body_format};
use crate::object::parsed;
use crate::options::Options;
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::route::Verb;
use crate::select::Selection;
use crate::table::{self, Include};
use crate::watch::{Stop, View, WatchOptions};
use crate::write::apply::apply_faults;
use crate::write::patch::Language;
use crate::write::subresource::{ScaleChange, scale_of};
use crate::write::{Outcome, WriteOptions};

/// Serves everything but streams of pods.
pub(crate) async fn serve(api: &Api, ask: Ask, stop: Stop, body: Incoming) -> Result<Response<Body>, Status> {
    let accepted = accepted(&ask.headers)?;
    // Writes warn of it themselves.
    let writes = matches!(ask.verb, Verb::Create | Verb::Update | Verb::Patch);
    let deprecated = ask.kind.kind == kinds::ENDPOINTS.kind && !writes;
    let warnings = if deprecated { ask.kind.rules.warnings(&Value::Null, None) } else { Vec::new() };
    let mut response = match ask.verb {
        Verb::Get => get(api, &ask, accepted),
        Verb::List => list(api, &ask, accepted).await,
        Verb::Watch => watch(api, &ask, accepted, stop).await,
        Verb::Create => create(api, &ask, accepted, body).await,
        Verb::Update => update(api, &ask, accepted, body).await,
        Verb::Patch => patch(api, &ask, accepted, body).await,
        Verb::Delete => deletion::delete(api, &ask, accepted, body).await,
        Verb::DeleteCollection => deletion::delete_collection(api, &ask, accepted, body).await,
    }?;
    reply::warn(&mut response, &warnings);
    Ok(response)
}

impl Ask {
    /// Key of the object that the URL names.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }

    fn target(&self) -> Target {
        if self.subresource == "status" { Target::Status } else { Target::Main }
    }

    pub(crate) fn selection(&self) -> Result<Selection, Status> {
        let [labels, fields] = ["labelSelector", "fieldSelector"].map(|name| self.query.get(name).unwrap_or(""));
        Selection::parse(self.kind, Some(self.namespace.clone()), labels, fields)
    }

    pub(crate) fn write_options(&self, options: Options) -> Result<WriteOptions, Status> {
        options.parse(&self.query, &self.headers)
    }
}

/// Reads `dryRun`; `options` is the type of the options that it belongs to.
pub(crate) fn dry_run(options: &str, values: &[String]) -> Result<bool, Status> {
    if values.iter().all(|value| value.is_empty() || value == "All") {
        return Ok(values.iter().any(|value| value == "All"));
    }
    let mut errors = FieldErrors::default();
    errors.not_supported("dryRun", values.to_vec(), &["All"]);
    let message = format!("{options}.meta.k8s.io \"\" is invalid: {errors}");
    let details = json!({ "group": "meta.k8s.io", "kind": options, "causes": errors.causes() });
    Err(Status { details, ..Status::new(422, "Invalid", message) })
}

fn get(api: &Api, ask: &Ask, accepted: Accepted) -> Result<Response<Body>, Status> {
    let object = api.read(ask.kind, &ask.key())?;
    show(api, ask, accepted, 200, &object)
}

/// An object in the shape asked for.
pub(crate) fn show(
    api: &Api,
    ask: &Ask,
    accepted: Accepted,
    code: u16,
    object: &Object,
) -> Result<Response<Body>, Status> {
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

pub(crate) fn show_list(api: &Api, ask: &Ask, accepted: Accepted, listed: &Listed) -> Result<Response<Body>, Status> {
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

/// The body of a create or update, and how it is to be written.
pub(crate) async fn body_of(ask: &Ask, options: Options, body: Incoming) -> Result<(Value, WriteOptions), Status> {
    let options = ask.write_options(options)?;
    let format = body_format(&ask.headers)?;
    let Parsed { value, faults } = body::parse(&body::read(body).await?, format)?;
    Ok((value, WriteOptions { faults, ..options }))
}

async fn create(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let (value, options) = body_of(ask, Options::Create, body).await?;
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
    let outcome = api.create_object(ask.kind, &ask.namespace, &value, &options).await?;
    written(api, ask, accepted, outcome).await
}

async fn update(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let (value, options) = body_of(ask, Options::Update, body).await?;
    let key = ask.key();
    let outcome = match ask.subresource.as_str() {
        "scale" => api.scale_object(ask.kind, &key, ScaleChange::Replace(&value), &options).await?,
        "finalize" => api.finalize_namespace(&key, &value, &options).await?,
        _ => api.replace_object(ask.kind, &key, ask.target(), &value, &options).await?,
    };
    written(api, ask, accepted, outcome).await
}

async fn patch(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let Some(language) = Language::of(&negotiate::content_type(&ask.headers))? else {
        return apply(api, ask, accepted, body).await;
    };
    let options = ask.write_options(Options::Patch)?;
    let Parsed { value: change, faults } = body::parse(&body::read(body).await?, Written::Json)?;
    let faults = faults.into_iter().map(|fault| language.fault(fault)).collect();
    let options = WriteOptions { faults, ..options };
    let key = ask.key();
    let outcome = match ask.subresource.as_str() {
        "scale" => api.scale_object(ask.kind, &key, ScaleChange::Patch(language, &change), &options).await?,
        _ => api.patch_object(ask.kind, &key, ask.target(), language, &change, &options).await?,
    };
    written(api, ask, accepted, outcome).await
}

async fn apply(api: &Api, ask: &Ask, accepted: Accepted, body: Incoming) -> Result<Response<Body>, Status> {
    let options = ask.write_options(Options::Apply)?;
    let Parsed { value: config, faults } = body::parse_apply(&body::read(body).await?)?;
    let warnings = apply_faults(faults, options.validation)?;
    let (key, force) = (ask.key(), ask.query.flag("force"));
    let mut outcome = match ask.subresource.as_str() {
        "scale" => api.scale_object(ask.kind, &key, ScaleChange::Apply(&config, force), &options).await?,
        _ => api.apply_object(ask.kind, &key, ask.target(), &config, force, &options).await?,
    };
    outcome.warnings.splice(0..0, warnings);
    written(api, ask, accepted, outcome).await
}

async fn written(api: &Api, ask: &Ask, accepted: Accepted, mut outcome: Outcome) -> Result<Response<Body>, Status> {
    advice::warn(api, ask, &mut outcome).await;
    let mut response = show(api, ask, accepted, if outcome.created { 201 } else { 200 }, &outcome.object)?;
    reply::warn(&mut response, &outcome.warnings);
    Ok(response)
}
