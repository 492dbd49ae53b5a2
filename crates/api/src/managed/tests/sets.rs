//! Steps and sets: their text forms, their algebra, and hostile `FieldsV1`.

use serde_json::json;

use super::super::*;

#[test]
fn steps_are_read_and_written() {
    for (text, shown) in [
        ("f:spec", ".spec"),
        ("f:example.com/a:b", ".example.com/a:b"),
        ("k:{\"port\":80,\"protocol\":\"TCP\"}", "[port=80,protocol=\"TCP\"]"),
        ("v:\"x\"", "[=\"x\"]"),
        ("v:3", "[=3]"),
        ("v:true", "[=true]"),
        ("i:2", "[2]"),
    ] {
        let step = Step::parse(text).unwrap().unwrap();
        assert_eq!((step.text().as_str(), step.to_string().as_str()), (text, shown));
    }
    assert_eq!(Step::parse("x:new"), Ok(None), "a later version may know more");
    for malformed in ["", "f", "v:", "k:[]", "k:{", "i:x", "fg:x"] {
        assert!(Step::parse(malformed).is_err(), "{malformed:?}");
    }
}

#[test]
fn fields_v1_is_read_and_written() {
    let fields = json!({
        "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
        "f:spec": { "f:ports": { "k:{\"port\":80}": { ".": {}, "f:port": {} } }, "f:selector": {} },
    });
    let set = FieldSet::decode(&fields).unwrap();
    assert_eq!(set.encode(), fields);
    assert_eq!(
        set.paths(),
        [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.selector",
            ".spec.ports[port=80]",
            ".spec.ports[port=80].port"
        ]
    );
    for odd in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(FieldSet::decode(&odd).unwrap().is_empty());
    }
    assert!(FieldSet::decode(&json!({ "f:a": { "b": {} } })).is_err());
}

#[test]
fn a_field_and_its_parts_are_told_apart() {
    let field = FieldSet::of(&[&["a"]]);
    let part = FieldSet::of(&[&["a", "b"]]);
    let both = FieldSet::of(&[&["a"], &["a", "b"]]);
    assert_eq!(field.union(&part), both);
    assert_eq!(both.difference(&field), part);
    assert_eq!(both.difference(&part), field);
    assert!(both.without(&field).is_empty());
    assert_eq!(both.without(&part), field);
    assert_eq!(both.intersection(&part), part);
    assert!(field.intersection(&part).is_empty());
    assert!(both.has(&[Step::Field("a".into()), Step::Field("b".into())]) && !part.has(&[Step::Field("a".into())]));
}
