//! YAML text in, a JSON value and the keys that it names twice out.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser};
use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::limits;

/// Parses YAML. Of a key that occurs twice the later one counts; each such is told of with its line.
pub(crate) fn parse(text: &str) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value = serde_saphyr::from_str_with_options(text, options).map_err(|error| told(&error.to_string()))?;
    Ok((value, duplicates(text)))
}

/// The first line of an error, without the word.
fn told(error: &str) -> String {
    let line = error.lines().next().unwrap_or("");
    format!("yaml: {}", line.strip_prefix("error: ").unwrap_or(line))
}

/// A mapping or sequence that is being read.
enum Open {
    /// A mapping: the keys seen, and whether a value is due.
    Mapping(BTreeSet<String>, bool),
    Sequence,
}

/// Keys that a text which parses names twice, as Kubernetes tells of them: `line 3: key "a" already set in map`.
pub(crate) fn duplicates(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { return found };
        match event {
            Event::Scalar(key, ..) => {
                if let Some(Open::Mapping(seen, false)) = open.last_mut()
                    && !seen.insert(key.to_string())
                    && found.len() < limits::DUPLICATES_TOLD
                {
                    found.push(format!("line {}: key {:?} already set in map", span.start.line(), key));
                }
                value_done(&mut open);
            }
            Event::Alias(_) => value_done(&mut open),
            Event::MappingStart(..) => open.push(Open::Mapping(BTreeSet::new(), false)),
            Event::SequenceStart(..) => open.push(Open::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                value_done(&mut open);
            }
            _ => {}
        }
    }
    found
}

/// In a mapping keys and values take turns.
fn value_done(open: &mut [Open]) {
    if let Some(Open::Mapping(_, due)) = open.last_mut() {
        *due = !*due;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicates_are_told_with_their_lines_and_the_later_one_counts() {
        let text = "a: 1\nb:\n  c: x\n  c: [1, {d: 1, d: 2}]\na: {e: &k f, g: *k}\n";
        let (value, duplicates) = parse(text).unwrap();
        assert_eq!(value, json!({ "a": { "e": "f", "g": "f" }, "b": { "c": [1, { "d": 2 }] } }));
        let line = |line: u8, key: &str| format!("line {line}: key \"{key}\" already set in map");
        assert_eq!(duplicates, [line(4, "c"), line(4, "d"), line(5, "a")]);
        assert!(duplicates_of("[a, a]").is_empty() && duplicates_of("{a: a, b: a}").is_empty());
        assert!(parse("a: [").is_err());
    }

    fn duplicates_of(text: &str) -> Vec<String> {
        parse(text).unwrap().1
    }
}
