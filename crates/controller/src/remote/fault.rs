//! What goes wrong between us and a server in, the Status that a client of the API would see out.

use std::error::Error;
use std::time::Duration;

use api::status::Status;
use serde_json::Value;

/// Reasons of metav1.Status that callers tell apart; every other one is known by its code.
const REASONS: [&str; 12] = [
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Expired",
    "Invalid",
    "BadRequest",
    "TooManyRequests",
    "Timeout",
    "ServiceUnavailable",
];

/// A body of metav1.Status, or whatever else came with a refusal.
pub(super) fn refused(code: u16, body: &[u8]) -> Status {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if value["kind"] == "Status" {
        return of_json(&value, code);
    }
    let text = String::from_utf8_lossy(body);
    let said = text.lines().next().unwrap_or_default().trim();
    let said = if said.is_empty() { "it gave no reason" } else { said };
    Status::new(code, reason("", code), format!("the server answered {code}: {said}"))
}

/// A metav1.Status, as an ERROR event of a watch holds it.
pub(super) fn of_json(value: &Value, otherwise: u16) -> Status {
    let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code != 0);
    let code = code.unwrap_or(otherwise);
    let message = value["message"].as_str().unwrap_or("the server gave no reason").to_owned();
    let reason = reason(value["reason"].as_str().unwrap_or_default(), code);
    Status { code, reason, message, details: value["details"].clone() }
}

fn reason(text: &str, code: u16) -> &'static str {
    let by_code = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    REASONS.into_iter().find(|known| *known == text).unwrap_or(by_code)
}

/// A request that got no answer.
pub(super) fn of(error: &kube::Error) -> Status {
    match error {
        kube::Error::Api(status) => {
            let value = serde_json::to_value(&**status).unwrap_or_default();
            of_json(&value, status.code)
        }
        other => lost(other),
    }
}

/// A connection that could not be made, or ended.
pub(super) fn lost(error: &dyn Error) -> Status {
    let why = told(error);
    Status::new(503, "ServiceUnavailable", format!("the API server cannot be reached: {why}"))
}

/// An error with its causes, each said once.
pub(super) fn told(error: &dyn Error) -> String {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let text = deeper.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        cause = deeper.source();
    }
    why
}

/// A server that says nothing.
pub(super) fn silent(patience: Duration) -> Status {
    Status::new(504, "Timeout", format!("the API server said nothing for {} s", patience.as_secs()))
}

/// An answer that is not what the API promises.
pub(super) fn nonsense(why: &str) -> Status {
    Status::new(502, "", format!("the API server's answer cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_what_the_server_said() {
        let gone = br#"{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (5)"}"#;
        let status = refused(410, gone);
        assert_eq!((status.code, status.reason, &*status.message), (410, "Expired", "too old resource version: 1 (5)"));
        let proxy = refused(502, b"<html>\nbad gateway");
        assert_eq!((proxy.code, &*proxy.message), (502, "the server answered 502: <html>"));
        let exists = br#"{"kind":"Status","code":409,"reason":"AlreadyExists","message":"x","details":{"name":"a"}}"#;
        let status = refused(409, exists);
        assert_eq!((status.reason, &status.details["name"]), ("AlreadyExists", &Value::from("a")));
        assert_eq!(refused(403, b"").reason, "Forbidden");
    }

    #[test]
    fn every_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("send failed")]
        struct Outer(#[source] std::io::Error);
        let status = lost(&Outer(std::io::Error::other("connection refused")));
        assert_eq!(status.message, "the API server cannot be reached: send failed: connection refused");
        assert_eq!(status.code, 503);
    }
}
