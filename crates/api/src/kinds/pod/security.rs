//! Turns the security contexts of a pod spec into what is wrong with them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::FieldErrors;
use crate::kinds::read;

const IDS: &str = "must be between 0 and 2147483647, inclusive";
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_BYTES: usize = 253;
const SYSCTL_PATTERN: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Checks the pod's own security context and what follows from `hostUsers`; `field` is the path of the spec.
pub(super) fn pod(errors: &mut FieldErrors, spec: &Value, field: &str) {
    let context = &spec["securityContext"];
    let at = format!("{field}.securityContext");
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &format!("{at}.{member}"), &context[member]);
    }
    for (i, group) in read::list(context, "/supplementalGroups").iter().enumerate() {
        id(errors, &format!("{at}.supplementalGroups[{i}]"), group);
    }
    if read::flag(spec, "/shareProcessNamespace") && read::flag(spec, "/hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(format!("{at}.shareProcessNamespace"), true, why);
    }
    sysctls(errors, spec, context, &format!("{at}.sysctls"));
    let policy = read::text(context, "/fsGroupChangePolicy");
    if !policy.is_empty() && !["Always", "OnRootMismatch"].contains(&policy) {
        errors.not_supported(format!("{at}.fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    seccomp(errors, context, &at);
    let policy = read::text(context, "/supplementalGroupsPolicy");
    if !policy.is_empty() && !["Merge", "Strict"].contains(&policy) {
        errors.not_supported(format!("{at}.supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    if spec["hostUsers"] == false {
        for (member, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if spec[member] == true {
                errors.forbidden(format!("{field}.{shown}"), "when `hostUsers` is false");
            }
        }
    }
}

/// Checks a container's security context, whose path is `at`; `host_users` unless the pod says otherwise.
pub(super) fn container(errors: &mut FieldErrors, container: &Value, at: &str, host_users: bool) {
    let Some(context) = container.get("securityContext").filter(|context| context.is_object()) else { return };
    for member in ["runAsUser", "runAsGroup"] {
        id(errors, &format!("{at}.{member}"), &context[member]);
    }
    match context["procMount"].as_str() {
        None | Some("Default") => {}
        Some("Unmasked") if host_users => {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(format!("{at}.procMount"), "Unmasked", why);
        }
        Some("Unmasked") => {}
        Some(other) => errors.not_supported(format!("{at}.procMount"), other, &["Default", "Unmasked"]),
    }
    seccomp(errors, context, at);
    if context["allowPrivilegeEscalation"] == false {
        let head = "cannot set `allowPrivilegeEscalation` to false and";
        if context["privileged"] == true {
            errors.invalid(at, context.clone(), &format!("{head} `privileged` to true"));
        }
        if read::texts(context, "/capabilities/add").contains(&"CAP_SYS_ADMIN") {
            errors.invalid(at, context.clone(), &format!("{head} `capabilities.Add` CAP_SYS_ADMIN"));
        }
    }
}

fn id(errors: &mut FieldErrors, field: &str, value: &Value) {
    if let Some(id) = value.as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&id)
    {
        errors.invalid(field, id, IDS);
    }
}

fn seccomp(errors: &mut FieldErrors, context: &Value, at: &str) {
    let Some(profile) = context.get("seccompProfile").filter(|profile| profile.is_object()) else { return };
    let at = format!("{at}.seccompProfile");
    let kind = read::text(profile, "/type");
    match kind {
        "" => errors.required(format!("{at}.type"), "type is required when seccompProfile is set"),
        kind if !PROFILES.contains(&kind) => errors.not_supported(format!("{at}.type"), kind, PROFILES),
        _ => {}
    }
    let path = profile.get("localhostProfile").filter(|path| !path.is_null());
    let at = format!("{at}.localhostProfile");
    match (kind == "Localhost", path) {
        (true, None) => errors.required(at, "must be set when seccomp type is Localhost"),
        (true, Some(path)) => {
            let path = path.as_str().unwrap_or_default();
            if path.starts_with('/') {
                errors.invalid(&at, path, "must be a relative path");
            }
            if path.split('/').any(|part| part == "..") {
                errors.invalid(&at, path, "must not contain '..'");
            }
        }
        (false, Some(_)) => errors.invalid(at, profile.clone(), "can only be set when seccomp type is Localhost"),
        (false, None) => {}
    }
}

fn sysctls(errors: &mut FieldErrors, spec: &Value, context: &Value, at: &str) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in read::list(context, "/sysctls").iter().enumerate() {
        let at = format!("{at}[{i}].name");
        let name = read::text(sysctl, "/name");
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl(name) {
            let why = format!("must have at most {SYSCTL_BYTES} characters and match regex {SYSCTL_PATTERN}");
            errors.invalid(&at, name, &why);
        } else if !seen.insert(name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        if spec["hostNetwork"] == true && dotted.starts_with("net.") {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec["hostIPC"] == true && ipc.iter().any(|known| dotted.starts_with(known)) {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(plain) && part.ends_with(plain) && part.chars().all(|c| plain(c) || c == '-' || c == '_')
    };
    name.len() <= SYSCTL_BYTES && name.split(['.', '/']).all(part)
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
