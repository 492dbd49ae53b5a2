//! `Accept` and `Content-Type` in, the shape of the answer and of the body out.

use api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// What of an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object itself.
    Object,
    /// A `meta.k8s.io/v1` Table.
    Table,
    /// A `PartialObjectMetadata` or `PartialObjectMetadataList`.
    Metadata,
}

/// What the client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// How it is written.
    pub format: Format,
    /// What is shown.
    pub shape: Shape,
}

/// One element of an `Accept` header.
struct Media<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Media<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The best offer the client accepts for objects of a kind; 406 if there is none.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    let accept = text(headers, ACCEPT);
    let offer = |media: &Media<'_>| {
        let format = match media.name {
            "application/json" | "*/*" | "application/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => return None,
        };
        if media.parameter("stream").is_some_and(|stream| stream != "watch") {
            return None;
        }
        let meta = (media.parameter("g"), media.parameter("v")) == (Some("meta.k8s.io"), Some("v1"));
        let shape = match media.parameter("as") {
            None => Shape::Object,
            Some("Table") if meta => Shape::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => Shape::Metadata,
            Some(_) => return None,
        };
        Some(Accepted { format, shape })
    };
    if accept.trim().is_empty() {
        return Ok(Accepted { format: Format::Json, shape: Shape::Object });
    }
    by_quality(&accept).iter().find_map(offer).ok_or_else(|| not_acceptable("application/json, application/yaml"))
}

/// The 406 that names what would be accepted.
pub(crate) fn not_acceptable(types: &str) -> Status {
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {types}"))
}

/// Whether the client asks for OpenAPI 2 in protobuf first; older clients write the version with an `@`.
pub(crate) fn wants_openapi_protobuf(headers: &HeaderMap) -> bool {
    let accept = text(headers, ACCEPT);
    by_quality(&accept).first().is_some_and(|media| {
        media.name.starts_with("application/com.github.proto-openapi.spec.v2") && media.name.ends_with("+protobuf")
    })
}

/// Whether the client asks for aggregated discovery before the plain form.
pub(crate) fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = text(headers, ACCEPT);
    by_quality(&accept)
        .iter()
        .find_map(|media| match (media.name, media.parameter("as")) {
            ("application/json", Some("APIGroupDiscoveryList")) => {
                let v2 = (media.parameter("g"), media.parameter("v")) == (Some("apidiscovery.k8s.io"), Some("v2"));
                v2.then_some(true)
            }
            ("application/json" | "*/*" | "application/*", None) => Some(false),
            _ => None,
        })
        .unwrap_or(false)
}

/// Whether a large answer may be compressed.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    text(headers, ACCEPT_ENCODING).split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && !matches!(weight.trim(), "q=0" | "q=0.0")
    })
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// How the body of a create or update is written; 415 if we cannot read it.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<Written, Status> {
    match content_type(headers).as_str() {
        "" | "application/json" => Ok(Written::Json),
        "application/yaml" => Ok(Written::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Written::Protobuf),
        _ => Err(Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// The media type of the body without its parameters, in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = text(headers, CONTENT_TYPE);
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> String {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// Media ranges by falling quality; equal ones stay in the order given, as Kubernetes prefers them.
fn by_quality(accept: &str) -> Vec<Media<'_>> {
    let mut ranges: Vec<(u32, Media<'_>)> = accept.split(',').map(media).filter(|(quality, _)| *quality > 0).collect();
    ranges.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    ranges.into_iter().map(|(_, media)| media).collect()
}

fn media(range: &str) -> (u32, Media<'_>) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let quality = parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse::<f32>().ok());
    ((quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32, Media { name, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        headers
    }

    #[test]
    fn accept() {
        let ok = |format, shape| Some(Accepted { format, shape });
        for (accept, expected) in [
            ("application/json", ok(Format::Json, Shape::Object)),
            ("*/*", ok(Format::Json, Shape::Object)),
            ("application/yaml, application/json;q=0.5", ok(Format::Yaml, Shape::Object)),
            ("application/yaml;q=0.5, application/json", ok(Format::Json, Shape::Object)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", ok(Format::Json, Shape::Table)),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", ok(Format::Json, Shape::Object)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", ok(Format::Json, Shape::Metadata)),
            ("application/vnd.kubernetes.protobuf, application/json", ok(Format::Json, Shape::Object)),
            ("application/json;stream=watch", ok(Format::Json, Shape::Object)),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(accepted(&headers(accept)).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn discovery() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert!(wants_aggregated(&headers(&format!("{v2},application/json"))));
        assert!(!wants_aggregated(&headers(&v2.replace("v=v2", "v=v2beta1"))));
        assert!(!wants_aggregated(&headers("application/json")));
    }

    #[test]
    fn bodies() {
        let mut headers = HeaderMap::new();
        assert_eq!(body_format(&headers).unwrap(), Written::Json);
        headers.insert(CONTENT_TYPE, "application/yaml; charset=utf-8".parse().unwrap());
        assert_eq!(body_format(&headers).unwrap(), Written::Yaml);
        headers.insert(CONTENT_TYPE, "application/vnd.kubernetes.protobuf".parse().unwrap());
        assert_eq!(body_format(&headers).unwrap(), Written::Protobuf);
        headers.insert(CONTENT_TYPE, "application/cbor".parse().unwrap());
        assert_eq!(body_format(&headers).unwrap_err().code, 415);
    }

    #[test]
    fn compression() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, "br, gzip;q=1.0".parse().unwrap());
        assert!(accepts_gzip(&headers));
        headers.insert(ACCEPT_ENCODING, "gzip;q=0".parse().unwrap());
        assert!(!accepts_gzip(&headers));
    }
}
