//! Users, rights and limits of pods as kubectl shows them, for an instance of root's and for one of an ordinary user's.

use serde_json::Value;

use crate::account::Account;
use crate::sandbox::{Sandbox, text};

/// What a cautious person writes; Kubernetes' "restricted" profile.
const HARDENED: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: note}
data: {note: read me}
---
apiVersion: v1
kind: Pod
metadata: {name: hardened, labels: {app: hardened}}
spec:
  securityContext: {runAsNonRoot: true, fsGroup: 2000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: mainstay/echo
    ports: [{containerPort: 80}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
    volumeMounts: [{name: note, mountPath: /note}, {name: work, mountPath: /work}]
  volumes:
  - {name: note, configMap: {name: note, defaultMode: 256}}
  - {name: work, emptyDir: {}}
";

const REFUSED: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: rooted}
spec:
  securityContext: {runAsNonRoot: true}
  containers: [{name: main, image: mainstay/host, command: [sleep, 1d]}]
---
apiVersion: v1
kind: Pod
metadata: {name: profile}
spec:
  securityContext: {seccompProfile: {type: Localhost, localhostProfile: mine.json}}
  containers: [{name: main, image: mainstay/client}]
";

const HUNGRY: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: mainstay/host
    command: [sh, -c, head -c 200m /dev/zero | tail -c 200m >/dev/null]
    resources: {limits: {memory: 32Mi, example.com/gpu: 1}}
";

fn waiting(sandbox: &Sandbox, pod: &str) -> (String, String) {
    let json = sandbox.kubectl_ok(&["get", "pod", pod, "-o", "json"]);
    let pod: Value = serde_json::from_str(&json).expect("kubectl prints JSON");
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    let member = |name: &str| waiting[name].as_str().unwrap_or_default().to_owned();
    (member("reason"), member("message"))
}

/// Everything that holds for both accounts.
fn common(sandbox: &Sandbox) {
    sandbox.apply(HARDENED);
    sandbox.apply(REFUSED);
    sandbox.kubectl_ok(&["wait", "--for=condition=Ready", "pod/hardened", "--timeout=60s"]);
    let script = "id -u; cat /note/note; echo; touch /work/x && echo wrote; touch /tmp/x 2>/dev/null || echo kept; \
                  grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\n\\t' '  '";
    let seen = sandbox.kubectl_ok(&["exec", "hardened", "--", "sh", "-c", script]);
    assert_eq!(
        seen.trim_end(),
        "65532\nread me\nwrote\nkept\nCapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2",
        "the container and what is run beside it have the rights of the manifest"
    );
    for (pod, why) in [
        ("rooted", "container has runAsNonRoot and image will run as root (pod: \"rooted_default("),
        ("profile", "seccompProfile.type Localhost is not supported"),
    ] {
        sandbox.until("the refusal", |sandbox| {
            let (reason, message) = waiting(sandbox, pod);
            reason == "CreateContainerConfigError" && message.starts_with(why)
        });
    }
    let wrong = "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"securityContext\":{\"runAsUser\":-1}}]}}";
    let refused = sandbox.kubectl(&["run", "wrong", "--image=i", "--overrides", wrong]);
    let said = text(&refused);
    let expected = "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647";
    assert!(!refused.status.success() && said.contains(expected), "{said}");
}

/// Applies the pod with limits; the warnings that kubectl showed.
fn hungry(sandbox: &Sandbox) -> String {
    let file = sandbox.path().join("hungry.yaml");
    std::fs::write(&file, HUNGRY).expect("the manifest can be written");
    let applied = sandbox.kubectl(&["apply", "-f", &file.to_string_lossy()]);
    assert!(applied.status.success(), "{}", text(&applied));
    let said = text(&applied);
    let gpu = "Warning: spec.containers[0].resources.limits[example.com/gpu] is not enforced here";
    assert!(said.contains(gpu), "{said}");
    let ended = "jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}";
    sandbox.until("its end", |sandbox| sandbox.kubectl_ok(&["get", "pod", "hungry", "-o", ended]).len() > 1);
    format!("{said}\n{}", sandbox.kubectl_ok(&["get", "pod", "hungry", "-o", ended]))
}

#[test]
fn roots_pods_have_users_of_their_own_and_limits_that_hold() {
    let mut sandbox = Sandbox::start();
    common(&sandbox);
    let script = "grep -c . /etc/shadow; id -u; stat -c %g /work";
    let seen = text(&sandbox.kubectl(&["exec", "hardened", "--", "sh", "-c", script]));
    assert!(seen.contains("Permission denied") && seen.contains("65532\n2000"), "{seen}");
    let said = hungry(&sandbox);
    assert!(said.ends_with("OOMKilled 137") && !said.contains("limits[memory]"), "{said}");
    assert!(sandbox.status()["limits"].as_str().is_some_and(|limits| limits.starts_with("held by control groups")));
    let groups = std::fs::read_to_string(sandbox.path().join("cgroups")).expect("the groups are recorded");
    sandbox.down();
    for group in groups.lines() {
        assert!(!std::path::Path::new(group).exists(), "{group} is left");
    }
}

#[test]
fn an_ordinary_users_pods_run_as_asked_and_what_does_not_hold_is_said() {
    let sandbox = Sandbox::start_as(Account::ordinary());
    common(&sandbox);
    let said = hungry(&sandbox);
    let memory = "Warning: spec.containers[0].resources.limits[memory] is not enforced here";
    assert!(said.contains(memory) && said.contains("Delegate=yes") && said.ends_with("Completed 0"), "{said}");
    sandbox.until("the Event", |sandbox| {
        let events = sandbox.kubectl_ok(&["get", "events", "--field-selector", "reason=NotEnforced"]);
        events.contains("resources.limits[memory] is not enforced here")
    });
    assert!(sandbox.status()["limits"].as_str().is_some_and(|limits| limits.starts_with("not held")));
}
