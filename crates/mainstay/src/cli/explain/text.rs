//! The server's answer as JSON in, the page that a person reads out.

use serde_json::Value;

use super::text_of;

/// One line per step, then the first finding with its evidence and fix, then what else is worth knowing.
pub(super) fn report(answer: &Value) -> String {
    let object = &answer["object"];
    let mut out = format!(
        "{}/{} in {} at revision {}, {} applied\n",
        text_of(object, "kind").trim_end_matches('s'),
        text_of(object, "name"),
        text_of(object, "namespace"),
        answer["revision"],
        answer["applied"]
    );
    out.push_str(&steps(answer));
    let first = text_of(answer, "first");
    let mut told = false;
    for finding in list(answer, "findings").iter().filter(|finding| text_of(finding, "severity") != "note") {
        let leading = !told && text_of(finding, "code") == first;
        told |= leading;
        out.push_str(&self::finding(finding));
        if let (true, Some(simulated)) = (leading, answer["simulated"].as_str()) {
            out.push_str(&format!("  if fixed (simulated): {simulated}\n"));
        }
    }
    for note in list(answer, "findings").iter().filter(|finding| text_of(finding, "severity") == "note") {
        out.push_str(&format!("note       {} {}\n", text_of(note, "code"), text_of(note, "summary")));
        for line in list(note, "evidence").iter().filter_map(Value::as_str) {
            out.push_str(&format!("           - {line}\n"));
        }
    }
    match &answer["timeline"] {
        Value::Array(steps) => {
            out.push_str("registered:\n");
            for step in steps {
                let revision =
                    step["revision"].as_u64().map_or_else(String::new, |revision| format!("  revision {revision}"));
                out.push_str(&format!(
                    "  {:>8.1} ms  {}{revision}\n",
                    step["ms"].as_f64().unwrap_or(0.0),
                    text_of(step, "what")
                ));
            }
        }
        Value::Null if answer.get("timeline").is_some() => {
            out.push_str(
                "registered: before this server started, or long ago: times are kept for the last 1,000 Services\n",
            );
        }
        _ => {}
    }
    if answer["clean"] == true {
        out.push_str("nothing is wrong\n");
    }
    printable(&out)
}

/// A line per step.
pub(in crate::cli) fn steps(answer: &Value) -> String {
    let line = |step: &Value| {
        format!("{:<10} {:<5} {}\n", text_of(step, "step"), text_of(step, "verdict"), text_of(step, "text"))
    };
    printable(&list(answer, "steps").iter().map(line).collect::<String>())
}

/// One finding with evidence and fix.
pub(in crate::cli) fn finding(finding: &Value) -> String {
    let object = &finding["object"];
    let mut out = format!(
        "\n{} {} {}/{} {}\n  {}\n",
        text_of(finding, "code"),
        text_of(finding, "severity"),
        text_of(object, "namespace"),
        text_of(object, "name"),
        text_of(finding, "field"),
        text_of(finding, "summary")
    );
    for line in list(finding, "evidence").iter().filter_map(Value::as_str) {
        out.push_str(&format!("  - {line}\n"));
    }
    if let Some(command) = finding["fix"]["command"].as_str() {
        out.push_str(&format!("  fix: {command}\n"));
    }
    printable(&out)
}

/// What pods and name servers said, without what would drive a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { '?' } else { letter }).collect()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}
