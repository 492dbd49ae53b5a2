//! A request to run or join a command in, its options out; and what its end and its terminal's sizes look like to clients.

use api::status::Status;
use contract::streams::ExecOptions;
use serde_json::{Value, json};

use crate::ask::Ask;
use crate::logs::container;

/// What is asked of `pods/<name>/exec` or `pods/<name>/attach`.
pub(super) fn options(ask: &Ask, pod: &Value) -> Result<ExecOptions, Status> {
    let query = &ask.query;
    let attach = ask.subresource == "attach";
    let command = if attach { Vec::new() } else { query.all("command") };
    if !attach && command.iter().all(String::is_empty) {
        return Err(Status::bad_request("you must specify at least 1 command for the container"));
    }
    let options = ExecOptions {
        container: container(pod, query.get("container"))?,
        command,
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal has one output.
        stderr: query.flag("stderr") && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if !(options.stdin || options.stdout || options.stderr) {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    let verb = if attach { "attach" } else { "exec" };
    bound(pod)?;
    match pod["status"]["phase"].as_str() {
        Some(phase @ ("Succeeded" | "Failed")) => Err(Status::bad_request(format!(
            "cannot {verb} into a container in a completed pod; current phase is {phase}"
        ))),
        _ => Ok(options),
    }
}

/// A pod that no node runs has no streams.
pub(super) fn bound(pod: &Value) -> Result<(), Status> {
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(())
}

/// The size that a client wishes its terminal to have, as (columns, rows).
pub(super) fn terminal_size(json: &[u8]) -> Option<(u16, u16)> {
    let size: Value = serde_json::from_slice(json).ok()?;
    let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
    side("Width").zip(side("Height"))
}

/// How a command ended, as a Status.
pub(super) fn end_status(exit: Result<Result<i32, String>, tokio::sync::oneshot::error::RecvError>) -> Value {
    match exit {
        Ok(Ok(code)) => exit_status(code),
        Ok(Err(why)) => Status::internal(why).to_json(),
        Err(_) => Status::internal("the command was lost: the pod's runtime went away").to_json(),
    }
}

/// The exit code as the client expects it.
fn exit_status(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// What stands on the error channel: the Status itself since version 4, before that the message of a failure.
pub(super) fn error_text(status: &Value, whole: bool) -> String {
    match status["status"].as_str() {
        _ if whole => status.to_string(),
        Some("Success") => String::new(),
        _ => status["message"].as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_terminals() {
        assert_eq!(terminal_size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        assert_eq!(terminal_size(br#"{"Width":800000,"Height":24}"#), None);
        assert_eq!(terminal_size(b"wide"), None);
    }

    #[test]
    fn exit_codes_are_statuses_and_once_were_texts() {
        assert_eq!(exit_status(0)["status"], "Success");
        let failed = exit_status(3);
        assert_eq!(
            (&failed["reason"], &failed["details"]["causes"][0]["message"]),
            (&json!("NonZeroExitCode"), &json!("3"))
        );
        assert_eq!(error_text(&failed, true), failed.to_string());
        assert_eq!(error_text(&failed, false), "command terminated with non-zero exit code: 3");
        assert_eq!(error_text(&exit_status(0), false), "");
    }
}
