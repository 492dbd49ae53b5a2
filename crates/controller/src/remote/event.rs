//! JSON of objects, events and pages in, keys, revisions and the untouched bytes out; nothing else is decoded here.

use std::borrow::Cow;

use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use contract::access::Object;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

/// A line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    Put(Object),
    Delete(Object),
    /// Everything up to here was sent; whether it also ends the list that the watch began with.
    Bookmark(Revision, bool),
    Error(serde_json::Value),
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct RawBookmark<'a> {
    #[serde(borrow)]
    metadata: BookmarkMetadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata<'a> {
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Annotation of the bookmark after the last object of a list that is sent as events (KEP-3157).
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// An object with its key and revision.
pub(super) fn object(json: Bytes) -> Result<Object, String> {
    let found: Identified<'_> = serde_json::from_slice(&json).map_err(|error| format!("an object: {error}"))?;
    let metadata = found.metadata;
    let (key, revision) = (ObjectKey::new(metadata.namespace, metadata.name), revision(&metadata.resource_version)?);
    Ok(Object { key, revision, json })
}

/// Resource versions are numbers that grow (KEP-5504).
fn revision(text: &str) -> Result<Revision, String> {
    text.parse().map(Revision).map_err(|_| format!("metadata.resourceVersion {text:?} is not a number"))
}

/// A line of a watch.
pub(super) fn event(line: &Bytes) -> Result<Event, String> {
    let raw: RawEvent<'_> = serde_json::from_slice(line).map_err(|error| format!("a watch event: {error}"))?;
    let body = || line.slice_ref(raw.object.get().as_bytes());
    match &*raw.r#type {
        "ADDED" | "MODIFIED" => object(body()).map(Event::Put),
        "DELETED" => object(body()).map(Event::Delete),
        "BOOKMARK" => {
            let bookmark: RawBookmark<'_> =
                serde_json::from_str(raw.object.get()).map_err(|error| format!("a bookmark: {error}"))?;
            let ends = bookmark.metadata.annotations.get(INITIAL_END).is_some_and(|value| value == "true");
            Ok(Event::Bookmark(revision(&bookmark.metadata.resource_version)?, ends))
        }
        "ERROR" => serde_json::from_str(raw.object.get()).map(Event::Error).map_err(|error| error.to_string()),
        other => Err(format!("a watch event of type {other:?}")),
    }
}

/// A page of a list.
pub(super) struct Page {
    pub(super) revision: Revision,
    /// Where the next page begins; empty after the last one.
    pub(super) next: String,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

/// Hands the objects of a page on.
pub(super) fn page(json: &Bytes, take: &mut (dyn FnMut(&Object) + Send)) -> Result<Page, String> {
    let raw: RawPage<'_> = serde_json::from_slice(json).map_err(|error| format!("a list: {error}"))?;
    for item in raw.items.unwrap_or_default() {
        take(&object(json.slice_ref(item.get().as_bytes()))?);
    }
    Ok(Page { revision: revision(&raw.metadata.resource_version)?, next: raw.metadata.r#continue })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Event, String> {
        event(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn events_keep_the_bytes_of_their_object() {
        let line = r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"7"},"x":1}}"#;
        let Ok(Event::Put(object)) = read(line) else { panic!("no object") };
        assert_eq!((object.key, object.revision), (ObjectKey::new("n", "a"), Revision(7)));
        assert_eq!(object.json, r#"{"metadata":{"name":"a","namespace":"n","resourceVersion":"7"},"x":1}"#);
        let gone = read(&line.replace("ADDED", "DELETED"));
        assert!(matches!(gone, Ok(Event::Delete(object)) if object.revision == Revision(7)));
    }

    #[test]
    fn bookmarks_say_how_far_and_whether_the_list_is_over() {
        let bare = r#"{"type":"BOOKMARK","object":{"kind":"Service","metadata":{"resourceVersion":"9"}}}"#;
        assert!(matches!(read(bare), Ok(Event::Bookmark(Revision(9), false))));
        let annotated = r#","annotations":{"k8s.io/initial-events-end":"true"}}"#;
        let end = bare.replacen("}}", &format!("{annotated}}}"), 1);
        assert!(matches!(read(&end), Ok(Event::Bookmark(Revision(9), true))), "{end}");
    }

    #[test]
    fn what_the_api_does_not_promise_is_told() {
        for (line, why) in [
            ("", "a watch event"),
            (r#"{"type":"WHAT","object":{}}"#, "of type \"WHAT\""),
            (r#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"x"}}}"#, "\"x\" is not a number"),
            (r#"{"type":"ADDED","object":{}}"#, "missing field `metadata`"),
        ] {
            let said = read(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        assert!(matches!(read(error), Ok(Event::Error(status)) if status["code"] == 410));
    }

    #[test]
    fn pages_follow_one_another() {
        let one = r#"{"metadata":{"resourceVersion":"5","continue":"c"},"items":[{"metadata":{"name":"a","resourceVersion":"2"}}]}"#;
        let mut names = Vec::new();
        let page = |text: &str, names: &mut Vec<String>| {
            page(&Bytes::copy_from_slice(text.as_bytes()), &mut |object| names.push(object.key.to_string())).unwrap()
        };
        let first = page(one, &mut names);
        assert_eq!((first.revision, &*first.next, &names[..]), (Revision(5), "c", &["a".to_owned()][..]));
        let last = page(r#"{"metadata":{"resourceVersion":"5"},"items":null}"#, &mut names);
        assert!(last.next.is_empty() && names.len() == 1);
    }
}
