//! Turns the schemas of the k8s-openapi dependency into two documents that `schema` and `openapi` embed.
//!
//! `types.json`: definitions without descriptions, needed on every write. `documents.json.gz`: the same with
//! descriptions, needed only when a client asks for OpenAPI. Nothing of them is committed.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the crate is pure, its build script writes files"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, batch, coordination, core, discovery, events, networking, node,
    policy, scheduling,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let definitions = definitions();
    let bare: BTreeMap<&String, Value> =
        definitions.iter().map(|(name, schema)| (name, without_texts(schema))).collect();
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);
    let types = serde_json::to_vec(&bare).expect("schemas are JSON");
    std::fs::write(out.join("types.json"), types).expect("OUT_DIR is writable");
    let file = std::fs::File::create(out.join("documents.json.gz")).expect("OUT_DIR is writable");
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    packed.write_all(&serde_json::to_vec(&definitions).expect("schemas are JSON")).expect("OUT_DIR is writable");
    packed.finish().expect("OUT_DIR is writable");
}

/// Every definition that the kinds we serve reach, by its Kubernetes name.
fn definitions() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    let g = &mut generator;
    take::<core::v1::ConfigMap>(g);
    take::<core::v1::Endpoints>(g);
    take::<core::v1::Event>(g);
    take::<core::v1::Namespace>(g);
    take::<core::v1::Node>(g);
    take::<core::v1::Pod>(g);
    take::<core::v1::Binding>(g);
    take::<core::v1::ReplicationController>(g);
    take::<core::v1::Secret>(g);
    take::<core::v1::Service>(g);
    take::<core::v1::ServiceAccount>(g);
    take::<apps::v1::ControllerRevision>(g);
    take::<apps::v1::DaemonSet>(g);
    take::<apps::v1::Deployment>(g);
    take::<apps::v1::ReplicaSet>(g);
    take::<apps::v1::StatefulSet>(g);
    take::<authentication::v1::SelfSubjectReview>(g);
    take::<authentication::v1::TokenRequest>(g);
    take::<authentication::v1::TokenReview>(g);
    take::<authorization::v1::LocalSubjectAccessReview>(g);
    take::<authorization::v1::SelfSubjectAccessReview>(g);
    take::<authorization::v1::SelfSubjectRulesReview>(g);
    take::<authorization::v1::SubjectAccessReview>(g);
    take::<autoscaling::v1::Scale>(g);
    take::<batch::v1::Job>(g);
    take::<coordination::v1::Lease>(g);
    take::<discovery::v1::EndpointSlice>(g);
    take::<events::v1::Event>(g);
    take::<networking::v1::Ingress>(g);
    take::<networking::v1::IngressClass>(g);
    take::<networking::v1::IPAddress>(g);
    take::<networking::v1::NetworkPolicy>(g);
    take::<networking::v1::ServiceCIDR>(g);
    take::<node::v1::RuntimeClass>(g);
    take::<scheduling::v1::PriorityClass>(g);
    take::<policy::v1::Eviction>(g);
    take::<meta::Status>(g);
    take::<meta::DeleteOptions>(g);
    take::<meta::ListMeta>(g);
    let taken = generator.take_definitions(true);
    taken.into_iter().collect()
}

fn take<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

fn without_texts(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            // A property may itself be called "description": only texts are dropped.
            let kept = members.iter().filter(|(name, value)| *name != "description" || !value.is_string());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_texts(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_texts).collect()),
        other => other.clone(),
    }
}
