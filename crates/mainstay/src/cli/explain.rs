//! `mainstay explain`: an object or a code in, the first failing step with evidence and a fix to paste out.

mod text;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use compile::diagnose::{CODES, HOST_CODES, by_id};
use serde_json::{Value, json};

use super::client::Answer;
use super::target::namespace_is_there;
use super::{InstanceFlags, Output};
use crate::exit::Exit;
use crate::messages;

pub(super) use text::{finding as finding_text, steps as steps_text};

/// Flags of `mainstay explain`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 fine, 1 error, 2 findings, 3 usage, 4 not reachable, 5 time-out.\n\
    Examples:\n  mainstay explain svc/web\n  mainstay explain shop/web --from pod/client\n  mainstay explain pod/web-0 -n shop\n  \
    mainstay explain MS1004\n  mainstay explain --list")]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// svc/NAME, NAMESPACE/NAME, pod/NAME, or a code such as MS1004
    #[arg(required_unless_present = "list", value_name = "WHAT")]
    what: Option<String>,
    /// Namespace of a name without one
    #[arg(short, long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// Look the name up and connect from inside this pod: pod/NAME or NAMESPACE/NAME
    #[arg(long, value_name = "POD")]
    from: Option<String>,
    /// Show when the Service was posted, stored, answered by DNS and programmed
    #[arg(long)]
    timeline: bool,
    /// Print every code, those of the command line's own errors included
    #[arg(long)]
    list: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What is asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `services` or `pods`.
    pub(super) kind: &'static str,
    /// Namespace.
    pub(super) namespace: String,
    /// Name.
    pub(super) name: String,
}

/// Runs the subcommand; its exit code says what was found.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    if flags.list {
        print!("{}", list(flags.output)?);
        return Ok(Exit::Fine.into());
    }
    let what = flags.what.as_deref().unwrap_or_default();
    if let Some(code) = by_id(what) {
        print!("{}", code.text());
        return Ok(Exit::Fine.into());
    }
    if let Some(common) = messages::by_id(what) {
        print!("{}", common.text());
        return Ok(Exit::Fine.into());
    }
    let target = match parse(what, &flags.namespace) {
        Ok(target) => target,
        Err(why) => return Err(Exit::Usage.error(why)),
    };
    let question = json!({
        "kind": target.kind, "namespace": target.namespace, "name": target.name,
        "from": flags.from.as_deref().map(|from| from.strip_prefix("pod/").unwrap_or(from)), "timeline": flags.timeline,
    });
    let client = flags.instance.client()?;
    let answer = client.post("/mainstay/explain", &question).await?;
    if answer.code == 404 {
        namespace_is_there(&client, &target.namespace).await?;
    }
    let answer = found(answer, &target, flags.from.as_deref())?;
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&answer)?),
        Output::Text => print!("{}", text::report(&answer)),
    }
    Ok(if answer["clean"] == true { Exit::Fine } else { Exit::Findings }.into())
}

/// The answer about an object that exists.
fn found(answer: Answer, target: &Target, from: Option<&str>) -> Result<Value> {
    if answer.code == 404 {
        let what = answer.body["message"].as_str().unwrap_or("not found");
        let (kind, namespace) = absent(&answer.body, target, from);
        bail!("{what} (namespace {namespace}).\nSee what there is: kubectl get {kind} -n {namespace}");
    }
    answer.ok()
}

/// Kind and namespace of what is not there: it may be the pod of --from.
fn absent<'a>(body: &'a Value, target: &'a Target, from: Option<&'a str>) -> (&'a str, &'a str) {
    let kind = body["details"]["kind"].as_str().unwrap_or(target.kind);
    let other = from.filter(|_| kind != target.kind).map(|from| from.strip_prefix("pod/").unwrap_or(from));
    let namespace = other.and_then(|from| from.split_once('/')).map(|(namespace, _)| namespace);
    (kind, namespace.unwrap_or(&target.namespace))
}

