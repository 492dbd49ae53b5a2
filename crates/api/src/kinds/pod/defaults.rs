//! Turns a decoded pod spec into one whose absent fields hold their defaults.

use serde_json::{Map, Value, json};

use crate::kinds::read;

/// Fills a pod template inside a workload.
pub(crate) fn default_template(object: &mut Value) {
    // The two things below are defaulted for Pods only, not for templates: see `default_spec`.
    default_spec(object, "/spec/template/spec", false);
}

/// Fills the pod spec at `pointer`; `pod` says that it is a Pod's and not a template's.
pub(super) fn default_spec(object: &mut Value, pointer: &str, pod: bool) {
    if !read::present(object, pointer) {
        read::put(object, pointer, json!({}));
    }
    let Some(spec) = object.pointer_mut(pointer) else { return };
    read::put_zero(spec, "/dnsPolicy", "ClusterFirst");
    read::put_zero(spec, "/restartPolicy", "Always");
    read::put_missing(spec, "/securityContext", json!({}));
    read::put_missing(spec, "/terminationGracePeriodSeconds", 30);
    read::put_zero(spec, "/schedulerName", "default-scheduler");
    if pod {
        read::put_missing(spec, "/enableServiceLinks", true);
    }
    let host_network = read::flag(spec, "/hostNetwork");
    for list in ["/containers", "/initContainers"] {
        for container in read::list_mut(spec, list) {
            default_container(container, host_network);
            if pod {
                requests_from_limits(container);
            }
        }
    }
    read::list_mut(spec, "/volumes").iter_mut().for_each(default_volume);
}

fn default_container(container: &mut Value, host_network: bool) {
    let policy = if is_latest(read::text(container, "/image")) { "Always" } else { "IfNotPresent" };
    read::put_zero(container, "/imagePullPolicy", policy);
    read::put_zero(container, "/terminationMessagePath", "/dev/termination-log");
    read::put_zero(container, "/terminationMessagePolicy", "File");
    read::put_missing(container, "/resources", json!({}));
    for port in read::list_mut(container, "/ports") {
        read::put_zero(port, "/protocol", "TCP");
        if host_network {
            let number = read::int(port, "/containerPort").unwrap_or(0);
            read::put_zero(port, "/hostPort", number);
        }
    }
    for variable in read::list_mut(container, "/env") {
        if read::present(variable, "/valueFrom/fieldRef") {
            read::put_zero(variable, "/valueFrom/fieldRef/apiVersion", "v1");
        }
    }
    for probe in ["/livenessProbe", "/readinessProbe", "/startupProbe"] {
        if let Some(probe) = container.pointer_mut(probe).filter(|probe| probe.is_object()) {
            for (field, value) in
                [("/timeoutSeconds", 1), ("/periodSeconds", 10), ("/successThreshold", 1), ("/failureThreshold", 3)]
            {
                read::put_zero(probe, field, value);
            }
            default_handler(probe);
        }
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(hook) = container.pointer_mut(hook) {
            default_handler(hook);
        }
    }
}

fn default_handler(handler: &mut Value) {
    if read::present(handler, "/httpGet") {
        read::put_zero(handler, "/httpGet/path", "/");
        read::put_zero(handler, "/httpGet/scheme", "HTTP");
    }
    if read::present(handler, "/grpc") {
        read::put_missing(handler, "/grpc/service", "");
    }
}

/// A resource with a limit and no request asks for its limit.
fn requests_from_limits(container: &mut Value) {
    let limits = container.pointer("/resources/limits").and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    read::put_missing(container, "/resources/requests", Map::new());
    let requests = container.pointer_mut("/resources/requests").and_then(Value::as_object_mut);
    let Some(requests) = requests else { return };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn default_volume(volume: &mut Value) {
    let Some(members) = volume.as_object_mut() else { return };
    if !members.keys().any(|key| key != "name") {
        members.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["/secret", "/configMap", "/downwardAPI", "/projected"] {
        if read::present(volume, source) {
            read::put_missing(volume, &format!("{source}/defaultMode"), 420);
        }
    }
    if read::present(volume, "/hostPath") {
        read::put_missing(volume, "/hostPath/type", "");
    }
}

/// Whether an image reference means the tag `latest`, said or unsaid; one with a digest does not.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
