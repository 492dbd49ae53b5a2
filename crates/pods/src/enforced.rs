//! What does not hold here: a pod spec and what the holder can give in; one sentence per field that has no effect out. Pure.
//!
//! The API server tells them as warnings to whoever writes the Pod or its template, the kubelet as Events of the Pod.

use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext};
use serde_json::Value;

use crate::holder::message::Abilities;
use crate::kubelet::security::has_node_users;

/// Where the kinds that have pods keep the spec.
const PLACES: [&str; 3] = ["/spec/jobTemplate/spec/template/spec", "/spec/template/spec", "/spec"];

/// What does not hold of an object of the API, by whole field paths. Other kinds and broken specs have nothing to tell.
pub fn object(object: &Value, abilities: &Abilities) -> Vec<String> {
    let spec = PLACES.iter().find_map(|place| {
        let found = object.pointer(place).filter(|spec| spec["containers"].is_array())?;
        Some((*place, serde_json::from_value::<PodSpec>(found.clone()).ok()?))
    });
    let Some((place, spec)) = spec else { return Vec::new() };
    let field = place[1..].replace('/', ".");
    let mut all: Vec<_> = of_pod(&spec).into_iter().map(|text| format!("{field}.{text}")).collect();
    let init = spec.init_containers.iter().flatten().enumerate().map(|(i, one)| (format!("initContainers[{i}]"), one));
    let main = spec.containers.iter().enumerate().map(|(i, one)| (format!("containers[{i}]"), one));
    for (name, container) in init.chain(main) {
        let texts = self::container(&spec, container, abilities);
        all.extend(texts.into_iter().map(|text| format!("{field}.{name}.{text}")));
    }
    all
}

fn of_pod(spec: &PodSpec) -> Vec<String> {
    let whole = spec.security_context.as_ref();
    let asked = [
        (spec.host_pid == Some(true), "hostPID: each container sees its own processes only"),
        (
            spec.share_process_namespace == Some(true),
            "shareProcessNamespace: each container sees its own processes only",
        ),
        (spec.active_deadline_seconds.is_some(), "activeDeadlineSeconds: the pod is not ended when it has passed"),
        (spec.set_hostname_as_fqdn == Some(true), "setHostnameAsFQDN: the host name is the pod's short one"),
        (spec.overhead.is_some(), "overhead: nothing is added to what the containers ask for"),
        (spec.resources.is_some(), "resources: limits hold for containers, not for the pod as a whole"),
        (
            whole.is_some_and(|whole| whole.se_linux_options.is_some()),
            "securityContext.seLinuxOptions: no SELinux label is set",
        ),
        (
            whole.is_some_and(|whole| whole.app_armor_profile.is_some()),
            "securityContext.appArmorProfile: no AppArmor profile is loaded",
        ),
        (whole.is_some_and(|whole| whole.windows_options.is_some()), "securityContext.windowsOptions: this is Linux"),
    ];
    asked.into_iter().filter(|(asked, _)| *asked).map(|(_, text)| not(text)).collect()
}

/// What does not hold of a container.
pub fn container(spec: &PodSpec, container: &Container, abilities: &Abilities) -> Vec<String> {
    let mut all = Vec::new();
    let own = container.security_context.clone().unwrap_or_default();
    users(&mut all, spec, &own, abilities);
    limits(&mut all, container, abilities);
    ports(&mut all, spec, container, abilities);
    let asked = [
        (own.se_linux_options.is_some(), "securityContext.seLinuxOptions: no SELinux label is set"),
        (own.app_armor_profile.is_some(), "securityContext.appArmorProfile: no AppArmor profile is loaded"),
        (own.windows_options.is_some(), "securityContext.windowsOptions: this is Linux"),
        (
            container.termination_message_path.as_deref().is_some_and(|path| path != "/dev/termination-log"),
            "terminationMessagePath: no message is read from it",
        ),
        (
            container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()),
            "volumeDevices: there are no block volumes",
        ),
        (
            container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some()),
            "lifecycle.stopSignal: SIGTERM is sent",
        ),
        (
            spec.host_network != Some(true)
                && container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port != 0)),
            "ports.hostPort: the port is reached at the pod's address; use a Service of type NodePort",
        ),
        (
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.mount_propagation.as_deref().is_some_and(|kind| kind != "None")),
            "volumeMounts: mountPropagation has no effect",
        ),
    ];
    all.extend(asked.into_iter().filter(|(asked, _)| *asked).map(|(_, text)| not(text)));
    all
}

/// `FIELD: WHY` as a sentence.
fn not(text: &str) -> String {
    let (field, why) = text.split_once(": ").unwrap_or((text, ""));
    format!("{field} is not enforced here: {why}")
}

