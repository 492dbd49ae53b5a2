//! Security contexts in, wrong fields out.

use serde_json::{Value, json};

use super::*;

fn of_pod(spec: &Value) -> Vec<String> {
    let mut errors = FieldErrors::default();
    pod(&mut errors, spec, "spec");
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

fn of_container(context: Value, host_users: bool) -> Vec<String> {
    let mut errors = FieldErrors::default();
    container(&mut errors, &json!({ "securityContext": context }), "at", host_users);
    errors.0.iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn ids_have_a_range() {
    let context = json!({ "runAsUser": -1, "fsGroup": 4_294_967_295_i64, "supplementalGroups": [1, -2] });
    let told = of_pod(&json!({ "securityContext": context }));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|text| text.ends_with("must be between 0 and 2147483647, inclusive")), "{told:?}");
    assert!(told[2].starts_with("spec.securityContext.supplementalGroups[1]"));
    assert_eq!(of_container(json!({ "runAsUser": -1 }), true).len(), 1);
}

#[test]
fn host_namespaces_exclude_users_of_ones_own() {
    let spec = json!({ "hostUsers": false, "hostNetwork": true, "hostPID": true });
    assert_eq!(
        of_pod(&spec),
        [
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false"
        ]
    );
    assert!(of_pod(&json!({ "hostNetwork": true })).is_empty());
}

#[test]
fn contradictions_of_a_container_are_refused() {
    let told = of_container(json!({ "allowPrivilegeEscalation": false, "privileged": true }), true);
    assert!(told[0].ends_with("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"), "{told:?}");
    let caps = json!({ "allowPrivilegeEscalation": false, "capabilities": { "add": ["CAP_SYS_ADMIN"] } });
    assert_eq!(of_container(caps, true).len(), 1);
    assert_eq!(of_container(json!({ "procMount": "Unmasked" }), true).len(), 1);
    assert!(of_container(json!({ "procMount": "Unmasked" }), false).is_empty());
    assert_eq!(of_container(json!({ "procMount": "Half" }), false).len(), 1);
}

#[test]
fn seccomp_profiles_have_a_type_and_a_file_only_for_localhost() {
    let profile = |profile: Value| of_container(json!({ "seccompProfile": profile }), true);
    assert!(profile(json!({ "type": "RuntimeDefault" })).is_empty());
    assert!(profile(json!({}))[0].contains("type is required when seccompProfile is set"));
    assert_eq!(profile(json!({ "type": "Odd" })).len(), 1);
    assert!(profile(json!({ "type": "Localhost" }))[0].contains("must be set when seccomp type is Localhost"));
    assert_eq!(profile(json!({ "type": "Localhost", "localhostProfile": "/a/../b" })).len(), 2);
    assert_eq!(profile(json!({ "type": "Unconfined", "localhostProfile": "a" })).len(), 1);
}

#[test]
fn sysctls_are_named_once_and_belong_to_the_pod() {
    let set = |names: &[&str]| -> Value {
        let all: Vec<_> = names.iter().map(|name| json!({ "name": name, "value": "1" })).collect();
        json!({ "securityContext": { "sysctls": all }, "hostNetwork": names.len() == 1 })
    };
    assert!(of_pod(&set(&["net.ipv4.tcp_syncookies", "kernel/shm_rmid_forced"])).is_empty());
    assert_eq!(of_pod(&set(&["a", "a"])), ["spec.securityContext.sysctls[1].name: Duplicate value: \"a\""]);
    assert_eq!(of_pod(&set(&["", "A.b"])).len(), 2);
    assert!(of_pod(&set(&["net.ipv4.tcp_syncookies"]))[0].ends_with("may not be specified when 'hostNetwork' is true"));
}
