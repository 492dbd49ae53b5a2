//! Discovery and OpenAPI: documents made from the table of kinds, served with their ETag.

use api::status::Status;
use api::{discovery, openapi};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HOST, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response};
use serde_json::Value;
use sha2::{Digest, Sha512};

use crate::negotiate::{Accepted, Format, Shape, accepted, not_acceptable, wants_aggregated, wants_openapi_protobuf};
use crate::query::Query;
use crate::reply::{self, Body};
use crate::route::{Route, missing};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

const OPENAPI_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What a route's document is, and how it is recognised by clients that have it already.
struct Document {
    value: Value,
    /// OpenAPI documents all come from this build and share its hash; small ones are hashed as they are.
    hash: Option<&'static str>,
}

fn document(route: &Route, aggregated: bool, host: &str, version: &str) -> Option<Document> {
    let plain = |value| Some(Document { value, hash: None });
    let schema = |value| Some(Document { value, hash: Some(openapi::hash()) });
    match route {
        Route::CoreVersions if aggregated => plain(discovery::aggregated_core()),
        Route::CoreVersions => plain(discovery::api_versions(host)),
        Route::Groups if aggregated => plain(discovery::aggregated_groups()),
        Route::Groups => plain(discovery::group_list()),
        Route::Group(group) => discovery::group(group).and_then(plain),
        Route::Resources { group, version } => discovery::resource_list(group, version).and_then(plain),
        Route::OpenApiV2 => schema(openapi::v2_document(version)),
        Route::OpenApiV3 => schema(openapi::v3_index()),
        Route::OpenApiDocument { path } => openapi::v3_document(path, version).and_then(schema),
        _ => None,
    }
}

fn etag(document: &Document, json: &[u8]) -> String {
    match document.hash {
        Some(hash) => format!("\"{hash}\""),
        None => {
            let hex: String = Sha512::digest(json).iter().map(|byte| format!("{byte:02X}")).collect();
            format!("\"{hex}\"")
        }
    }
}

/// OpenAPI 2 in protobuf, the only form in which kubectl takes it: it does so for a kind that version 3 does not have, to
/// find that version 2 does not have it either. Title and version are all it says; the definitions are in the JSON form.
fn openapi_protobuf(version: &str) -> Vec<u8> {
    fn field(number: u8, text: &[u8]) -> Vec<u8> {
        // Both the field's tag and its length are below 128 here: one byte each.
        let length = u8::try_from(text.len().min(127)).unwrap_or(127);
        [&[number << 3 | 2, length][..], &text[..usize::from(length)]].concat()
    }
    let (title, version) = ("Kubernetes".as_bytes(), &version.as_bytes()[..version.len().min(64)]);
    let info = [field(1, title), field(2, version)].concat();
    [field(1, b"2.0"), field(2, &info), field(8, &[]), field(9, &[])].concat()
}

/// Serves a discovery or OpenAPI document.
pub(crate) fn serve(
    version: &str,
    route: &Route,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, Status> {
    let aggregated = matches!(route, Route::CoreVersions | Route::Groups) && wants_aggregated(headers);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    if matches!(route, Route::OpenApiV2) && wants_openapi_protobuf(headers) {
        return Ok(reply::with_type(200, OPENAPI_PROTOBUF, reply::full(Bytes::from(openapi_protobuf(version)))));
    }
    let Some(document) = document(route, aggregated, host, version) else {
        return match route {
            Route::Group(_) | Route::Resources { .. } => Err(missing()),
            _ => Ok(reply::text(404, "404 page not found\n")),
        };
    };
    if !aggregated && accepted(headers)? != (Accepted { format: Format::Json, shape: Shape::Object }) {
        return Err(not_acceptable("application/json"));
    }
    let media = if aggregated { AGGREGATED } else { "application/json" };
    let json = Bytes::from(document.value.to_string());
    let etag = etag(&document, &json);
    let matched = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let matched = matched.flat_map(|value| value.split(',')).any(|tag| tag.trim() == etag);
    let mut response = if matched {
        reply::with_type(304, media, reply::full(Bytes::new()))
    } else {
        reply::with_type(200, media, reply::full(json))
    };
    reply::header(&mut response, ETAG, &etag);
    reply::header(&mut response, VARY, "Accept");
    let forever = matches!(route, Route::OpenApiDocument { .. }) && query.get("hash") == document.hash;
    let cache = if forever { "public, immutable" } else { "public" };
    reply::header(&mut response, CACHE_CONTROL, cache);
    if forever {
        reply::header(&mut response, EXPIRES, "Thu, 31 Dec 2099 23:59:59 GMT");
    }
    Ok(response)
}
