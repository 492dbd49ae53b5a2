//! Turns a decoded ServiceCIDR into a defaulted, checked and printed one. What it means for addresses is decided in
//! `compile::allocate`; whether it may go, in the write transaction that would let it.

use serde_json::{Value, json};

use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};
use crate::kinds::print::{self, AGE, NAME, column};
use crate::kinds::{address, read};

/// Keeps a ServiceCIDR while addresses of Services depend on it.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The ServiceCIDR that the flags make.
pub const DEFAULT: &str = "kubernetes";

const CIDRS: &str = "/spec/cidrs";
const FIELD: &str = "spec.cidrs";

/// Rules of ServiceCIDRs.
pub(crate) struct ServiceCidr;

impl Rules for ServiceCidr {
    fn default(&self, object: &mut Value) {
        read::put_missing(object, "/spec", json!({}));
        read::put_missing(object, "/status", json!({}));
    }

    fn prepare_create(&self, object: &mut Value) {
        let mut finalizers =
            read::texts(object, "/metadata/finalizers").into_iter().map(str::to_owned).collect::<Vec<_>>();
        if !finalizers.iter().any(|name| name == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        read::put(object, "/metadata/finalizers", finalizers);
        set_ready(object, Ready::True);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        match old {
            _ if target == Target::Status => {}
            None => networks(&mut errors, new),
            Some(old) => update(&mut errors, new, old),
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("CIDRs", "Networks that Services get addresses from."), AGE] }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let networks = read::texts(object, CIDRS).join(",");
        vec![print::name(object), networks.into(), print::age(object, now_seconds)]
    }
}

/// What the condition `Ready` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Services get addresses from it.
    True,
    /// It is being deleted, and addresses of Services would be left without a network.
    Terminating,
}

/// Sets the condition `Ready`; its time is filled in by who has a clock.
pub fn set_ready(object: &mut Value, ready: Ready) {
    let (status, reason, message) = match ready {
        Ready::True => ("True", "", "Kubernetes Service CIDR is ready"),
        Ready::Terminating => (
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        ),
    };
    let same = |condition: &&Value| condition["status"] == status && condition["reason"] == reason;
    if read::list(object, "/status/conditions").iter().filter(|it| it["type"] == "Ready").any(|it| same(&it)) {
        return;
    }
    let mut conditions = read::list(object, "/status/conditions").to_vec();
    conditions.retain(|condition| condition["type"] != "Ready");
    conditions.push(json!({ "type": "Ready", "status": status, "reason": reason, "message": message }));
    read::put(object, "/status/conditions", conditions);
}

/// Whether Services may get new addresses from it: not being deleted, and not said to be unready.
pub fn is_ready(object: &Value) -> bool {
    let unready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "False";
    !read::present(object, "/metadata/deletionTimestamp")
        && !read::list(object, "/status/conditions").iter().any(unready)
}

fn networks(errors: &mut FieldErrors, object: &Value) {
    let networks = read::texts(object, CIDRS);
    match networks.len() {
        0 => return errors.required(FIELD, "at least one CIDR required"),
        1 | 2 => {}
        _ => return errors.invalid(FIELD, json!({ "CIDRs": networks }), "may only hold up to 2 values"),
    }
    for (i, network) in networks.iter().enumerate() {
        address::check_canonical_network(errors, &format!("{FIELD}[{i}]"), network);
    }
    let family = |text: &&str| address::parse_network(text).map(|(address, _)| address.is_ipv4());
    if let [one, other] = networks.as_slice()
        && let (Some(one), Some(other)) = (family(one), family(other))
        && one == other
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(FIELD, networks, why);
    }
}

/// Networks may not change, but a second one of the other family may be added.
fn update(errors: &mut FieldErrors, new: &Value, old: &Value) {
    let (is, was) = (read::texts(new, CIDRS), read::texts(old, CIDRS));
    let why = "field is immutable";
    match (was.len(), is.len()) {
        (before, after) if before == after || (before, after) == (1, 2) => {
            for (i, (new, _)) in is.iter().zip(&was).enumerate().filter(|(_, (new, old))| new != old) {
                errors.invalid(format!("{FIELD}[{i}]"), *new, why);
            }
            if before != after {
                networks(errors, new);
            }
        }
        (_, 0) => errors.invalid(FIELD, Value::Null, why),
        _ => errors.invalid(FIELD, is, why),
    }
}
