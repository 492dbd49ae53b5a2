//! A text in, its YAML or JSON documents with the lines on which they begin out.

use anyhow::{Result, anyhow};
use serde_json::Value;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Budget, Error};

/// One document.
pub(super) struct Document {
    /// What it holds; null if nothing.
    pub(super) value: Value,
    /// Its first line, counted from 1.
    pub(super) line: usize,
}

/// The documents of a text. `name` is what the text is called in errors.
pub(super) fn documents(name: &str, text: &str) -> Result<Vec<Document>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with(['{', '[']) {
        // Tabs may indent JSON but not YAML. What is no JSON may still be YAML: {a: b}.
        let whole: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        match whole {
            Ok(values) => return Ok(values.into_iter().map(|value| Document { value, line: 1 }).collect()),
            Err(error) if name.ends_with(".json") => {
                return Err(anyhow!("cannot use {name}: it is not JSON: {error}.\nMend the line, or name it .yaml"));
            }
            Err(_) => {}
        }
    }
    let parts = parts(text);
    let several = parts.len() > 1;
    let parse = |(index, (line, part)): (usize, (usize, &str))| {
        let value = serde_saphyr::from_str(part).map_err(|error| {
            let at = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(1) - 1);
            let document = if several { format!(", document {}", index + 1) } else { String::new() };
            if let Error::Budget { breach, .. } = error.without_snippet() {
                return anyhow!(
                    "cannot use {name}{document}: it is too large for one YAML document: {}.\nSplit it: a line of --- between \
                     objects, or several files",
                    limit(breach)
                );
            }
            let why = match error.without_snippet() {
                Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key {key} stands here a second time"),
                Error::DuplicateMappingKey { .. } => "a key stands here a second time".to_owned(),
                other => plain(&other.to_string()),
            };
            anyhow!(
                "cannot use {name}{document}: the manifest is not YAML at line {}: {why}.\nMend that line and try again",
                line + at
            )
        })?;
        Ok(Document { value, line })
    };
    parts.into_iter().enumerate().map(parse).collect()
}

/// Which limit of a document was passed.
fn limit(breach: &BudgetBreach) -> String {
    let most = Budget::default();
    match breach {
        BudgetBreach::Nodes { .. } => format!("it holds more than {} values", most.max_nodes),
        BudgetBreach::Events { .. } => format!("it holds more than {} parts", most.max_events),
        BudgetBreach::Depth { .. } => format!("it nests deeper than {} levels", most.max_depth),
        other => format!("{other:?}"),
    }
}

/// Cuts a text at its `---` lines: first line and text of each part. A part without content (comments, directives, blank
/// lines) is kept only if nothing else is there.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut starts = vec![(1, 0)];
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---");
        if offset > 0 && marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            starts.push((index + 1, offset));
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, offset)| *offset).chain([text.len()]);
    let parts = starts.iter().zip(ends).map(|(&(line, start), end)| (line, &text[start..end]));
    parts.filter(|(_, part)| part.lines().any(content)).collect()
}

/// Whether a line says something.
fn content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with(['#', '%']) && line != "---" && line != "..."
}

/// The reason of a YAML error without its own idea of the line: ours counts from the start of the file.
fn plain(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let reason = match first.split_once(" at line ") {
        Some((before, _)) => before,
        None => {
            first.split_once("error: line ").and_then(|(_, rest)| rest.split_once(": ")).map_or(first, |(_, why)| why)
        }
    };
    reason.trim_end_matches(['.', ':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        documents("x.yaml", text).unwrap().iter().map(|document| document.line).collect()
    }

    #[test]
    fn documents_begin_at_their_marker() {
        assert_eq!(lines("a: 1\n---\nb: 2\n--- # note\nc: 3\n"), [1, 2, 4]);
        assert_eq!(lines("---\na: 1\n---\n\n---\nb: 2"), [1, 5]);
        assert_eq!(lines("%YAML 1.2\n---\na: 1\r\n---\r\nb: 1\r\n"), [2, 4]);
        assert_eq!(lines("a: |\n  ---\n  ----\nb: 2\n"), [1]);
        assert_eq!(lines("\u{feff}a: 1"), [1]);
        assert!(lines("# nothing\n---\n# no\n").is_empty());
    }

    #[test]
    fn json_may_have_tabs_and_several_values() {
        assert_eq!(lines("{\n\t\"a\": 1}\n{\"b\": 2}"), [1, 1]);
        assert_eq!(lines("{a: 1}\n---\n{b: 2}"), [1, 2]);
        let error = documents("x.json", "{\"a\":\n 1,}").err().unwrap().to_string();
        assert!(error.contains("not JSON") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_document_that_is_too_large_is_to_be_split() {
        let large = format!("ok: 1\n---\nlist: [{}]\n", "1,".repeat(260_000));
        let error = documents("x.yaml", &large).err().unwrap().to_string();
        let start =
            "cannot use x.yaml, document 2: it is too large for one YAML document: it holds more than 250000 values.\n";
        assert!(error.starts_with(start) && error.contains("Split it"), "{error}");
    }

    #[test]
    fn errors_name_document_and_line_of_the_file() {
        for (text, expected) in [
            ("a: 1\n---\nb: 2\nc: [\n", "cannot use x.yaml, document 2: the manifest is not YAML at line "),
            ("a: b: c\n", "cannot use x.yaml: the manifest is not YAML at line 1: "),
            (
                "a: 1\na: 2\n",
                "cannot use x.yaml: the manifest is not YAML at line 2: the key a stands here a second time.",
            ),
            ("ok: 1\n---\n\n\n- a\nb: 1\n", "cannot use x.yaml, document 2: the manifest is not YAML at line "),
        ] {
            let error = documents("x.yaml", text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 2, "{error}");
        }
    }
}
