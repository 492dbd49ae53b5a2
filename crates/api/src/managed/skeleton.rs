//! A kind into its empty object: what Kubernetes writes of one in which nothing is set.

use serde_json::{Map, Value};

use crate::schema::{Definition, DefinitionId, Schema, Type};

/// Members that are always written though the schema does not require them: structures that cannot be absent.
const ALWAYS: &[(&str, &str)] = &[
    ("DaemonSetSpec", "updateStrategy"),
    ("DeploymentSpec", "strategy"),
    ("Event", "reportingComponent"),
    ("Event", "reportingInstance"),
    ("Event", "source"),
    ("IngressStatus", "loadBalancer"),
    ("JobTemplateSpec", "metadata"),
    ("JobTemplateSpec", "spec"),
    ("NodeStatus", "daemonEndpoints"),
    ("NodeStatus", "nodeInfo"),
    ("NodeDaemonEndpoints", "kubeletEndpoint"),
    ("PodTemplateSpec", "metadata"),
    ("PodTemplateSpec", "spec"),
    ("ReplicaSetSpec", "template"),
    ("ServiceStatus", "loadBalancer"),
    ("StatefulSetSpec", "updateStrategy"),
];

/// The empty object of a kind.
pub(super) fn skeleton(id: DefinitionId) -> Value {
    let schema = Schema::get();
    let definition = schema.definition(id);
    let mut object = structure(schema, definition);
    for name in ["metadata", "spec", "status"] {
        if let Some(Type::Object(id)) = definition.fields.get(name).map(|field| &field.r#type) {
            object.insert(name.to_owned(), Value::Object(structure(schema, schema.definition(*id))));
        }
    }
    Value::Object(object)
}

fn structure(schema: &Schema, definition: &Definition) -> Map<String, Value> {
    let owner = definition.short_name();
    let mut members = Map::new();
    for (name, field) in &definition.fields {
        if !field.required && !ALWAYS.contains(&(owner, name)) {
            continue;
        }
        let value = match &field.r#type {
            // A selector is a pointer everywhere but in a network policy.
            Type::Object(id) if schema.definition(*id).short_name() == "LabelSelector" => Value::Null,
            Type::Object(id) => Value::Object(structure(schema, schema.definition(*id))),
            Type::String | Type::Quantity | Type::Bytes => "".into(),
            Type::Integer { .. } | Type::Number | Type::IntOrString => 0.into(),
            Type::Boolean => false.into(),
            Type::Time { .. } | Type::List(_) | Type::Map(_) | Type::Any => Value::Null,
        };
        members.insert(name.clone(), value);
    }
    members
}
