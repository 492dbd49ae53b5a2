//! Turns a decoded IPAddress into a checked and printed one, and a Service's address into the IPAddress that stands for it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::ingress_backend::required_segment;
use crate::field::{Fault, FieldErrors};
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::invalid_each;
use crate::kinds::print::{self, NAME, column};
use crate::kinds::read;
use crate::names;
use crate::object::ObjectKey;

const PARENT: &str = "/spec/parentRef";
const FIELD: &str = "spec.parentRef";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// Rules of IPAddresses.
pub(crate) struct IpAddress;

impl Rules for IpAddress {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec", json!({}));
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value, _target: Target) {}

    fn validate(&self, new: &Value, old: Option<&Value>, _target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match new.pointer(PARENT).filter(|parent| !parent.is_null()) {
            None => errors.required(FIELD, ""),
            Some(parent) => self::parent(&mut errors, parent),
        }
        if old.is_some_and(|old| !read::same(new, old, PARENT)) {
            // Kubernetes shows the whole reference, by the names and in the order of its own type.
            let [group, resource, namespace, name] = ["group", "resource", "namespace", "name"]
                .map(|member| Value::from(read::text(new, &format!("{PARENT}/{member}"))));
            let shown =
                format!("{{\"Group\":{group},\"Resource\":{resource},\"Namespace\":{namespace},\"Name\":{name}}}");
            errors.push(Fault::Invalid, FIELD, format!("Invalid value: {shown}: field is immutable"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        // Kubernetes' own table has no age here.
        const { &[NAME, column("ParentRef", "Object that has the address.")] }
    }

    fn cells(&self, object: &Value, _now_seconds: i64) -> Vec<Value> {
        vec![print::name(object), parent_text(object).into()]
    }
}

fn parent(errors: &mut FieldErrors, parent: &Value) {
    let group = read::text(parent, "/group");
    if !group.is_empty() {
        invalid_each(errors, &format!("{FIELD}.group"), group, names::dns1123_subdomain(group));
    }
    required_segment(errors, parent, FIELD, "resource");
    required_segment(errors, parent, FIELD, "name");
    let namespace = read::text(parent, "/namespace");
    invalid_each(errors, &format!("{FIELD}.namespace"), namespace, names::path_segment(namespace));
}

/// Who has the address, as `services/default/kubernetes`; `<none>` if the object does not say.
pub fn parent_text(object: &Value) -> String {
    let Some(parent) = object.pointer(PARENT).filter(|parent| !parent.is_null()) else { return "<none>".to_owned() };
    let text = |member: &str| read::text(parent, member);
    let mut shown = text("/resource").to_owned();
    if !text("/group").is_empty() {
        shown = format!("{shown}.{}", text("/group"));
    }
    shown = shown.to_lowercase();
    for part in [text("/namespace"), text("/name")] {
        if !part.is_empty() {
            shown = format!("{shown}/{part}");
        }
    }
    shown
}

/// The Service that has the address, if it is one.
pub fn service(object: &Value) -> Option<ObjectKey> {
    let parent = object.pointer(PARENT)?;
    let of_services = read::text(parent, "/group").is_empty() && read::text(parent, "/resource") == "services";
    of_services.then(|| ObjectKey::new(read::text(parent, "/namespace"), read::text(parent, "/name")))
}

/// Whether it was made for a Service rather than by a client.
pub fn is_managed(object: &Value) -> bool {
    read::entry(object, "/metadata/labels", MANAGED_BY) == Some(ALLOCATOR)
}

/// The object that says that `service` has `address`.
pub fn of_service(address: IpAddr, service: &ObjectKey) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": { "name": address.to_string(), "labels": { FAMILY: family, MANAGED_BY: ALLOCATOR } },
        "spec": { "parentRef": { "namespace": &*service.namespace, "name": &*service.name, "resource": "services" } },
    })
}
