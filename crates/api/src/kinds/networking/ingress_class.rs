//! Turns a decoded IngressClass into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::ingress_backend;
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::{immutable, invalid_each};
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::read;
use crate::names;

const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const CONTROLLER_BYTES: usize = 250;
const PARAMETERS: &str = "/spec/parameters";

/// Rules of IngressClasses.
pub(crate) struct IngressClass;

impl Rules for IngressClass {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec", json!({}));
        if read::present(object, PARAMETERS) {
            read::put_missing(object, "/spec/parameters/scope", "Cluster");
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Some(old) = old {
            immutable(&mut errors, "spec.controller", new, old, "/spec/controller");
        }
        controller(&mut errors, read::text(new, "/spec/controller"));
        if let Some(parameters) = new.pointer(PARAMETERS).filter(|it| !it.is_null()) {
            self::parameters(&mut errors, parameters);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Controller", "Who serves Ingresses of this class."),
                column("Parameters", "Object with further settings."),
                AGE,
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let default = if is_default(object) { " (default)" } else { "" };
        let parameters = match object.pointer(PARAMETERS).filter(|it| !it.is_null()) {
            None => "<none>".to_owned(),
            Some(to) => {
                let group = to.pointer("/apiGroup").and_then(Value::as_str).map(|group| format!(".{group}"));
                format!("{}{}/{}", read::text(to, "/kind"), group.unwrap_or_default(), read::text(to, "/name"))
            }
        };
        vec![
            format!("{}{default}", read::text(object, "/metadata/name")).into(),
            read::text(object, "/spec/controller").into(),
            parameters.into(),
            print::age(object, now_seconds),
        ]
    }
}

/// Whether Ingresses without a class get this one.
pub fn is_default(class: &Value) -> bool {
    read::entry(class, "/metadata/annotations", IS_DEFAULT) == Some("true")
}

fn controller(errors: &mut FieldErrors, controller: &str) {
    let field = "spec.controller";
    if controller.len() > CONTROLLER_BYTES {
        errors.too_long(field, CONTROLLER_BYTES);
    }
    match controller.split_once('/') {
        _ if controller.is_empty() => errors.required(field, ""),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            invalid_each(errors, field, host, names::dns1123_subdomain(host));
            invalid_each(errors, field, path, names::http_path(path));
        }
        _ => errors.invalid(field, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}

fn parameters(errors: &mut FieldErrors, parameters: &Value) {
    let field = "spec.parameters";
    ingress_backend::reference(errors, parameters, field);
    let namespace = parameters.pointer("/namespace").and_then(Value::as_str);
    let at = format!("{field}.namespace");
    match (parameters.pointer("/scope").and_then(Value::as_str), namespace) {
        (None, _) => errors.required(format!("{field}.scope"), ""),
        (Some("Namespace"), None) => errors.required(at, "`parameters.scope` is set to 'Namespace'"),
        (Some("Namespace"), Some(name)) => invalid_each(errors, &at, name, names::dns1123_label(name)),
        (Some("Cluster"), Some(_)) => errors.forbidden(at, "`parameters.scope` is set to 'Cluster'"),
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.not_supported(format!("{field}.scope"), other, &["Cluster", "Namespace"]),
    }
}
