//! What other objects decide about a write: the class a Pod or an Ingress names in, its priority, overhead, class or a
//! refusal out. What Kubernetes' admission plugins Priority, RuntimeClass and DefaultIngressClass do.

use api::kind::Kind;
use api::kinds::{self, ingress, ingress_class, priority_class, read};
use api::object::ObjectKey;
use api::status::Status;
use serde_json::{Value, json};

use super::Draft;
use crate::object::{meta, parsed};

const PRIORITY: &str = "/spec/priority";
const PREEMPTION: &str = "/spec/preemptionPolicy";

/// Fills in and checks what an object takes over from others; `old` is none on create.
pub(super) fn admit(
    draft: &Draft<'_, '_>,
    kind: &'static Kind,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    match (kind.kind, old) {
        ("Pod", None) => {
            priority(draft, new)?;
            runtime(draft, new)
        }
        ("Pod", Some(old)) => {
            for pointer in [PRIORITY, PREEMPTION] {
                if !read::present(new, pointer) && read::present(old, pointer) {
                    read::copy(new, old, pointer);
                }
            }
            Ok(())
        }
        ("Ingress", None) => default_ingress_class(draft, new),
        ("PriorityClass", _) => one_default_priority(draft, new, old),
        _ => Ok(()),
    }
}

/// Refuses to delete what Kubernetes lets nobody delete.
pub(super) fn admit_delete(kind: &'static Kind, key: &ObjectKey) -> Result<(), Status> {
    if kind.kind == kinds::PRIORITY_CLASS.kind && priority_class::is_built_in(&key.name) {
        return Err(forbidden(kind, &key.name, "this is a system priority class and cannot be deleted"));
    }
    Ok(())
}

fn forbidden(kind: &'static Kind, name: &str, why: &str) -> Status {
    let mut details = json!({ "name": name, "kind": kind.plural });
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
    Status { details, ..Status::new(403, "Forbidden", message) }
}

/// All objects of a cluster-scoped kind, as they are in this transaction.
fn all(draft: &Draft<'_, '_>, kind: &'static Kind) -> Result<Vec<Value>, Status> {
    draft.scan(kind).iter().map(|record| parsed(&record.body.bytes())).collect()
}

fn priority(draft: &Draft<'_, '_>, pod: &mut Value) -> Result<(), Status> {
    let kind = &kinds::POD;
    let name = read::text(pod, "/spec/priorityClassName").to_owned();
    let class = match name.as_str() {
        "" => default_priority(draft)?,
        name => {
            let key = ObjectKey::new("", name);
            let Some(record) = draft.record(&kinds::PRIORITY_CLASS, &key) else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(forbidden(kind, meta(pod, "name"), &why));
            };
            Some(parsed(&record.body.bytes())?)
        }
    };
    let (value, policy) = match &class {
        Some(class) => {
            read::put(pod, "/spec/priorityClassName", meta(class, "name"));
            (read::int(class, "/value").unwrap_or(0), read::text(class, "/preemptionPolicy"))
        }
        None => (0, priority_class::PREEMPT_LOWER),
    };
    if let Some(given) = read::int(pod, PRIORITY).filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(forbidden(kind, meta(pod, "name"), &why));
    }
    let given = read::text(pod, PREEMPTION);
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbidden(kind, meta(pod, "name"), &why));
    }
    read::put(pod, PRIORITY, value);
    read::put(pod, PREEMPTION, policy);
    Ok(())
}

/// The class of Pods that name none; the lowest, should there ever be two.
fn default_priority(draft: &Draft<'_, '_>) -> Result<Option<Value>, Status> {
    let mut classes = all(draft, &kinds::PRIORITY_CLASS)?;
    classes.retain(|class| read::flag(class, "/globalDefault"));
    Ok(classes.into_iter().min_by_key(|class| read::int(class, "/value").unwrap_or(0)))
}

fn one_default_priority(draft: &Draft<'_, '_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    if !read::flag(new, "/globalDefault") {
        return Ok(());
    }
    match default_priority(draft)? {
        Some(class) if old.is_none() || meta(&class, "name") != meta(new, "name") => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                meta(&class, "name")
            );
            Err(forbidden(&kinds::PRIORITY_CLASS, meta(new, "name"), &why))
        }
        _ => Ok(()),
    }
}

/// Overhead, node labels and tolerations of the RuntimeClass that a Pod names.
fn runtime(draft: &Draft<'_, '_>, pod: &mut Value) -> Result<(), Status> {
    let refuse = |pod: &Value, why: &str| Err(forbidden(&kinds::POD, meta(pod, "name"), why));
    let name = read::text(pod, "/spec/runtimeClassName").to_owned();
    let class = match draft.record(&kinds::RUNTIME_CLASS, &ObjectKey::new("", name.as_str())) {
        _ if name.is_empty() => Value::Null,
        None => return refuse(pod, &format!("pod rejected: RuntimeClass {name:?} not found")),
        Some(record) => parsed(&record.body.bytes())?,
    };
    let given = pod.pointer("/spec/overhead").filter(|it| it.as_object().is_some_and(|it| !it.is_empty()));
    match (class.pointer("/overhead/podFixed"), given) {
        (None, Some(_)) => {
            return refuse(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
        }
        (Some(fixed), Some(given)) if fixed != given => {
            return refuse(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
        }
        (Some(fixed), _) => read::put(pod, "/spec/overhead", fixed.clone()),
        (None, None) => {}
    }
    for (key, value) in read::pairs(&class, "/scheduling/nodeSelector") {
        if let Some(own) = read::entry(pod, "/spec/nodeSelector", key).filter(|own| *own != value) {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return refuse(pod, &why);
        }
        let key = key.replace('~', "~0").replace('/', "~1");
        read::put(pod, &format!("/spec/nodeSelector/{key}"), value);
    }
    let mut tolerations = read::list(pod, "/spec/tolerations").to_vec();
    for toleration in read::list(&class, "/scheduling/tolerations") {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if !tolerations.is_empty() {
        read::put(pod, "/spec/tolerations", tolerations);
    }
    Ok(())
}

/// The newest default IngressClass; of two made in one second the first by name.
fn default_ingress_class(draft: &Draft<'_, '_>, ingress: &mut Value) -> Result<(), Status> {
    if ingress::names_class(ingress) {
        return Ok(());
    }
    let mut classes = all(draft, &kinds::INGRESS_CLASS)?;
    classes.retain(ingress_class::is_default);
    // The list is in order of names, and the sort keeps it where times are equal.
    classes.sort_by(|one, other| meta(other, "creationTimestamp").cmp(meta(one, "creationTimestamp")));
    if let Some(class) = classes.first() {
        ingress::default_class(ingress, meta(class, "name"));
    }
    Ok(())
}
