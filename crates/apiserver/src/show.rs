//! Objects and lists in, the answer in the shape asked for out: as stored, metadata only, or a table.

use api::kinds;
use api::status::Status;
use bytes::Bytes;
use contract::access::Object;
use http::Response;
use serde_json::{Value, json};

use crate::advice;
use crate::ask::Ask;
use crate::events_v1;
use crate::list::Listed;
use crate::negotiate::{Accepted, Shape};
use crate::object::parsed;
use crate::pipeline::Api;
use crate::reply::{self, Body};
use crate::table::{self, Include};
use crate::write::subresource::scale_of;

/// An object in the shape asked for.
pub(crate) fn show(
    api: &Api,
    ask: &Ask,
    accepted: Accepted,
    code: u16,
    object: &Object,
) -> Result<Response<Body>, Status> {
    if ask.subresource == "scale" {
        return Ok(reply::json(code, accepted.format, &scale_of(&parsed(&object.json)?)));
    }
    let shown = match accepted.shape {
        Shape::Object if ask.events_v1 => {
            return Ok(reply::json_bytes(code, accepted.format, events_v1::text_from_core(&object.json)));
        }
        Shape::Object => return Ok(reply::json_bytes(code, accepted.format, object.json.clone())),
        Shape::Metadata => table::metadata(parsed(&object.json)?),
        Shape::Table => {
            let include = Include::parse(ask.query.get("includeObject"))?;
            let meta = json!({ "resourceVersion": object.revision.to_string() });
            let row = advice::row(api, ask.kind, parsed(&object.json)?, include);
            table::table(table::definitions(ask.kind), vec![row], meta)
        }
    };
    Ok(reply::json(code, accepted.format, &shown))
}

/// A list in the shape asked for.
pub(crate) fn show_list(api: &Api, ask: &Ask, accepted: Accepted, listed: &Listed) -> Result<Response<Body>, Status> {
    let mut meta = json!({ "resourceVersion": listed.revision.to_string() });
    if let Some(token) = &listed.more {
        meta["continue"] = token.as_str().into();
    }
    if let Some(remaining) = listed.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    let shown = match accepted.shape {
        Shape::Object => {
            return Ok(reply::json_bytes(200, accepted.format, object_list(ask, &meta, listed)));
        }
        Shape::Metadata => {
            let items = listed.records.iter().map(|record| parsed(&record.body.bytes()).map(table::metadata));
            let items = items.collect::<Result<Vec<_>, _>>()?;
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items,
            })
        }
        Shape::Table => {
            let include = Include::parse(ask.query.get("includeObject"))?;
            let row =
                |body: &store::Body| parsed(&body.bytes()).map(|object| advice::row(api, ask.kind, object, include));
            let rows = listed.records.iter().map(|record| row(&record.body)).collect::<Result<Vec<_>, _>>()?;
            table::table(table::definitions(ask.kind), rows, meta)
        }
    };
    Ok(reply::json(200, accepted.format, &shown))
}

/// Stored objects are JSON already: a list only puts commas between them.
fn object_list(ask: &Ask, meta: &Value, listed: &Listed) -> Bytes {
    let kind = if ask.events_v1 { &kinds::EVENTS_EVENT } else { ask.kind };
    let size: usize = listed.records.iter().map(|record| record.body.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
        kind.kind,
        kind.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, record) in listed.records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let body = record.body.bytes();
        out.extend_from_slice(&if ask.events_v1 { events_v1::text_from_core(&body) } else { body });
    }
    out.extend_from_slice(b"]}");
    out.into()
}
