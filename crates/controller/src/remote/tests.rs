//! A server that answers as scripted: lists as events and as pages, watches that end, refuse and stay silent.

use std::sync::{Arc, Mutex};

use api::kinds::{NODE, SERVICE, SERVICE_CIDR};
use api::object::{ObjectKey, Revision};
use contract::access::{Access, Scope, WatchStep};
use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Remote, View};

/// What the server answers.
struct Reply {
    code: u16,
    body: String,
    /// The body is not over: the connection stays.
    hold: bool,
}

/// Request line in, answer out.
type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

#[derive(Clone)]
struct Fake {
    script: Script,
    asked: Arc<Mutex<Vec<String>>>,
}

fn reply(body: impl Into<String>) -> Reply {
    Reply { code: 200, body: body.into(), hold: false }
}

fn refusal(code: u16) -> Reply {
    let body = json!({ "kind": "Status", "code": code, "message": format!("no: {code}") }).to_string();
    Reply { code, body, hold: false }
}

fn held(body: impl Into<String>) -> Reply {
    Reply { hold: true, ..reply(body) }
}

fn service(name: &str, revision: u64) -> serde_json::Value {
    json!({ "metadata": { "name": name, "namespace": "ns", "resourceVersion": revision.to_string() } })
}

fn event(kind: &str, object: &serde_json::Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn bookmark(revision: u64, ends: bool) -> String {
    let annotations = if ends { json!({ "k8s.io/initial-events-end": "true" }) } else { json!({}) };
    let metadata = json!({ "resourceVersion": revision.to_string(), "annotations": annotations });
    event("BOOKMARK", &json!({ "metadata": metadata }))
}

impl Fake {
    async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (Self, Remote) {
        let fake = Self { script: Arc::new(script), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().answer(stream));
            }
        });
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let view = |kind, labels: &str, optional| {
            let scope = Scope { labels: labels.into(), ..Scope::default() };
            View { kind, scope, optional }
        };
        let views = vec![view(&NODE, "", false), view(&SERVICE, "!x/y", false), view(&SERVICE_CIDR, "", true)];
        (fake, Remote::new(client, views))
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 1024];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => head.extend_from_slice(&piece[..length]),
            }
        }
        let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push(line.clone());
        let Reply { code, body, hold } = (self.script)(&line);
        let head = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all((head + &body).as_bytes()).await;
        if hold {
            std::future::pending::<()>().await;
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_list_comes_as_events_within_the_view() {
    let (fake, remote) = Fake::start(|_| {
        held(event("ADDED", &service("b", 3)) + &event("ADDED", &service("a", 5)) + &bookmark(9, true))
    })
    .await;
    let scope = Scope { labels: "app=web".into(), ..Scope::default() };
    let list = remote.list(&SERVICE, &scope).await.unwrap();
    let names: Vec<_> = list.items.iter().map(|object| object.key.to_string()).collect();
    assert_eq!((list.revision, names), (Revision(9), vec!["ns/a".to_owned(), "ns/b".to_owned()]));
    let asked = fake.asked();
    assert!(asked[0].contains("labelSelector=%21x%2Fy%2Capp%3Dweb&watch=true&sendInitialEvents=true"), "{asked:?}");
}

#[tokio::test]
async fn a_server_without_streams_is_asked_for_pages_from_then_on() {
    let page = |name: &str, next: &str| {
        let metadata = json!({ "resourceVersion": "7", "continue": next });
        reply(json!({ "metadata": metadata, "items": [service(name, 1)] }).to_string())
    };
    let (fake, remote) = Fake::start(move |line| match line {
        line if line.contains("sendInitialEvents") => refusal(422),
        line if line.contains("continue=more") => page("b", ""),
        _ => page("a", "more"),
    })
    .await;
    for _ in 0..2 {
        let list = remote.list(&SERVICE, &Scope::default()).await.unwrap();
        assert_eq!((list.revision, list.items.len()), (Revision(7), 2));
    }
    let streams = fake.asked().iter().filter(|line| line.contains("sendInitialEvents")).count();
    assert_eq!((streams, fake.asked().len()), (1, 5), "{:?}", fake.asked());
}

#[tokio::test]
async fn a_list_that_is_cut_is_no_list() {
    let (_fake, remote) = Fake::start(|_| reply(event("ADDED", &service("a", 5)))).await;
    let status = remote.list(&SERVICE, &Scope::default()).await.map(|list| list.items.len()).unwrap_err();
    assert!(status.message.contains("ended before its end was told"), "{status}");
    assert!(remote.link().loss().is_some_and(|loss| loss.why.contains("ended before")));
}

#[tokio::test]
async fn a_kind_that_the_server_does_not_have_is_as_of_the_last_list() {
    let (_fake, remote) = Fake::start(|line| match line {
        line if line.contains("servicecidrs") => refusal(404),
        _ => held(bookmark(9, true)),
    })
    .await;
    remote.list(&NODE, &Scope::default()).await.unwrap();
    let list = remote.list(&SERVICE_CIDR, &Scope::default()).await.unwrap();
    assert_eq!((list.revision, list.items.len()), (Revision(9), 0));
    let refused = remote.get(&SERVICE_CIDR, &ObjectKey::new("", "kubernetes")).await.unwrap_err();
    assert_eq!((refused.code, &*refused.message), (404, "no: 404"));
}

#[tokio::test]
async fn a_watch_goes_on_where_it_ended_until_it_is_too_late() {
    let (fake, remote) = Fake::start(|line| match line {
        line if line.contains("resourceVersion=4&") => reply(event("ADDED", &service("a", 5))),
        line if line.contains("resourceVersion=5&") => reply(event("DELETED", &service("a", 6))),
        _ => reply(event("ERROR", &json!({ "kind": "Status", "code": 410, "message": "too old" }))),
    })
    .await;
    let mut steps = remote.watch(&[&SERVICE], Revision(4)).await.unwrap();
    let key = |step: Option<Result<WatchStep, _>>| match step {
        Some(Ok(WatchStep::Put(plural, object))) => format!("+{plural} {}", object.key),
        Some(Ok(WatchStep::Delete(plural, object))) => format!("-{plural} {}", object.key),
        Some(Err(status)) => {
            let status: api::status::Status = status;
            format!("{} {status}", status.code)
        }
        _ => "nothing".to_owned(),
    };
    assert_eq!(key(steps.next().await), "+services ns/a");
    assert_eq!(key(steps.next().await), "-services ns/a");
    assert_eq!(key(steps.next().await), "410 too old");
    assert_eq!(fake.asked().len(), 3, "{:?}", fake.asked());
    drop(steps);
    assert!(remote.link().loss().is_some(), "nobody follows any more");
}

#[tokio::test]
async fn progress_is_what_every_kind_has_reached() {
    let (_fake, remote) = Fake::start(|line| match line {
        line if line.contains("servicecidrs") => refusal(404),
        line if line.contains("/nodes") => held(bookmark(30, false)),
        _ => held(bookmark(20, false)),
    })
    .await;
    let mut steps = remote.watch(&[&NODE, &SERVICE, &SERVICE_CIDR], Revision(10)).await.unwrap();
    assert!(remote.link().loss().is_none(), "what there is, is followed");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let Some(Ok(WatchStep::Progress(revision))) = steps.next().await {
            seen.push(revision.0);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [10, 20], "the first kind alone proves nothing");
}
