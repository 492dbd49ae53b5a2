//! The addresses a Service claims by `spec.externalIPs` in; a refusal out, unless they are allowed (CVE-2020-8554).
//!
//! Whoever may write a Service could otherwise take over the traffic to any address, another Service's or a host's.

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds;
use serde_json::Value;

use crate::pipeline::Inner;

const POINTER: &str = "/spec/externalIPs";

/// Adds an error for addresses that the stored Service does not have yet.
pub(super) fn refuse(api: &Inner, kind: &Kind, errors: &mut FieldErrors, new: &Value, old: Option<&Value>) {
    if api.config.allow_external_ips || kind.kind != kinds::SERVICE.kind {
        return;
    }
    let list = |service: Option<&Value>| service.and_then(|service| service.pointer(POINTER)?.as_array().cloned());
    let stored = list(old).unwrap_or_default();
    let claimed = list(Some(new)).unwrap_or_default();
    if claimed.iter().any(|address| !stored.contains(address)) {
        let why = "an address claimed here takes over the traffic of whoever has it (CVE-2020-8554); remove the field and \
                   use type LoadBalancer, or start the server with --allow-external-ips";
        errors.forbidden("spec.externalIPs", why);
    }
}
