//! Values, Statuses and streams in, HTTP responses out.

use std::io::Write;

use api::status::Status;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::limits;
use crate::negotiate::Format;

/// The body of every response.
pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// A body that is all there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent piece by piece, each flushed.
pub(crate) fn stream(pieces: BoxStream<'static, std::io::Result<Bytes>>) -> Body {
    use futures::StreamExt;
    BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// A response with a body of one media type.
pub(crate) fn with_type(code: u16, media: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Plain text.
pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    with_type(code, "text/plain; charset=utf-8", full(text))
}

/// JSON bytes that are ready, in the format the client accepts.
pub(crate) fn json_bytes(code: u16, format: Format, json: Bytes) -> Response<Body> {
    match format {
        Format::Json => with_type(code, "application/json", full(json)),
        Format::Yaml => match serde_json::from_slice::<Value>(&json).map(|value| yaml(&value)) {
            Ok(Ok(yaml)) => with_type(code, "application/yaml", full(yaml)),
            Ok(Err(error)) => status(&Status::internal(format!("cannot write the answer as YAML: {error}"))),
            Err(error) => status(&Status::internal(format!("cannot read the answer back: {error}"))),
        },
    }
}

/// A value, in the format the client accepts.
pub(crate) fn json(code: u16, format: Format, value: &Value) -> Response<Body> {
    json_bytes(code, format, value.to_string().into())
}

/// A failure.
pub(crate) fn status(status: &Status) -> Response<Body> {
    let mut response = json(status.code, Format::Json, &status.to_json());
    if let Some(seconds) = status.details.get("retryAfterSeconds").and_then(Value::as_u64) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning: 299 - "text"` headers (RFC 7234, 5.5), each text once.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut seen = Vec::new();
    for text in warnings.iter().filter(|text| !text.is_empty()).take(limits::WARNINGS) {
        if !seen.contains(&text) {
            seen.push(text);
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{}\"", quoted(text))) {
                response.headers_mut().append(WARNING, value);
            }
        }
    }
}

/// Text for a quoted string in a header: printable ASCII only, quotes and backslashes escaped, of bounded length.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' '..='~' => out.push(letter),
            '\n' | '\r' | '\t' => out.push(' '),
            _ => out.push('?'),
        }
        if out.len() >= limits::WARNING_BYTES {
            break;
        }
    }
    out
}

/// Sets a header to a text of ours.
pub(crate) fn header(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Compresses bytes for a client that accepts gzip; level 1, as Kubernetes does, because lists are large and wires fast.
pub(crate) fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Compresses a complete body that is large enough; streams have no known size and are left alone.
pub(crate) async fn compress(response: Response<Body>) -> Response<Body> {
    let exact = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
    if exact < limits::GZIP_BYTES as u64 {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return status(&Status::internal("cannot collect the answer"));
    };
    match gzip(&bytes) {
        Ok(packed) => {
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            Response::from_parts(head, full(packed))
        }
        Err(_) => Response::from_parts(head, full(bytes)),
    }
}

fn yaml(value: &Value) -> Result<String, String> {
    serde_saphyr::to_string(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_ascii_quoted_and_told_once() {
        let mut response = text(200, "ok");
        warn(&mut response, &["say \"é\"\n".into(), "say \"é\"\n".into(), String::new()]);
        let values: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(values, ["299 - \"say \\\"?\\\" \""]);
    }

    #[test]
    fn a_status_becomes_its_code() {
        let response = status(&Status::bad_request("no"));
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    }
}
