//! Random histories of applies and updates by several managers, against what ownership promises.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::compare::Changes;
use super::super::fields::fields_of;
use super::super::shape::Shape;
use super::super::update::nobodys;
use super::super::*;
use super::{stored, tracked, writer};
use crate::kinds::DEPLOYMENT;

/// What a manager sets: each part is there or not, with one of two values.
#[derive(Clone, Debug)]
struct Wish {
    replicas: Option<u8>,
    labels: Vec<(u8, bool)>,
    containers: Vec<Container>,
    finalizers: Vec<u8>,
    selector: Option<bool>,
}

/// Name, image and environment of a container.
type Container = (u8, Option<bool>, Vec<(u8, bool)>);

#[derive(Clone, Debug)]
enum Write {
    Apply(u8, Wish, bool),
    Update(u8, Wish),
}

/// Some of three names, each once, in any order.
fn named<T: Clone + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<(u8, T)>> {
    let names = prop::sample::subsequence(vec![0_u8, 1, 2], 0..=3).prop_shuffle();
    (names, prop::collection::vec(value, 3)).prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

fn wish() -> impl Strategy<Value = Wish> {
    let container = (prop::option::of(any::<bool>()), named(any::<bool>()));
    let containers =
        named(container).prop_map(|list| list.into_iter().map(|(name, (image, env))| (name, image, env)).collect());
    let finalizers = prop::collection::btree_set(0..3_u8, 0..3).prop_map(|set| set.into_iter().collect());
    let replicas = prop::option::of(1..3_u8);
    (replicas, named(any::<bool>()), containers, finalizers, prop::option::of(any::<bool>())).prop_map(
        |(replicas, labels, containers, finalizers, selector)| Wish {
            replicas,
            labels,
            containers,
            finalizers,
            selector,
        },
    )
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        3 => (0..3_u8, wish(), any::<bool>()).prop_map(|(who, wish, force)| Write::Apply(who, wish, force)),
        1 => (0..2_u8, wish()).prop_map(|(who, wish)| Write::Update(who, wish)),
    ]
}

fn object(wish: &Wish) -> Value {
    let text = |value: bool| if value { "yes" } else { "no" };
    let mut object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" } });
    let mut spec = Map::new();
    if let Some(replicas) = wish.replicas {
        spec.insert("replicas".into(), replicas.into());
    }
    if let Some(selector) = wish.selector {
        spec.insert("selector".into(), json!({ "matchLabels": { "a": text(selector) } }));
    }
    let container = |(name, image, env): &Container| {
        let mut container = json!({ "name": format!("c{name}") });
        if let Some(image) = image {
            container["image"] = text(*image).into();
        }
        if !env.is_empty() {
            let env = env.iter().map(|(name, value)| json!({ "name": format!("E{name}"), "value": text(*value) }));
            container["env"] = env.collect();
        }
        container
    };
    if !wish.containers.is_empty() {
        let containers: Vec<_> = wish.containers.iter().map(container).collect();
        spec.insert("template".into(), json!({ "spec": { "containers": containers } }));
    }
    if !spec.is_empty() {
        object["spec"] = Value::Object(spec);
    }
    for (name, value) in &wish.labels {
        object["metadata"]["labels"][format!("l{name}")] = text(*value).into();
    }
    if !wish.finalizers.is_empty() {
        object["metadata"]["finalizers"] = wish.finalizers.iter().map(|name| format!("f/{name}")).collect();
    }
    object
}

/// Whether a set holds a field or one of its parts.
fn touches(set: &FieldSet, path: &str) -> bool {
    set.paths().iter().any(|other| other.starts_with(path))
}

fn check_applied(
    live: Option<&Value>,
    config: &Value,
    who: &Writer<'_>,
    applied: &Applied,
) -> Result<(), TestCaseError> {
    let shape = Shape::root(who.definition);
    // Everything applied is there, as it was applied.
    let changes = Changes::between(shape, config, &applied.object);
    prop_assert!(changes.removed.is_empty() && changes.modified.is_empty(), "{changes:?}");
    // The applier owns what it applied, and nothing else.
    let me = who.owner(Operation::Apply);
    let mine = applied.owners.0.get(&me).map(|held| held.set.clone()).unwrap_or_default();
    prop_assert_eq!(&mine, &fields_of(shape, config).difference(nobodys()));
    // What it gave up and nobody else owns is gone.
    let there = fields_of(shape, &applied.object).paths();
    let before = live.map(|live| Owners::decode(&live["metadata"]["managedFields"]).unwrap()).unwrap_or_default();
    if let Some(last) = before.0.get(&me) {
        for path in last.set.difference(&mine).paths() {
            let owned = applied.owners.0.values().any(|held| touches(&held.set, &path));
            prop_assert!(owned || !there.contains(&path), "{} was given up and is still there", path);
        }
    }
    // Nobody owns by apply what is not there.
    for (owner, held) in applied.owners.0.iter().filter(|(owner, _)| owner.operation == Operation::Apply) {
        let gone = held.set.difference(&fields_of(shape, &applied.object));
        prop_assert!(gone.is_empty(), "{:?} owns {:?}", owner, gone.paths());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ownership_keeps_its_promises(writes in prop::collection::vec(write(), 1..8)) {
        let mut live: Option<Value> = None;
        for (index, write) in writes.iter().enumerate() {
            let now = format!("t{index}");
            match write {
                Write::Update(who, wish) => {
                    let name = format!("u{who}");
                    live = Some(tracked(&writer(&DEPLOYMENT, &name, &now), live.as_ref(), object(wish)));
                }
                Write::Apply(who, wish, force) => {
                    let name = format!("a{who}");
                    let (who, config) = (writer(&DEPLOYMENT, &name, &now), object(wish));
                    let forced = who.apply(live.as_ref(), &config, true).unwrap();
                    let applied = match who.apply(live.as_ref(), &config, *force) {
                        Ok(applied) => applied,
                        Err(fault) => {
                            let told = matches!(&fault, Fault::Conflicts(conflicts) if !conflicts.is_empty());
                            prop_assert!(told && !force, "{:?}", fault);
                            continue;
                        }
                    };
                    prop_assert_eq!(&applied, &forced);
                    check_applied(live.as_ref(), &config, &who, &applied)?;
                    // Applying once more, later, changes nothing.
                    let object = stored(applied.clone());
                    let again = writer(&DEPLOYMENT, &name, "later").apply(Some(&object), &config, false).unwrap();
                    prop_assert_eq!(&stored(again), &object);
                    live = Some(object);
                }
            }
        }
    }
}
