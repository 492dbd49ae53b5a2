//! Turns a decoded Node into a checked and printed one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::print::{self, AGE, NAME, column, wide};
use super::{address, read};
use crate::field::FieldErrors;
use crate::kind::{Column, Rules, Target};

/// Rules of Nodes.
pub(super) struct Node;

impl Rules for Node {
    fn default(&self, _object: &mut Value) {}

    // A node that joins may bring its status: Kubernetes keeps it too.
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, new: &mut Value, old: &Value, target: Target) {
        read::copy(new, old, if target == Target::Main { "/status" } else { "/spec" });
    }

    fn validate(&self, new: &Value, old: Option<&Value>, target: Target) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if target == Target::Status {
            let mut seen = BTreeSet::new();
            for (i, entry) in read::list(new, "/status/addresses").iter().enumerate() {
                if !seen.insert((read::text(entry, "/type"), read::text(entry, "/address"))) {
                    errors.duplicate(format!("status.addresses[{i}]"), entry.clone());
                }
            }
            return errors;
        }
        let stored = old.map(|old| read::texts(old, "/spec/podCIDRs")).unwrap_or_default();
        let ranges = read::texts(new, "/spec/podCIDRs");
        for (i, range) in ranges.iter().enumerate() {
            address::check_network(&mut errors, &format!("spec.podCIDRs[{i}]"), range, &stored);
        }
        if !stored.is_empty() && ranges != stored {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden("spec.podCIDRs", why);
        }
        let (is, was) =
            (read::text(new, "/spec/providerID"), old.map_or("", |old| read::text(old, "/spec/providerID")));
        if !was.is_empty() && is != was {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden("spec.providerID", why);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Status", "Whether the node takes pods."),
                column("Roles", "Roles of the node, from its labels."),
                AGE,
                column("Version", "Version of the agent on the node."),
                wide("Internal-IP", "First address inside the cluster's network."),
                wide("External-IP", "First address outside the cluster's network."),
                wide("OS-Image", "Operating system."),
                wide("Kernel-Version", "Kernel and machine architecture."),
                wide("Container-Runtime", "What runs the containers."),
            ]
        }
    }

    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        let info = |name: &str| {
            let text = read::text(object, &format!("/status/nodeInfo/{name}"));
            if text.is_empty() { "<unknown>".to_owned() } else { text.to_owned() }
        };
        let mut kernel = info("kernelVersion");
        let architecture = read::text(object, "/status/nodeInfo/architecture");
        if !architecture.is_empty() {
            kernel = format!("{kernel} ({architecture})");
        }
        vec![
            print::name(object),
            status(object).into(),
            roles(object).into(),
            print::age(object, now_seconds),
            read::text(object, "/status/nodeInfo/kubeletVersion").into(),
            first_address(object, "InternalIP").into(),
            first_address(object, "ExternalIP").into(),
            info("osImage").into(),
            kernel.into(),
            info("containerRuntimeVersion").into(),
        ]
    }

    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "spec.unschedulable").then(|| read::flag(object, "/spec/unschedulable").to_string())
    }
}

fn status(node: &Value) -> String {
    let conditions = read::list(node, "/status/conditions");
    let ready = conditions.iter().rev().find(|condition| read::text(condition, "/type") == "Ready");
    let ready = match ready.map(|condition| read::text(condition, "/status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    };
    let closed = if read::flag(node, "/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{ready}{closed}")
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&'_ str, &'_ str)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => role.to_owned(),
        None if key == "kubernetes.io/role" => value.to_owned(),
        None => String::new(),
    };
    let mut roles: BTreeSet<_> = read::pairs(node, "/metadata/labels").into_iter().map(role).collect();
    roles.remove("");
    print::joined(&roles.iter().map(String::as_str).collect::<Vec<_>>())
}

fn first_address(node: &Value, kind: &str) -> String {
    let mut addresses = read::list(node, "/status/addresses").iter();
    let address = addresses.find(|address| read::text(address, "/type") == kind);
    address.map_or("<none>", |address| read::text(address, "/address")).to_owned()
}
