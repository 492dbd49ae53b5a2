//! Selectors by example, and any selector at all.

use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn selectors_match_as_kubernetes_says() {
    for (selector, object, expected) in [
        ("", "a=b", true),
        ("a=b", "a=b,c=d", true),
        ("a==b, c!=d", "a=b,c=d", false),
        ("c!=d", "a=b", true),
        ("a in (x, b)", "a=b", true),
        ("a in (x)", "", false),
        ("a notin (x,y)", "a=z", true),
        ("a notin (x,y)", "a=x", false),
        ("a notin (x,y)", "b=z", true),
        ("a", "a=", true),
        ("!a", "b=c", true),
        ("!a,b", "a=c,b=d", false),
        ("a=", "a=", true),
        ("app.kubernetes.io/name=MyApp", "app.kubernetes.io/name=MyApp", true),
        ("in in (in)", "in=in", true),
    ] {
        let parsed = Labels::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
        assert_eq!(parsed.matches(&labels(object)), expected, "{selector} on {object}");
    }
}

#[test]
fn malformed_selectors_are_refused() {
    for bad in ["=b", "a=b,", "a in b", "a in (b", "a b", "a=-", "(", "a,,b", "/x=y", "a=b c"] {
        assert!(Labels::parse(bad).is_err(), "{bad}");
    }
    for bad in ["a", "metadata.name", "a=b=c", "a=\\x"] {
        assert!(Fields::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn objects_and_fields_are_understood() {
    let object = serde_json::json!({
        "matchLabels": { "a": "b" },
        "matchExpressions": [{ "key": "c", "operator": "Exists" }, { "key": "d", "operator": "NotIn", "values": ["e"] }],
    });
    let selector = Labels::from_object(&object).unwrap();
    assert!(selector.matches(&labels("a=b,c=x")) && !selector.matches(&labels("a=b,c=x,d=e")));
    assert!(Labels::from_object(&serde_json::json!({"matchExpressions": [{"operator": "Gt"}]})).is_err());
    let fields = Fields::parse("metadata.name=x,spec.nodeName!=y\\,z").unwrap().0;
    assert_eq!((fields[0].value.as_str(), fields[0].equal), ("x", true));
    assert_eq!((fields[1].value.as_str(), fields[1].equal), ("y,z", false));
}

fn any_requirement() -> impl Strategy<Value = Requirement> {
    let key =
        prop::sample::select(vec!["a", "in", "notin", "app.kubernetes.io/name", "x-y_z.0"]).prop_map(str::to_owned);
    let value = prop::sample::select(vec!["", "b", "in", "1.2-3_4"]).prop_map(str::to_owned);
    let values = prop::collection::vec(value, 1..4);
    prop_oneof![
        (key.clone(), values.clone()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key.clone(), values).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        key.clone().prop_map(Requirement::Exists),
        key.prop_map(Requirement::Absent),
    ]
}

proptest! {
    #[test]
    fn a_printed_selector_parses_to_itself(requirements in prop::collection::vec(any_requirement(), 0..5)) {
        let selector = Labels(requirements);
        prop_assert_eq!(Labels::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_a_selector_or_refused(text in "[ab!=,() .\\\\/<>é-]{0,20}") {
        if let Ok(selector) = Labels::parse(&text) {
            prop_assert_eq!(Labels::parse(&selector.to_string()), Ok(selector));
        }
        let _ = Fields::parse(&text);
    }
}

#[test]
fn numbers_are_compared() {
    let one = labels("a=5,b=x");
    for (text, expected) in
        [("a>4", true), ("a>5", false), ("a<6", true), ("a<5", false), ("b>1", false), ("c<1", false)]
    {
        let selector = Labels::parse(text).unwrap();
        assert_eq!((selector.matches(&one), selector.to_string().as_str()), (expected, text));
    }
    assert_eq!(
        Labels::parse("a>b").unwrap_err(),
        "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an \
         integer"
    );
}
