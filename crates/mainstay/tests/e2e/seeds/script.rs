//! The text of the checklist in, its rows out; and whether an output is what a row expects.

/// How a row is shown.
pub(super) enum Shown {
    /// By these steps.
    Here(Vec<Step>),
    /// By another test.
    By(String),
    /// Not in this version, and why.
    Later(String),
}

/// One command of a row.
pub(super) enum Step {
    /// Typed until it succeeds.
    Until(String),
    /// Typed once.
    Once {
        /// What is typed.
        command: String,
        /// Its output, line by line; `*` stands for anything.
        expected: Vec<String>,
    },
}

impl Step {
    /// The command, if its output is compared.
    pub(super) fn recorded(&self) -> Option<&str> {
        match self {
            Self::Until(_) => None,
            Self::Once { command, .. } => Some(command),
        }
    }
}

/// One row of the checklist.
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) seeds: String,
    pub(super) what: String,
    pub(super) shown: Shown,
}

/// Reads the checklist; panics at a line that is none of its forms.
pub(super) fn parse(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let steps = rows.last_mut().and_then(|row| match &mut row.shown {
            Shown::Here(steps) => Some(steps),
            _ => None,
        });
        match (line.split_at_checked(2), steps) {
            (Some(("~ ", command)), Some(steps)) => steps.push(Step::Until(command.to_owned())),
            (Some(("$ ", command)), Some(steps)) => {
                steps.push(Step::Once { command: command.to_owned(), expected: Vec::new() });
            }
            (Some(("= ", seen)), Some(steps)) => match steps.last_mut() {
                Some(Step::Once { expected, .. }) => expected.push(seen.to_owned()),
                _ => panic!("an output without a command: {line}"),
            },
            _ => rows.push(row(line)),
        }
    }
    rows
}

fn row(line: &str) -> Row {
    let (form, rest) = line.split_once(' ').unwrap_or_else(|| panic!("not a row: {line}"));
    let parts: Vec<&str> = rest.splitn(4, " | ").collect();
    let [number, seeds, what, more @ ..] = parts.as_slice() else { panic!("not a row: {line}") };
    let shown = match (form, more) {
        ("row", []) => Shown::Here(Vec::new()),
        ("test", [test]) => Shown::By((*test).to_owned()),
        ("later", [why]) => Shown::Later((*why).to_owned()),
        _ => panic!("not a row: {line}"),
    };
    let number = number.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    Row { number, seeds: (*seeds).to_owned(), what: (*what).to_owned(), shown }
}

/// Whether an output has these lines. The number of blanks between columns does not matter.
pub(crate) fn matches(expected: &[String], seen: &str) -> bool {
    let lines: Vec<&str> = seen.lines().collect();
    lines.len() == expected.len() && expected.iter().zip(lines).all(|(pattern, line)| one(pattern, line))
}

fn one(pattern: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (words(pattern), words(line));
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let middle: Vec<&str> = parts.collect();
    let Some((last, middle)) = middle.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn patterns_match_as_said() {
    assert!(one("a  b *", "a b    c") && one("*", "") && one("x*y*z", "x1y2z") && one("= a", "= a"));
    assert!(!one("a", "ab") && !one("x*y*z", "x1z") && !one("a*", "ba"));
    assert!(matches(&["a".to_owned()], "a\n") && !matches(&[], "a\n"));
}
