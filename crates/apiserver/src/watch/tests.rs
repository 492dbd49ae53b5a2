//! Changes in, the events and pages that a client with selectors sees out.

use ::api::kinds::CONFIG_MAP;
use ::api::object::ObjectKey;
use contract::access::{Access, DeleteOptions, WatchStep};

use super::*;
use crate::write::tests::fresh;

fn parse(query: &str) -> Result<WatchOptions, Status> {
    WatchOptions::parse(&Query::parse(query).unwrap())
}

fn config_map(name: &str, app: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default", "labels": { "app": app } } })
}

/// A watch as a client sees it: one event at a time.
struct Client {
    stream: BoxStream<'static, std::io::Result<Bytes>>,
    lines: VecDeque<Value>,
}

impl Client {
    async fn start(api: &Api, query: &str, shape: Shape, stop: Stop) -> Result<Self, Status> {
        let query = Query::parse(query)?;
        let labels = query.get("labelSelector").unwrap_or("");
        let selection = Selection::parse(&CONFIG_MAP, None, labels, "")?;
        let view = View { shape, include: Include::Metadata, events_v1: false };
        let stream = api.watch_objects(&CONFIG_MAP, selection, WatchOptions::parse(&query)?, view, stop).await?;
        Ok(Self { stream, lines: VecDeque::new() })
    }

    async fn next(&mut self) -> Option<Value> {
        while self.lines.is_empty() {
            let piece = self.stream.next().await?.unwrap();
            assert!(piece.ends_with(b"\n"), "every event ends its line");
            let lines = piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            self.lines.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        self.lines.pop_front()
    }

    /// Type and name of the next event.
    async fn seen(&mut self) -> String {
        let event = self.next().await.unwrap();
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {name}", event["type"].as_str().unwrap())
    }
}

#[test]
fn options() {
    assert_eq!(parse("resourceVersion=0").unwrap().from, None);
    assert_eq!(parse("resourceVersion=7&timeoutSeconds=5").unwrap().from, Some(Revision(7)));
    let list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=3";
    let list = parse(list).unwrap();
    assert_eq!((list.from, list.not_older, list.initial_events), (None, Some(Revision(3)), true));
    for (query, code) in [
        ("resourceVersion=x", 400),
        ("sendInitialEvents=true", 422),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422),
        ("sendInitialEvents=true&resourceVersionMatch=Exact&allowWatchBookmarks=true", 422),
        ("resourceVersionMatch=NotOlderThan", 422),
        ("timeoutSeconds=soon", 400),
    ] {
        assert_eq!(parse(query).unwrap_err().code, code, "{query}");
    }
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let (api, _dir) = fresh().await;
    let (_running, stop) = tokio::sync::watch::channel(false);
    let mut watch = Client::start(&api, "labelSelector=app=ham", Shape::Object, stop).await.unwrap();
    api.create(&CONFIG_MAP, config_map("one", "eggs")).await.unwrap();
    api.update(&CONFIG_MAP, config_map("one", "ham")).await.unwrap();
    assert_eq!(watch.seen().await, "ADDED one");
    let mut more = config_map("one", "ham");
    more["data"] = json!({ "a": "b" });
    api.update(&CONFIG_MAP, more).await.unwrap();
    assert_eq!(watch.seen().await, "MODIFIED one");
    let left = api.update(&CONFIG_MAP, config_map("one", "eggs")).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["app"], "ham", "the last state this client could see");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left.revision.to_string());
    api.create(&CONFIG_MAP, config_map("two", "ham")).await.unwrap();
    let gone = api.delete(&CONFIG_MAP, &ObjectKey::new("default", "two"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(watch.seen().await, "ADDED two");
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["resourceVersion"]),
        (&json!("DELETED"), &json!(gone.revision.to_string()))
    );
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let (api, _dir) = fresh().await;
    let (_running, stop) = tokio::sync::watch::channel(false);
    for name in ["one", "two"] {
        api.create(&CONFIG_MAP, config_map(name, "ham")).await.unwrap();
    }
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Client::start(&api, query, Shape::Object, stop).await.unwrap();
    assert_eq!(watch.seen().await, "ADDED one");
    assert_eq!(watch.seen().await, "ADDED two");
    let end = watch.next().await.unwrap();
    assert_eq!((&end["type"], &end["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(end["object"]["metadata"]["resourceVersion"], api.store().revision().to_string());
}

#[tokio::test]
async fn tables_tell_their_columns_once() {
    let (api, _dir) = fresh().await;
    let (_running, stop) = tokio::sync::watch::channel(false);
    for name in ["one", "two"] {
        api.create(&CONFIG_MAP, config_map(name, "ham")).await.unwrap();
    }
    let mut watch = Client::start(&api, "", Shape::Table, stop).await.unwrap();
    let (first, second) = (watch.next().await.unwrap(), watch.next().await.unwrap());
    assert!(first["object"]["columnDefinitions"].is_array() && second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "two");
}

#[tokio::test]
async fn a_stop_ends_the_stream_after_a_last_bookmark() {
    let (api, _dir) = fresh().await;
    let (running, stop) = tokio::sync::watch::channel(false);
    let from = api.store().revision();
    let query = format!("resourceVersion={from}&allowWatchBookmarks=true");
    let mut watch = Client::start(&api, &query, Shape::Object, stop).await.unwrap();
    api.create(&CONFIG_MAP, config_map("one", "ham")).await.unwrap();
    assert_eq!(watch.seen().await, "ADDED one");
    running.send_replace(true);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn local_watches_see_several_kinds_in_order() {
    let (api, _dir) = fresh().await;
    let from = api.store().revision();
    let mut steps = api.watch(&[&CONFIG_MAP, &::api::kinds::NAMESPACE], from).await.unwrap();
    api.create(&CONFIG_MAP, config_map("one", "ham")).await.unwrap();
    api.create(&::api::kinds::NAMESPACE, json!({ "metadata": { "name": "perf" } })).await.unwrap();
    api.delete(&CONFIG_MAP, &ObjectKey::new("default", "one"), &DeleteOptions::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match steps.next().await.unwrap().unwrap() {
            WatchStep::Put(plural, object) => seen.push(format!("put {plural} {}", object.key)),
            WatchStep::Delete(plural, object) => seen.push(format!("delete {plural} {}", object.key)),
            WatchStep::Progress(_) => {}
        }
    }
    assert_eq!(seen, ["put configmaps default/one", "put namespaces perf", "delete configmaps default/one"]);
}

#[tokio::test]
async fn chunks_of_a_list_are_of_one_revision() {
    let (api, _dir) = fresh().await;
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&CONFIG_MAP, config_map(name, "ham")).await.unwrap();
    }
    let everything = Selection::parse(&CONFIG_MAP, None, "", "").unwrap();
    let mut query = "limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let options = ListOptions::parse(&Query::parse(&query).unwrap()).unwrap();
        let page = api.list_objects(&CONFIG_MAP, &everything, &options).await.ok().unwrap();
        seen.extend(page.records.iter().map(|record| record.key.name.to_string()));
        assert_eq!(page.remaining, if page.more.is_some() { Some(5 - seen.len()) } else { None });
        let Some(token) = page.more else { break };
        // What changes between the pages is not seen.
        let key = ObjectKey::new("default", "e");
        let _ = api.delete(&CONFIG_MAP, &key, &DeleteOptions::default()).await;
        query = format!("limit=2&continue={token}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}
