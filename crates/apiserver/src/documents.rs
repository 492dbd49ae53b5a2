//! Discovery and OpenAPI: documents made from the table of kinds once, then served with their ETag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::status::Status;
use api::{discovery, openapi};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HOST, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response};
use sha2::{Digest, Sha512};

use crate::negotiate::{Accepted, Format, Shape, accepted, not_acceptable, wants_aggregated};
use crate::query::Query;
use crate::reply::{self, Body};
use crate::route::Route;

/// Version that documents say they are of.
const VERSION: &str = "v1.37.0";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Documents that were asked for so far. One per group and version, plus a handful.
#[derive(Default)]
pub(crate) struct Documents {
    made: Mutex<BTreeMap<String, Arc<Document>>>,
}

struct Document {
    json: Bytes,
    etag: String,
}

impl Documents {
    /// A document that depends on the request and is not kept.
    fn make(&self, make: impl FnOnce() -> Option<Bytes>) -> Option<Arc<Document>> {
        let json = make()?;
        Some(Arc::new(Document { etag: format!("\"{}\"", digest(&json)), json }))
    }

    fn get(&self, name: &str, make: impl FnOnce() -> Option<Bytes>) -> Option<Arc<Document>> {
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if known.is_some() {
            return known;
        }
        // Made outside the lock; two requests at once may both make the same bytes.
        let document = self.make(make)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), document.clone());
        Some(document)
    }
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Serves a discovery or OpenAPI document.
pub(crate) fn serve(
    documents: &Documents,
    route: &Route,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, Status> {
    let json = |value: serde_json::Value| Some(Bytes::from(value.to_string()));
    let host = || headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let mut media = "application/json";
    let mut aggregated = false;
    let found = match route {
        Route::CoreVersions | Route::Groups => {
            aggregated = wants_aggregated(headers);
            if aggregated {
                media = AGGREGATED;
            }
            match (route, aggregated) {
                (Route::CoreVersions, true) => documents.get("api aggregated", || json(discovery::aggregated_core())),
                (Route::CoreVersions, false) => documents.make(|| json(discovery::api_versions(host()))),
                (_, true) => documents.get("apis aggregated", || json(discovery::aggregated_groups())),
                (_, false) => documents.get("apis", || json(discovery::group_list())),
            }
        }
        Route::Group(group) => documents.get(&format!("apis/{group}"), || discovery::group(group).and_then(json)),
        Route::Resources { group, version } => {
            documents.get(&format!("{group}/{version}"), || discovery::resource_list(group, version).and_then(json))
        }
        Route::OpenApiV2 => documents.get("openapi v2", || json(openapi::v2_document(VERSION))),
        Route::OpenApiV3 => documents.get("openapi v3", || json(openapi::v3_index())),
        Route::OpenApiDocument { group, version } => {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            documents.get(&format!("openapi v3 {path}"), || openapi::v3_document(&path, VERSION).and_then(json))
        }
        _ => None,
    };
    let Some(document) = found else { return Ok(reply::text(404, "404 page not found\n")) };
    if !aggregated && accepted(headers)? != (Accepted { format: Format::Json, shape: Shape::Object }) {
        return Err(not_acceptable("application/json"));
    }
    let matched = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let matched = matched.flat_map(|value| value.split(',')).any(|tag| tag.trim() == document.etag);
    let mut response = if matched {
        reply::with_type(304, media, reply::full(Bytes::new()))
    } else {
        reply::with_type(200, media, reply::full(document.json.clone()))
    };
    reply::header(&mut response, ETAG, &document.etag);
    reply::header(&mut response, VARY, "Accept");
    let forever = matches!(route, Route::OpenApiDocument { .. }) && query.get("hash") == Some(openapi::hash());
    let cache = if forever { "public, immutable" } else { "public" };
    reply::header(&mut response, CACHE_CONTROL, cache);
    if forever {
        reply::header(&mut response, EXPIRES, "Thu, 31 Dec 2099 23:59:59 GMT");
    }
    Ok(response)
}
