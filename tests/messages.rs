//! Every text that tells a person of an error, out of the sources, in one list: `docs/messages.md`, which is read as prose.
//!
//! The page is written by `MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay-tests --test messages`; otherwise it must be fresh.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mainstay_tests::{files, read, root};

/// Calls whose first text is what a person reads.
const CALLS: &[&str] = &[
    "bail!(",
    "anyhow!(",
    "ensure!(",
    ".context(",
    ".with_context(",
    "Exit::Error.error(",
    "Exit::Usage.error(",
    "Exit::Unreachable.error(",
    "Exit::TimedOut.error(",
    "Exit::Unreachable.because(",
    "#[error(",
    "Status::bad_request(",
    "Status::internal(",
    "Status::new(",
];

/// Calls that end a subcommand: their text has to say what to type next, unless something around them does.
const ENDINGS: &[&str] = &[
    "bail!(",
    "anyhow!(",
    "Exit::Error.error(",
    "Exit::Usage.error(",
    "Exit::Unreachable.error(",
    "Exit::TimedOut.error(",
];

/// Files whose errors are causes: what calls them says what failed and what to type.
const CAUSES: &[&str] = &[
    "crates/mainstay/src/cli/client.rs",
    "crates/mainstay/src/cli/exec/channels.rs",
    "crates/mainstay/src/manifest/fetch.rs",
    "crates/mainstay/src/manifest/sources.rs",
    "crates/mainstay/src/exit.rs",
    "crates/mainstay/src/host/mod.rs",
    "crates/mainstay/src/messages.rs",
];

/// Words that an error does not need, with what to write instead.
const EMPTY_WORDS: &[(&str, &str)] = &[
    ("failed to", "say what: cannot ..."),
    ("Failed to", "say what: cannot ..."),
    ("please", "say what to type"),
    ("Please", "say what to type"),
    ("unfortunately", "leave it out"),
    ("something went wrong", "say what"),
    ("invalid argument", "say which, and why"),
    ("successfully", "leave it out"),
    ("  ", "one space"),
];

/// A text of an error and where it stands.
struct Message {
    call: &'static str,
    text: String,
    line: usize,
}

/// Whether a file's errors reach people.
fn listed(file: &str) -> bool {
    let crates = ["mainstay", "pods", "store", "apiserver", "dataplane", "dns", "controller"];
    let ours = crates.iter().any(|name| file.starts_with(&format!("crates/{name}/src/")));
    // Programs inside pods and measurements speak for themselves.
    let own = ["/guest/", "/bench", "/demo/", "/tests/", "tests.rs", "/load.rs", "semantics/"];
    ours && file.ends_with(".rs") && !own.iter().any(|part| file.contains(part))
}

/// The messages of a source, tests left out.
fn messages(source: &str) -> Vec<Message> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found: Vec<(usize, Message)> = Vec::new();
    for &call in CALLS {
        for (at, _) in source.match_indices(call) {
            let before = source[..at].rsplit('\n').next().unwrap_or_default();
            let part = !call.starts_with(['.', '#']) && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if before.contains("//") || part {
                continue;
            }
            // The first text of a Status may be its reason, which is one word.
            let text = first_text(&source[at + call.len()..]);
            if let Some(text) = text.filter(|text| !call.starts_with("Status::") || text.contains(' ')) {
                let line = source[..at].matches('\n').count() + 1;
                found.push((at, Message { call, text, line }));
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, message)| message).collect()
}

/// The first string literal among the arguments of a call that has just been opened.
fn first_text(source: &str) -> Option<String> {
    let mut depth = 1;
    let mut rest = source.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 1 => return None,
            '"' => return Some(literal(&source[at + 1..])).filter(|text| text.chars().any(char::is_alphabetic)),
            '\'' => {
                // A character, or a lifetime of which nothing is skipped.
                let quoted = source[at + 1..].char_indices().nth(1).is_some_and(|(_, next)| next == '\'');
                if quoted {
                    rest.next();
                    rest.next();
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

/// A string literal after its opening quote, as the program holds it.
fn literal(source: &str) -> String {
    let mut text = String::new();
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

fn all() -> BTreeMap<String, Vec<Message>> {
    let files = files().into_iter().filter(|file| listed(file));
    let found = files.map(|file| {
        let messages = messages(&read(&file));
        (file, messages)
    });
    found.filter(|(_, messages)| !messages.is_empty()).collect()
}

/// The page.
fn page(all: &BTreeMap<String, Vec<Message>>) -> String {
    let mut out = String::from(
        "# What Mainstay says when something is wrong\n\nEvery text of an error that a person may read, by the file that says it. \
         `{...}` stands for a value. The first line says what failed and why, the lines below it what to type next; texts of one \
         line are causes, which stand behind another's colon, or messages of the API, which has its own form. Codes are explained \
         by `mainstay explain CODE`.\n\nWritten by `MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay-tests --test messages`.\n",
    );
    for (file, messages) in all {
        let _ = writeln!(out, "\n## {file}\n");
        let mut seen = Vec::new();
        for message in messages {
            if seen.contains(&&message.text) {
                continue;
            }
            seen.push(&message.text);
            let mut lines = message.text.lines();
            let _ = writeln!(out, "- `{}`", lines.next().unwrap_or_default().replace('`', "'"));
            for line in lines {
                let _ = writeln!(out, "  - `{}`", line.replace('`', "'"));
            }
        }
    }
    out
}

#[test]
fn every_message_is_on_the_page_that_is_read_as_prose() {
    let page = page(&all());
    let path = root().join("docs/messages.md");
    if std::env::var_os("MAINSTAY_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs/messages.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let stale = written.lines().zip(page.lines()).find(|(written, fresh)| written != fresh);
    assert!(
        written == page,
        "docs/messages.md is not fresh: {stale:?}\nWrite it: MAINSTAY_WRITE_DOCS=1 cargo test -p mainstay-tests --test messages"
    );
}

#[test]
fn messages_say_what_why_and_what_to_type_in_plain_words() {
    let (mut wrong, mut endings) = (Vec::new(), 0);
    for (file, messages) in all() {
        for Message { call, text, line } in messages {
            let mut complain = |why: &str| wrong.push(format!("{file}:{line}: {why}: {text:?}"));
            for (word, instead) in EMPTY_WORDS {
                let api = call.starts_with("Status::");
                let first = text.lines().next().unwrap_or_default();
                if !api && first.contains(word) {
                    complain(&format!("{word:?}: {instead}"));
                }
            }
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            let ends = first.ends_with(['.', ':', '?', '}']);
            if !rest.is_empty() && !ends {
                complain("what failed and why is a sentence");
            }
            if text.ends_with('\n') || text.ends_with(' ') {
                complain("nothing follows");
            }
            let ending = ENDINGS.contains(&call) && file.starts_with("crates/mainstay/src/");
            if ending && !CAUSES.contains(&file.as_str()) {
                endings += 1;
                if rest.is_empty() && !first.ends_with('}') {
                    complain("says nothing to type next");
                }
            }
        }
    }
    assert!(endings > 30, "only {endings} messages were found: the check has nothing to hold");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_are_read_as_the_program_holds_them() {
    let source = "fn f() { bail!(\"a {x}.\\nType: \\\n         b\"); y.with_context(|| format!(\"c '{}'\", ';')); // bail!(\"no\")\n\
                  ensure!(a(';') > 1, \"d\"); let _ = other_bail!(\"no\"); bail!(why); }\n#[cfg(test)]\nmod tests { bail!(\"e\") }";
    let texts: Vec<_> = messages(source).into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["a {x}.\nType: b", "c '{}'", "d"]);
}
