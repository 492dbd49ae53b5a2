//! The table of codes, and distances between words.

use super::*;
use crate::diagnose::near::{close, distance};

#[test]
fn every_code_has_a_text_and_a_number_of_its_own() {
    let all = || CODES.iter().chain(HOST_CODES);
    let mut ids: Vec<_> = all().map(|code| code.id).collect();
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), all().count());
    for code in all() {
        let text = code.text();
        assert!(text.is_ascii() && text.contains(code.meaning) && text.contains(code.mend), "{}", code.id);
        assert!(code.word.chars().all(|letter| letter.is_ascii_alphanumeric()), "{}", code.word);
    }
    assert_eq!(by_id("ms1004").map(|code| code.id), Some("MS1004"));
    assert_eq!(by_id("ms2001").map(|code| code.step), Some(Step::Host));
    assert!(by_id("MS9999").is_none() && by_id("").is_none());
}

#[test]
fn words_are_near_by_slips_case_and_separators() {
    for (one, other, cost) in [
        ("my-app", "myapp", Some(1)),
        ("my-app", "MY_APP", Some(1)),
        ("frontend", "frontned", Some(2)),
        ("frontend", "fronted", Some(2)),
        ("web", "api", None),
        ("blue", "green", None),
        ("prod", "stage", None),
        ("", "", Some(1)),
        ("", "web", None),
    ] {
        assert_eq!(close(one, other), cost, "{one} {other}");
    }
    assert_eq!(
        (distance("abc", "acb", 1), distance("abc", "abc", 0), distance("abc", "x", 1)),
        (Some(1), Some(0), None)
    );
}

#[test]
fn long_and_foreign_texts_become_one_short_ascii_line() {
    let mut world = World::new();
    let long = "x".repeat(63);
    world.service("web", json!({ "selector": { "app": long, "app.kubernetes.io/name": long } }));
    let line = world.one("web", "MS1001").line();
    assert!(line.len() == limits::SUMMARY && line.ends_with("..."), "{line}");
    let report = explain(&world.case("web"));
    assert_eq!(report.first.map(|first| report.findings[first].code.id), Some("MS1001"));
    assert_eq!(report.to_json()["first"], "MS1001");
    assert_eq!(report.to_json()["findings"][0]["object"]["name"], "web");
    assert!(!report.clean());
}
