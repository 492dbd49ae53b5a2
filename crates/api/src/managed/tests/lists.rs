//! Lists: what the schema knows of them against Kubernetes' own, and how named items merge.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::merge::merge;
use super::super::shape::Shape;
use crate::kinds::DEPLOYMENT;
use crate::schema::{Schema, Type, is_atomic, is_atomic_map, list_kind};

/// Taken from client-go v0.36.3, `applyconfigurations/internal`: everything that is not here is atomic (lists) or
/// granular (objects).
const KNOWN: &str = include_str!("lists.json");

#[test]
fn every_list_and_structure_splits_as_in_kubernetes() {
    let known: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(KNOWN).unwrap();
    let mut wrong = Vec::new();
    for definition in Schema::get().definitions() {
        let (name, short) = (&definition.name, definition.short_name());
        let facts = known.get(name);
        let fact = |field: &str| facts.and_then(|facts| facts.get(field)).map_or("", String::as_str);
        if (fact(".") == "atomic") != is_atomic(short) {
            wrong.push(format!("{name} is {:?}", fact(".")));
        }
        for (field, of) in &definition.fields {
            let kind = list_kind(short, field);
            let ours = match (&of.r#type, kind.map_keys, kind.set) {
                (Type::List(_), [], true) => "set".to_owned(),
                (Type::List(_), keys @ [_, ..], _) => format!("keyed {}", keys.join(" ")),
                (Type::Map(_), ..) if is_atomic_map(short, field) => "atomic".to_owned(),
                _ => String::new(),
            };
            if ours != fact(field) && name.starts_with("io.k8s.api") {
                wrong.push(format!("{name}.{field} is {:?}, not {ours:?}", fact(field)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn named_items_merge_in_an_order_that_both_sides_know() {
    let env = |names: &str| -> Value { names.chars().map(|name| json!({ "name": name.to_string() })).collect() };
    let object = |names: &str| json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "env": env(names) }] } } } });
    let shape = Shape::root(Schema::get().of_kind(&DEPLOYMENT).unwrap());
    for (old, new, expected) in [
        ("", "ab", "ab"),
        ("ab", "", "ab"),
        ("ab", "ab", "ab"),
        ("ab", "ba", "ba"),
        ("abc", "b", "abc"),
        ("abc", "cb", "acb"),
        ("abc", "xb", "axbc"),
        ("axb", "bya", "xbya"),
        ("xay", "az", "xayz"),
        ("aab", "a", "ab"),
    ] {
        let merged = merge(shape, &object(old), &object(new));
        let names: String = merged["spec"]["template"]["spec"]["containers"][0]["env"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["name"].as_str())
            .collect();
        assert_eq!(names, expected, "{old:?} and {new:?}");
    }
}
