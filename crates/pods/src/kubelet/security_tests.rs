//! Pods in; rights, limits and refusals out.

use serde_json::{Value, json};

use super::*;

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

fn pod(spec: Value) -> Pod {
    let meta = json!({ "name": "p", "namespace": "ns", "uid": "u" });
    serde_json::from_value(json!({ "metadata": meta, "spec": spec })).unwrap()
}

fn rights(whole: Value, own: Value, image_user: u32) -> Result<Security, String> {
    let pod =
        pod(json!({ "securityContext": whole, "containers": [{ "name": "c", "image": "i", "securityContext": own }] }));
    of(&pod, &pod.spec.as_ref().unwrap().containers[0], image_user, PASSWD)
}

#[test]
fn saying_nothing_gives_the_default() {
    assert_eq!(rights(json!({}), json!({}), 0), Ok(Security::default()));
    let ours = rights(json!({}), json!({}), 65_532).unwrap();
    assert_eq!((ours.uid, ours.gid, ours.no_new_privileges, ours.seccomp), (65_532, 65_532, true, true));
}

#[test]
fn the_container_overrides_its_pod() {
    let got = rights(
        json!({ "runAsUser": 101, "runAsGroup": 7, "supplementalGroups": [8, 9], "fsGroup": 2000 }),
        json!({ "runAsUser": 5, "readOnlyRootFilesystem": true }),
        0,
    )
    .unwrap();
    assert_eq!((got.uid, got.gid, got.groups, got.fs_group, got.read_only_root), (5, 7, vec![8, 9], Some(2000), true));
    assert_eq!(rights(json!({ "runAsUser": 101 }), json!({}), 0).unwrap().gid, 104, "the host's group of the user");
    assert_eq!(rights(json!({ "runAsUser": 4711 }), json!({}), 65_532).unwrap().gid, 0);
}

#[test]
fn run_as_non_root_refuses_as_kubernetes_does() {
    let whole = json!({ "runAsNonRoot": true });
    assert_eq!(
        rights(whole.clone(), json!({ "runAsUser": 0 }), 5).unwrap_err(),
        "container's runAsUser breaks non-root policy (pod: \"p_ns(u)\", container: c)"
    );
    assert_eq!(
        rights(whole.clone(), json!({}), 0).unwrap_err(),
        "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)"
    );
    assert!(
        rights(whole.clone(), json!({}), 65_532).is_ok() && rights(whole.clone(), json!({ "runAsUser": 1 }), 0).is_ok()
    );
    assert!(rights(whole, json!({ "runAsNonRoot": false }), 0).is_ok());
}

#[test]
fn capabilities_are_added_dropped_and_named() {
    let of = |own: Value| rights(json!({}), json!({ "capabilities": own }), 0).map(|got| got.capabilities);
    assert_eq!(of(json!({ "drop": ["ALL"] })), Ok(0));
    assert_eq!(of(json!({ "drop": ["all"], "add": ["NET_BIND_SERVICE"] })), Ok(1 << 10));
    assert_eq!(of(json!({ "add": ["CAP_NET_ADMIN"], "drop": ["chown"] })), Ok(KEPT & !1 | 1 << 12));
    assert!(of(json!({ "add": ["SYS_EVERYTHING"] })).unwrap_err().starts_with("unknown capability \"SYS_EVERYTHING\""));
    let adds = rights(json!({}), json!({ "capabilities": { "add": ["NET_RAW"] } }), 0).unwrap();
    assert!(adds.host_users && !adds.no_new_privileges, "it is over the node's namespaces that it counts");
}

#[test]
fn sharing_the_nodes_network_gives_no_right_over_its_files() {
    let users = |spec: Value, own: Value| {
        let mut spec = spec;
        spec["containers"] = json!([{ "name": "c", "image": "i", "securityContext": own }]);
        let pod = pod(spec);
        let spec = pod.spec.as_ref().unwrap();
        let got = of(&pod, &spec.containers[0], 0, PASSWD).unwrap().host_users;
        assert_eq!(got, has_node_users(spec, &spec.containers[0]));
        got
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(!users(json!({ shared: true }), json!({})), "{shared}");
        let low = json!({ "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] } });
        assert!(!users(json!({ shared: true }), low), "{shared}");
        assert!(users(json!({ shared: true, "hostUsers": true }), json!({})), "{shared}");
        assert!(users(json!({ shared: true }), json!({ "privileged": true })), "{shared}");
        assert!(users(json!({ shared: true }), json!({ "capabilities": { "add": ["NET_ADMIN"] } })), "{shared}");
    }
}

#[test]
fn privileged_and_unconfined_take_nothing_away() {
    assert_eq!(rights(json!({}), json!({ "privileged": true }), 0), Ok(Security::privileged()));
    let profile = |kind: &str| rights(json!({ "seccompProfile": { "type": kind } }), json!({}), 0);
    assert!(!profile("Unconfined").unwrap().seccomp && profile("RuntimeDefault").unwrap().seccomp);
    assert!(profile("Localhost").unwrap_err().contains("use RuntimeDefault or Unconfined"));
}

#[test]
fn only_safe_sysctls_pass() {
    let set = |name: &str| rights(json!({ "sysctls": [{ "name": name, "value": "1" }] }), json!({}), 0);
    assert_eq!(set("net/ipv4/tcp_syncookies").unwrap().sysctls, [("net.ipv4.tcp_syncookies".into(), "1".into())]);
    assert_eq!(set("kernel.msgmax").unwrap_err(), "forbidden sysctl: \"kernel.msgmax\" not allowlisted");
}

#[test]
fn limits_are_bytes_and_thousandths() {
    let of = |resources: Value| {
        let container = json!({ "name": "c", "resources": resources });
        limits(&serde_json::from_value(container).unwrap())
    };
    let full = of(json!({ "limits": { "cpu": "1500m", "memory": "64Mi" }, "requests": { "cpu": "250m" } }));
    assert_eq!(full, Limits { memory: Some(64 << 20), cpu: Some(1500), cpu_request: Some(250) });
    assert_eq!(of(json!({ "limits": { "cpu": "2" } })).cpu_request, Some(2000), "a request defaults to its limit");
    assert_eq!(of(json!({ "limits": { "memory": "0" } })), Limits::default());
}
