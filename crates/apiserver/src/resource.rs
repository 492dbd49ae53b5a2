//! Requests for objects: options out of the URL and the body, the pipeline's call, the answer in the shape asked for.

use api::kind::Target;
use api::kinds;
use api::object::ObjectKey;
use api::status::Status;
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::advice;
use crate::ask::Ask;
use crate::body::{self, Parsed};
use crate::deletion;
use crate::events_v1;
use crate::list::ListOptions;
use crate::negotiate::{self, Accepted, Format, Written, accepted, body_format};
use crate::options::Options;
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::route::Verb;
use crate::select::Selection;
use crate::show::{show, show_list};
use crate::table::Include;
use crate::watch::{Stop, View, WatchOptions};
use crate::write::apply::apply_faults;
use crate::write::patch::Language;
use crate::write::subresource::ScaleChange;
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

fn get(api: &Api, ask: &Ask, accepted: Accepted) -> Result<Response<Body>, Status> {
    let object = api.read(ask.kind, &ask.key())?;
    show(api, ask, accepted, 200, &object)
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
    let include = Include::parse(ask.query.get("includeObject"))?;
    let view = View { shape: accepted.shape, include, events_v1: ask.events_v1 };
    let lines = api.watch_objects(ask.kind, selection, options, view, stop).await?;
    Ok(reply::with_type(200, "application/json", reply::stream(lines)))
}

/// The body of a create or update, and how it is to be written.
pub(crate) async fn body_of(ask: &Ask, options: Options, body: Incoming) -> Result<(Value, WriteOptions), Status> {
    let options = ask.write_options(options)?;
    let format = body_format(&ask.headers)?;
    let Parsed { value, faults } = body::parse(&body::read(body).await?, format)?;
    if ask.events_v1 && ask.verb == Verb::Create {
        events_v1::check_new(&value)?;
    }
    Ok((in_core(ask, value), WriteOptions { faults, ..options }))
}

/// The same in the names of the stored kind.
fn in_core(ask: &Ask, body: Value) -> Value {
    if ask.events_v1 { events_v1::to_core(body) } else { body }
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
    let change = in_core(ask, change);
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
    let (config, warnings) = (in_core(ask, config), apply_faults(faults, options.validation)?);
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