fn list(output: Output) -> Result<String> {
    if output == Output::Json {
        let code = |code: &&compile::diagnose::Code| {
            json!({
                "code": code.id, "word": code.word, "step": code.step.name(), "title": code.title,
                "meaning": code.meaning, "found": code.found, "mend": code.mend,
            })
        };
        let common = |common: &&messages::Common| {
            json!({
                "code": common.id, "word": common.word, "step": "CLI", "title": common.title,
                "meaning": common.meaning, "found": "", "mend": common.mend,
            })
        };
        let all: Vec<Value> =
            CODES.iter().chain(HOST_CODES).map(code).chain(messages::ALL.iter().map(common)).collect();
        return Ok(serde_json::to_string_pretty(&all)? + "\n");
    }
    let line = |id: &str, word: &str, title: &str| format!("{id}  {word:<17} {title}\n");
    let codes = CODES.iter().chain(HOST_CODES).map(|code| line(code.id, code.word, code.title));
    Ok(codes.chain(messages::ALL.iter().map(|common| line(common.id, common.word, common.title))).collect())
}

/// `svc/NAME`, `pod/NAME`, `NAMESPACE/NAME`, `NAMESPACE/svc/NAME` or a bare name of a Service.
pub(super) fn parse(what: &str, namespace: &str) -> Result<Target, String> {
    let kind = |word: &str| match word.to_ascii_lowercase().as_str() {
        "svc" | "service" | "services" => Some("services"),
        "po" | "pod" | "pods" => Some("pods"),
        _ => None,
    };
    let target =
        |kind, namespace: &str, name: &str| Target { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    let parts: Vec<&str> = what.split('/').collect();
    let found = match parts.as_slice() {
        _ if parts.iter().any(|part| part.is_empty()) => None,
        [name] => Some(target("services", namespace, name)),
        [first, name] => Some(match kind(first) {
            Some(kind) => target(kind, namespace, name),
            None if let Some(known) = super::target::kind(first) => {
                return Err(format!(
                    "{what} is a {}: only Services and pods can be explained.\nName the Service or a pod: svc/NAME, pod/NAME. A \
                     Service in a namespace named {first}: {first}/svc/{name}",
                    known.kind
                ));
            }
            None => target("services", first, name),
        }),
        [namespace, middle, name] => kind(middle).map(|kind| target(kind, namespace, name)),
        _ => None,
    };
    if what.len() == 6 && what.to_ascii_uppercase().starts_with("MS") && what[2..].chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("there is no code {what}: it is not in the list.\nSee them all: mainstay explain --list"));
    }
    found.ok_or_else(|| {
        format!("{what:?} names nothing that can be explained.\nType svc/NAME, NAMESPACE/NAME, pod/NAME or a code: mainstay explain svc/web")
    })
}

/// A text of an answer.
pub(super) fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        for (what, expected) in [
            ("svc/web", Some(("services", "here", "web"))),
            ("service/web", Some(("services", "here", "web"))),
            ("web", Some(("services", "here", "web"))),
            ("shop/web", Some(("services", "shop", "web"))),
            ("pod/web-0", Some(("pods", "here", "web-0"))),
            ("shop/pod/web-0", Some(("pods", "shop", "web-0"))),
            ("", None),
            ("svc/", None),
            ("a/b/c", None),
            ("a/svc/b/c", None),
            ("MS9999", None),
            ("deploy/web", None),
            ("deploy/svc/web", Some(("services", "deploy", "web"))),
        ] {
            let found = parse(what, "here").ok();
            let found = found.as_ref().map(|target| (target.kind, target.namespace.as_str(), target.name.as_str()));
            assert_eq!(found, expected, "{what}");
        }
        assert!(list(Output::Text).unwrap().starts_with("MS1001  SelectorNoMatch   the selector matches no pod\n"));
    }

    #[test]
    fn what_is_not_there_is_named_with_the_line_that_lists_it() {
        let target = parse("shop/web", "here").unwrap();
        for (kind, from, expected) in [
            ("services", None, ("services", "shop")),
            ("services", Some("other/x"), ("services", "shop")),
            ("pods", Some("pod/x"), ("pods", "shop")),
            ("pods", Some("other/x"), ("pods", "other")),
        ] {
            let body = json!({ "details": { "kind": kind } });
            assert_eq!(absent(&body, &target, from), expected, "{kind} {from:?}");
        }
        assert_eq!(absent(&Value::Null, &target, None), ("services", "shop"));
    }
}
