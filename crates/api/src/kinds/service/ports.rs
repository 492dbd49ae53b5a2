//! Turns `spec.ports` of a Service into what is wrong with them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::service_type;
use crate::field::{Fault, FieldErrors};
use crate::kinds::check::{invalid_each, number_or_name, protocol};
use crate::kinds::read;
use crate::names;

/// Checks each port on its own.
pub(super) fn validate(errors: &mut FieldErrors, service: &Value) {
    let ports = read::list(service, "/spec/ports");
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{i}]");
        let name = read::text(port, "/name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(format!("{field}.name"), "");
            }
        } else {
            invalid_each(errors, &format!("{field}.name"), name, names::dns1123_label(name));
            if !names.insert(name) {
                errors.duplicate(format!("{field}.name"), name);
            }
        }
        let number = read::int(port, "/port").unwrap_or(0);
        invalid_each(errors, &format!("{field}.port"), number, names::port_number(number));
        protocol(errors, &field, port);
        number_or_name(errors, &format!("{field}.targetPort"), &port["targetPort"]);
        if let Some(protocol) = port.pointer("/appProtocol").and_then(Value::as_str) {
            invalid_each(errors, &format!("{field}.appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// Checks ports against the type and against each other.
pub(super) fn validate_together(errors: &mut FieldErrors, service: &Value) {
    let ports = read::list(service, "/spec/ports");
    let node_port = |port: &Value| read::int(port, "/nodePort").unwrap_or(0);
    if service_type(service) == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            errors.forbidden(format!("spec.ports[{i}].nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        if !seen.insert((node_port(port), read::text(port, "/protocol"))) {
            errors.duplicate(format!("spec.ports[{i}].nodePort"), node_port(port));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (number, protocol) = (read::int(port, "/port").unwrap_or(0), read::text(port, "/protocol"));
        if !seen.insert((number, protocol)) {
            // Kubernetes prints its internal type here, member names and all.
            let message = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            errors.push(Fault::Duplicate, format!("spec.ports[{i}]"), message);
        }
    }
}