fn users(all: &mut Vec<String>, spec: &PodSpec, own: &SecurityContext, abilities: &Abilities) {
    if abilities.groups {
        return;
    }
    let whole = spec.security_context.clone().unwrap_or_default();
    let why = "the sandbox of an ordinary user has one id, under which every container runs outside; run Mainstay as root \
               to give each pod its own";
    if whole.supplemental_groups.as_ref().is_some_and(|groups| !groups.is_empty()) {
        all.push(format!("securityContext.supplementalGroups is not enforced here: {why}"));
    }
    if whole.fs_group.is_some() {
        all.push(format!("securityContext.fsGroup is not enforced here: {why}"));
    }
    if spec.host_users == Some(true) && own.run_as_user.or(whole.run_as_user).is_some_and(|user| user != 0) {
        all.push(format!("hostUsers is not enforced here: {why}"));
    }
}

fn limits(all: &mut Vec<String>, container: &Container, abilities: &Abilities) {
    let Some(resources) = &container.resources else { return };
    let limits = resources.limits.iter().flatten().map(|(name, _)| name.as_str());
    for name in limits {
        let why = match name {
            "cpu" | "memory" if abilities.limits.is_some() => continue,
            "cpu" | "memory" if abilities.no_limits.is_empty() => "the sandbox was started by an earlier release",
            "cpu" | "memory" => &abilities.no_limits,
            _ => "only cpu and memory can be limited",
        };
        all.push(format!("resources.limits[{name}] is not enforced here: {why}"));
    }
}

/// Low ports of a host's network belong to the host's users.
fn ports(all: &mut Vec<String>, spec: &PodSpec, container: &Container, abilities: &Abilities) {
    let first = i32::from(abilities.first_port);
    if spec.host_network != Some(true) || !abilities.users || has_node_users(spec, container) {
        return;
    }
    let numbers = container.ports.iter().flatten().map(|port| port.container_port);
    for port in numbers.filter(|port| (1..first).contains(port)) {
        all.push(format!(
            "ports[{port}] is not enforced here: with hostNetwork a container still has users of its own, and only the \
             host's may bind ports below {first}; say hostUsers: true (it then runs as the host's root, who reads every \
             file), or on the host: sysctl -w net.ipv4.ip_unprivileged_port_start={port}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(container: Value) -> Value {
        json!({ "spec": { "template": { "spec": { "containers": [container], "securityContext": { "fsGroup": 7 } } } } })
    }

    fn limited() -> Value {
        let limits = json!({ "memory": "1Gi", "example.com/gpu": "1" });
        json!({ "name": "c", "securityContext": { "seLinuxOptions": {} }, "resources": { "limits": limits } })
    }

    #[test]
    fn each_field_without_effect_is_named_with_its_path() {
        let limits = Some("control groups version 2".into());
        let can = Abilities { users: true, groups: true, limits, ..Abilities::default() };
        let at = "spec.template.spec.containers[0]";
        assert_eq!(
            object(&deployment(limited()), &can),
            [
                format!(
                    "{at}.resources.limits[example.com/gpu] is not enforced here: only cpu and memory can be limited"
                ),
                format!("{at}.securityContext.seLinuxOptions is not enforced here: no SELinux label is set"),
            ]
        );
        assert!(object(&deployment(json!({ "name": "c" })), &can).is_empty());
        assert!(object(&json!({ "spec": { "ports": [] } }), &can).is_empty(), "a Service has no containers");
    }

    #[test]
    fn an_ordinary_users_sandbox_says_what_it_lacks() {
        let cannot = Abilities { no_limits: "no rights".into(), ..Abilities::default() };
        let texts = object(&deployment(limited()), &cannot);
        assert!(texts[0].ends_with("run Mainstay as root to give each pod its own") && texts[0].contains("fsGroup"));
        assert!(texts.iter().any(|text| text.ends_with("limits[memory] is not enforced here: no rights")), "{texts:?}");
    }

    #[test]
    fn a_low_port_of_a_hosts_network_names_the_ways_out() {
        let can = Abilities { users: true, groups: true, first_port: 1024, ..Abilities::default() };
        let pod = |spec: Value| {
            let ports = json!([{ "containerPort": 80 }, { "containerPort": 8080 }]);
            let mut spec = spec;
            spec["containers"] = json!([{ "name": "c", "ports": ports }]);
            json!({ "spec": spec })
        };
        let texts = object(&pod(json!({ "hostNetwork": true })), &can);
        let [text] = &texts[..] else { panic!("{texts:?}") };
        assert!(text.starts_with("spec.containers[0].ports[80] is not enforced here: "), "{text}");
        assert!(text.contains("hostUsers: true") && text.ends_with("ip_unprivileged_port_start=80"), "{text}");
        assert!(object(&pod(json!({ "hostNetwork": true, "hostUsers": true })), &can).is_empty());
        assert!(object(&pod(json!({})), &can).is_empty(), "a pod's own network has no such ports");
        for free in [Abilities { first_port: 0, ..can.clone() }, Abilities { users: false, ..can }] {
            assert!(object(&pod(json!({ "hostNetwork": true })), &free).is_empty());
        }
    }
}
