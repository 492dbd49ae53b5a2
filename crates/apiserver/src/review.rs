//! A question about rights or about the asker in, the answered question out; nothing is stored.
//!
//! Until there is RBAC, everybody whom the server knows may do everything, and strangers may ask how it is.

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds::review;
use api::status::Status;
use http::Response;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::auth::Identity;
use crate::clock::seconds;
use crate::negotiate::{Shape, accepted, not_acceptable};
use crate::object::meta_mut;
use crate::options::Options;
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::resource::body_of;
use crate::user::User;
use crate::write::finish;

/// What strangers may read, with what the last ones of an upstream cluster may.
const PUBLIC: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Answers a question that was posted.
pub(crate) async fn serve(api: &Api, ask: &Ask, user: &User, body: Incoming) -> Result<Response<Body>, Status> {
    let accepted = accepted(&ask.headers)?;
    if accepted.shape != Shape::Object {
        return Err(not_acceptable("application/json, application/yaml"));
    }
    let (value, options) = body_of(ask, Options::Create, body).await?;
    let decoded = finish::decode_sent(ask.kind, &value, &options)?;
    let mut question = decoded.object;
    // What a client says of itself here is no part of the question.
    meta_mut(&mut question).remove("managedFields");
    if same(ask.kind, &review::SELF_SUBJECT_REVIEW) {
        meta_mut(&mut question).insert("creationTimestamp".into(), seconds(api.inner.config.clock.now()).into());
        question["status"] = json!({ "userInfo": user.to_json() });
    } else if same(ask.kind, &review::SELF_SUBJECT_RULES_REVIEW) {
        if question["spec"]["namespace"].as_str().unwrap_or("").is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        question["spec"] = json!({});
        question["status"] = rules(user.identity());
    } else {
        check(ask, &mut question)?;
        question["status"] = judged(ask.kind, user, &question["spec"]);
    }
    let mut response = reply::json(201, accepted.format, &question);
    reply::warn(&mut response, &decoded.warnings);
    Ok(response)
}

fn same(kind: &Kind, other: &Kind) -> bool {
    kind.plural == other.plural
}

/// The rules of a SubjectAccessReview of any sort.
fn check(ask: &Ask, question: &mut Value) -> Result<(), Status> {
    let (kind, local) = (ask.kind, same(ask.kind, &review::LOCAL_SUBJECT_ACCESS_REVIEW));
    let mut errors = FieldErrors::default();
    if local {
        finish::place(kind, &ask.namespace, None, question)?;
    }
    let spec = &question["spec"];
    let [resource, other] = ["resourceAttributes", "nonResourceAttributes"].map(|name| spec.get(name));
    match (resource, other) {
        (Some(_), Some(other)) => errors.invalid(
            "spec.nonResourceAttributes",
            other.clone(),
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (None, Some(other)) if local => {
            errors.invalid("spec.nonResourceAttributes", other.clone(), "disallowed on this kind of request");
        }
        (Some(resource), None) if local && resource["namespace"].as_str().unwrap_or("") != ask.namespace => {
            errors.invalid(
                "spec.resourceAttributes.namespace",
                resource["namespace"].as_str().unwrap_or(""),
                "must match metadata.namespace",
            );
        }
        _ => {}
    }
    let of_others = !same(kind, &review::SELF_SUBJECT_ACCESS_REVIEW);
    let nobody = spec["user"].as_str().unwrap_or("").is_empty() && spec.get("groups").is_none();
    if of_others && nobody {
        errors.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    let metadata = &question["metadata"];
    let allowed = |name: &String| local && name == "namespace";
    if metadata.as_object().is_some_and(|members| !members.keys().all(allowed)) {
        let why = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid("metadata", metadata.clone(), why);
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind, "", &errors)) }
}

/// The verdict on what a spec asks.
fn judged(kind: &Kind, user: &User, spec: &Value) -> Value {
    let identity = if same(kind, &review::SELF_SUBJECT_ACCESS_REVIEW) {
        user.identity()
    } else {
        let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
        User::named(spec["user"].as_str().unwrap_or(""), groups.map(str::to_owned).collect()).identity()
    };
    let other = &spec["nonResourceAttributes"];
    let public = other["verb"] == "get" && PUBLIC.iter().any(|path| other["path"] == *path);
    if identity == Identity::Admin || public {
        return json!({ "allowed": true });
    }
    json!({ "allowed": false, "reason": "only health and version are shown to clients without credentials" })
}

/// What a user may do, as upstream lists it for `system:masters` and for strangers.
fn rules(identity: Identity) -> Value {
    let paths = |verbs: Value, urls: Value| json!({ "verbs": verbs, "nonResourceURLs": urls });
    let public = paths(json!(["get"]), json!(PUBLIC));
    if identity == Identity::Anonymous {
        return json!({ "resourceRules": [], "nonResourceRules": [public], "incomplete": false });
    }
    let objects = |verb: &str, group: &str, resources: &[&str]| json!({ "verbs": [verb], "apiGroups": [group], "resources": resources });
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    json!({
        "resourceRules": [
            objects("create", "authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            objects("create", "authentication.k8s.io", &["selfsubjectreviews"]),
            objects("*", "*", &["*"]),
        ],
        "nonResourceRules": [paths(json!(["get"]), json!(discovery)), paths(json!(["*"]), json!(["*"])), public],
        "incomplete": false,
    })
}
