//! `serviceaccounts/NAME/token`: a TokenRequest in, the same with a token out. Tokens are not stored.

use api::decode::{self, Validation};
use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds::{self, review};
use api::object::ObjectKey;
use api::status::Status;
use http::Response;
use hyper::body::Incoming;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::ISSUER;
use crate::ask::Ask;
use crate::body;
use crate::clock::seconds;
use crate::limits;
use crate::negotiate::{accepted, body_format};
use crate::object::{meta, parsed};
use crate::pipeline::Api;
use crate::reply::{self, Body};

/// Serves a TokenRequest.
pub(crate) async fn serve(api: &Api, ask: &Ask, body: Incoming) -> Result<Response<Body>, Status> {
    let accepted = accepted(&ask.headers)?;
    let validation = Validation::parse(ask.query.get("fieldValidation").unwrap_or("")).unwrap_or_default();
    let value = body::parse(&body::read(body).await?, body_format(&ask.headers)?)?.value;
    let decoded = decode::decode(&review::TOKEN_REQUEST, &value, validation)?;
    let request = decoded.object;
    let account = parsed(&api.read(ask.kind, &ask.key())?.json)?;
    let lifetime = check(&request, &ask.name, &ask.namespace)?;
    let reference = request["spec"].get("boundObjectRef").filter(|reference| reference.is_object());
    let mut private = Map::new();
    private.insert("namespace".into(), ask.namespace.as_str().into());
    private.insert("serviceaccount".into(), json!({ "name": ask.name, "uid": meta(&account, "uid") }));
    if let Some(reference) = reference {
        let (name, bound) = bound(api, (&ask.namespace, &ask.name), reference)?;
        private.insert(name.into(), bound);
    }
    let now = api.inner.config.clock.now();
    let mut audiences = request["spec"]["audiences"].clone();
    if audiences.as_array().is_none_or(Vec::is_empty) {
        audiences = json!([ISSUER]);
    }
    let (begin, end) = (now.as_second(), now.as_second().saturating_add(lifetime));
    let claims = json!({
        "aud": audiences, "exp": end, "iat": begin, "iss": ISSUER, "jti": api.inner.config.ids.uid(),
        "kubernetes.io": private, "nbf": begin, "sub": format!("system:serviceaccount:{}:{}", ask.namespace, ask.name),
    });
    let token = api.inner.tokens.get().and_then(|tokens| tokens.sign(&claims));
    let token =
        token.ok_or_else(|| Status::internal("cannot sign a token: the server has no key or no random numbers"))?;
    let expires = now.saturating_add(SignedDuration::from_secs(lifetime)).unwrap_or(now);
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": ask.name, "namespace": ask.namespace, "uid": meta(&account, "uid"), "creationTimestamp": seconds(now),
        },
        "spec": { "audiences": audiences, "expirationSeconds": lifetime, "boundObjectRef": reference },
        "status": { "token": token, "expirationTimestamp": seconds(expires) },
    });
    let mut response = reply::json(201, accepted.format, &answer);
    reply::warn(&mut response, &decoded.warnings);
    Ok(response)
}

/// The lifetime asked for, if everything about a request makes sense.
fn check(request: &Value, name: &str, namespace: &str) -> Result<i64, Status> {
    let mut errors = FieldErrors::default();
    for (field, expected, what) in [("name", name, "name"), ("namespace", namespace, "namespace")] {
        let own = meta(request, field);
        if !own.is_empty() && own != expected {
            let why = format!("must match the service account {what} if specified");
            errors.invalid(format!("metadata.{field}"), own, &why);
        }
    }
    let lifetime = request["spec"]["expirationSeconds"].as_i64().unwrap_or(limits::TOKEN_SECONDS);
    if lifetime < limits::TOKEN_SECONDS_LEAST {
        errors.invalid("spec.expirationSeconds", lifetime, "may not specify a duration less than 10 minutes");
    }
    if lifetime > 1 << 32 {
        errors.invalid("spec.expirationSeconds", lifetime, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(lifetime) } else { Err(Status::invalid(&review::TOKEN_REQUEST, name, &errors)) }
}

/// The claim for an object that a token is to live with.
fn bound(api: &Api, (namespace, account): (&str, &str), reference: &Value) -> Result<(&'static str, Value), Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or("");
    let (claim, kind): (_, &'static Kind) = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => ("pod", &kinds::POD),
        ("v1", "Secret") => ("secret", &kinds::SECRET),
        (version, kind) => {
            let group = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
            return Err(Status::bad_request(format!("cannot bind token to object of type {group}, Kind={kind}")));
        }
    };
    let object = parsed(&api.read(kind, &ObjectKey::new(namespace, text("name")))?.json)?;
    if claim == "pod" && object["spec"]["serviceAccountName"].as_str().unwrap_or("default") != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let uid = meta(&object, "uid");
    if !["", uid].contains(&text("uid")) {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object \
             might have been deleted and then recreated",
            text("uid")
        );
        return Err(Status::conflict(kind, text("name"), &why));
    }
    Ok((claim, json!({ "name": text("name"), "uid": uid })))
}
