//! Turns a decoded StatefulSet into a defaulted, checked and printed one.

use serde_json::{Value, json};

use super::{amount, label_selector, template};
use crate::field::{Fault, FieldErrors};
use crate::kind::{Column, Rules, Target};
use crate::kinds::check::{invalid_each, nonnegative};
use crate::kinds::print::{self, AGE, NAME, column, wide};
use crate::kinds::{pod, read};
use crate::names;

const STRATEGY: &str = "spec.updateStrategy";
const RETENTION: &str = "persistentVolumeClaimRetentionPolicy";
const FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
/// Members of the spec that an update may change.
const FREE: [&str; 7] =
    ["replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", RETENTION, "minReadySeconds"];

/// Rules of StatefulSets.
pub(crate) struct StatefulSet;

impl Rules for StatefulSet {
    fn default(&self, object: &mut Value) {
        read::put_zero(object, "/spec/podManagementPolicy", "OrderedReady");
        if read::text(object, "/spec/updateStrategy/type").is_empty() {
            read::put(object, "/spec/updateStrategy/type", "RollingUpdate");
            read::put_missing(object, "/spec/updateStrategy/rollingUpdate", json!({}));
        }
        let rolling = read::text(object, "/spec/updateStrategy/type") == "RollingUpdate";
        if rolling && read::present(object, "/spec/updateStrategy/rollingUpdate") {
            read::put_missing(object, "/spec/updateStrategy/rollingUpdate/partition", 0);
        }
        for when in ["whenDeleted", "whenScaled"] {
            read::put_zero(object, &format!("/spec/{RETENTION}/{when}"), "Retain");
        }
        read::put_missing(object, "/spec/replicas", 1);
        read::put_missing(object, "/spec/revisionHistoryLimit", 10);
        // Kubernetes always shows it.
        read::put_missing(object, "/spec/serviceName", "");
        if read::present(object, "/spec/ordinals") {
            read::put_missing(object, "/spec/ordinals/start", 0);
        }
        for claim in read::list_mut(object, "/spec/volumeClaimTemplates") {
            read::put(claim, "/apiVersion", "v1");
            read::put(claim, "/kind", "PersistentVolumeClaim");
            read::put_missing(claim, "/spec/volumeMode", "Filesystem");
            read::put_zero(claim, "/status/phase", "Pending");
        }
        pod::default_template(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        read::put(object, "/status", json!({ "replicas": 0, "availableReplicas": 0 }));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            status(&mut errors, new, old);
            return errors;
        }
        spec(&mut errors, new, old.is_none());
        if old.is_some_and(|old| changed_elsewhere(new, old)) {
            errors.forbidden("spec", FIXED);
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let claims = read::list(new, "/spec/volumeClaimTemplates");
        if !claims.is_empty() && old.is_none() {
            let names: Vec<_> = claims.iter().map(|claim| read::text(claim, "/metadata/name")).collect();
            warnings.push(format!(
                "spec.volumeClaimTemplates: this server has no persistent volumes; every pod gets an empty directory in \
                 place of {}, which is lost with the pod; use emptyDir in spec.template.spec.volumes to say so",
                names.join(", ")
            ));
        }
        if read::int(new, "/spec/revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
            warnings.push(format!("spec.revisionHistoryLimit: {why}"));
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Ready", "Pods that are ready, of the pods that are wanted."),
                AGE,
                wide("Containers", "Names of the template's containers."),
                wide("Images", "Images of the template's containers."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let ready = template::count(object, "/status/readyReplicas");
        let [names, images] = template::containers(object);
        vec![
            print::name(object),
            format!("{ready}/{}", template::count(object, "/spec/replicas")).into(),
            print::age(object, now_seconds),
            names,
            images,
        ]
    }
}

fn spec(errors: &mut FieldErrors, new: &Value, created: bool) {
    match read::text(new, "/spec/podManagementPolicy") {
        "" => errors.required("spec.podManagementPolicy", ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'"),
    }
    strategy(errors, new);
    for when in ["whenDeleted", "whenScaled"] {
        let value = read::text(new, &format!("/spec/{RETENTION}/{when}"));
        if !["Retain", "Delete"].contains(&value) {
            errors.not_supported(format!("spec.{RETENTION}.{when}"), value, &["Retain", "Delete"]);
        }
    }
    if created {
        claims(errors, new);
    }
    for (field, pointer) in [
        ("replicas", "/spec/replicas"),
        ("minReadySeconds", "/spec/minReadySeconds"),
        ("ordinals.start", "/spec/ordinals/start"),
    ] {
        nonnegative(errors, &format!("spec.{field}"), new, pointer);
    }
    let service = read::text(new, "/spec/serviceName");
    if created && !service.is_empty() {
        invalid_each(errors, "spec.serviceName", service, names::dns1123_label(service));
    }
    label_selector::validate(errors, new, "statefulset");
    if template::is_selected(errors, new) {
        pod::validate_template(errors, &without_identity(new));
        template::always_restarted(errors, new, "StatefulSet");
    }
}

fn strategy(errors: &mut FieldErrors, new: &Value) {
    let rolling = new.pointer("/spec/updateStrategy/rollingUpdate").filter(|rolling| !rolling.is_null());
    match (read::text(new, "/spec/updateStrategy/type"), rolling) {
        ("", _) => errors.required(STRATEGY, ""),
        ("OnDelete", Some(rolling)) => {
            let value =
                amount::shown(Some(rolling), &[("Partition", "partition"), ("MaxUnavailable", "maxUnavailable")]);
            let text = format!("Invalid value: {value}: only allowed for updateStrategy 'RollingUpdate'");
            errors.push(Fault::Invalid, format!("{STRATEGY}.rollingUpdate"), text);
        }
        ("RollingUpdate", Some(rolling)) => {
            nonnegative(errors, &format!("{STRATEGY}.rollingUpdate.partition"), rolling, "/partition");
            let unavailable = rolling.get("maxUnavailable").filter(|value| !value.is_null());
            if let Some(unavailable) = unavailable {
                let field = format!("{STRATEGY}.rollingUpdate.maxUnavailable");
                amount::validate(errors, &field, unavailable);
                if amount::number(unavailable) == 0 {
                    errors.invalid(&field, unavailable.clone(), "cannot be 0");
                }
                amount::at_most_all(errors, &field, unavailable);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let rolling = amount::shown(rolling, &[("Partition", "partition"), ("MaxUnavailable", "maxUnavailable")]);
            let value =
                format!("{{\"Type\":{:?},\"RollingUpdate\":{rolling}}}", read::text(new, "/spec/updateStrategy/type"));
            let text = format!("Invalid value: {value}: must be 'RollingUpdate' or 'OnDelete'");
            errors.push(Fault::Invalid, STRATEGY, text);
        }
    }
}

fn claims(errors: &mut FieldErrors, new: &Value) {
    for (i, claim) in read::list(new, "/spec/volumeClaimTemplates").iter().enumerate() {
        let field = format!("spec.volumeClaimTemplates[{i}].spec");
        if read::list(claim, "/spec/accessModes").is_empty() {
            errors.required(format!("{field}.accessModes"), "at least 1 access mode is required");
        }
        if read::text(claim, "/spec/resources/requests/storage").is_empty() {
            errors.required(format!("{field}.resources[storage]"), "");
        }
    }
}

/// The object as its pods will be: the controller sets host name and subdomain, and claims are volumes.
fn without_identity(new: &Value) -> Value {
    let mut object = new.clone();
    read::remove(&mut object, "/spec/template/spec/hostname");
    read::remove(&mut object, "/spec/template/spec/subdomain");
    let claims = read::list(new, "/spec/volumeClaimTemplates");
    if claims.is_empty() {
        return object;
    }
    let names: Vec<_> = claims.iter().map(|claim| read::text(claim, "/metadata/name")).collect();
    let own = read::list(new, "/spec/template/spec/volumes").iter();
    let own = own.filter(|volume| !names.contains(&read::text(volume, "/name"))).cloned();
    let claimed = names.iter().map(|name| json!({ "name": name, "emptyDir": {} }));
    let volumes: Vec<Value> = claimed.chain(own).collect();
    read::put(&mut object, "/spec/template/spec/volumes", volumes);
    object
}

fn changed_elsewhere(new: &Value, old: &Value) -> bool {
    let mut new = new.get("spec").cloned().unwrap_or_default();
    let empty = Value::Null;
    let old = old.get("spec").unwrap_or(&empty);
    for member in FREE {
        read::copy(&mut new, old, &format!("/{member}"));
    }
    new != *old
}

fn status(errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    let counters = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    let parts = [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
    ];
    template::validate_status(errors, new, &counters, &parts);
    let count = |pointer| read::int(new, pointer).unwrap_or(0);
    let available = count("/status/availableReplicas");
    if available > count("/status/readyReplicas") {
        errors.invalid("status.availableReplicas", available, "cannot be greater than status.readyReplicas");
    }
    template::validate_growing(errors, new, old, "collisionCount");
}
