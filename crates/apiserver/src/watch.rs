//! Watch options in; a stream of JSON lines out: changes as this client's selectors see them, and bookmarks.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use api::field::FieldErrors;
use api::kind::Kind;
use api::kinds;
use api::object::Revision;
use api::status::Status;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};
use store::{Event, Record};
use tokio::time::Instant;

use crate::advice::row;
use crate::events_v1;
use crate::limits;
use crate::list::{ListFailure, ListOptions, list_options};
use crate::negotiate::Shape;
use crate::object::{revision, table};
use crate::pipeline::{Api, read_failure};
use crate::query::Query;
use crate::select::Selection;
use crate::table::{Include, definitions, metadata, table as as_table};

#[cfg(test)]
mod tests;

/// Tells connections that the server stops. True once it does.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// From where and how long to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchOptions {
    /// Strictly after this revision; none means "show what is there first".
    pub from: Option<Revision>,
    /// Send bookmarks.
    pub bookmarks: bool,
    /// Show what is there first, then say with a bookmark that this was all (WatchList).
    pub initial_events: bool,
    /// At least as new as this, when what is there is shown.
    pub not_older: Option<Revision>,
    /// End after so many seconds.
    pub seconds: Option<u64>,
}

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// What of each object.
    pub shape: Shape,
    /// What of each object in the rows of a Table.
    pub include: Include,
    /// Whether objects are Events in the names of `events.k8s.io/v1`.
    pub events_v1: bool,
}

impl WatchOptions {
    /// Reads the options of a watch from a query.
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        let version = match query.get("resourceVersion") {
            None => None,
            Some(text) => Some(revision(text).ok_or_else(|| {
                Status::bad_request(format!("Invalid value: {text:?}: resourceVersion must be a whole number"))
            })?),
        };
        let bookmarks = query.flag("allowWatchBookmarks");
        let initial = query.get("sendInitialEvents").is_some();
        let wanted = query.flag("sendInitialEvents");
        let mut errors = FieldErrors::default();
        match (query.get("resourceVersionMatch"), initial) {
            (None, false) | (Some("NotOlderThan"), true) => {}
            (None, true) => errors.forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (Some(other), sent) => {
                if !sent {
                    let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                    errors.forbidden("resourceVersionMatch", why);
                }
                if other != "NotOlderThan" {
                    errors.not_supported("resourceVersionMatch", other, &["NotOlderThan"]);
                }
            }
        }
        if wanted && !bookmarks {
            errors.forbidden("allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true");
        }
        if !errors.is_empty() {
            return Err(list_options(&errors));
        }
        let after = version.filter(|version| version.0 != 0);
        Ok(Self {
            from: if wanted { None } else { after },
            bookmarks,
            initial_events: wanted,
            not_older: if wanted { after } else { None },
            seconds: query.number::<u64>("timeoutSeconds")?.filter(|seconds| *seconds > 0),
        })
    }
}

impl Api {
    /// Starts a watch; failures after that are told inside the stream.
    pub(crate) async fn watch_objects(
        &self,
        kind: &'static Kind,
        selection: Selection,
        options: WatchOptions,
        view: View,
        stop: Stop,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        let spread = self.inner.config.ids.bits() % limits::WATCH_SECONDS;
        let seconds = options.seconds.unwrap_or(limits::WATCH_SECONDS + spread);
        let (from, initial) = match options.from {
            Some(from) => {
                self.reached(from).await?;
                (from, VecDeque::new())
            }
            None => {
                let list = ListOptions { not_older: options.not_older, ..ListOptions::default() };
                let listed = self.list_objects(kind, &selection, &list).await.map_err(|failure| match failure {
                    ListFailure::Status(status) => status,
                    ListFailure::Expired(_) => Status::internal("a list without a token cannot expire"),
                })?;
                (listed.revision, listed.records.into())
            }
        };
        let changes = self.inner.store.watch(&[table(kind)], from).map_err(read_failure)?;
        let feed = Feed {
            api: self.clone(),
            kind,
            selection,
            view,
            changes,
            initial,
            announce: options.initial_events,
            seen: from,
            told: from,
            bookmarks: options.bookmarks,
            columns_sent: false,
            end: Instant::now() + Duration::from_secs(seconds.min(86_400 * 365)),
            next_bookmark: Instant::now() + limits::BOOKMARK,
            stop,
            over: false,
        };
        Ok(stream::unfold(feed, Feed::step).boxed())
    }
}

/// One running watch.
struct Feed {
    api: Api,
    kind: &'static Kind,
    selection: Selection,
    view: View,
    changes: store::Watch,
    /// Objects still to be shown before changes.
    initial: VecDeque<Arc<Record>>,
    /// Whether the end of those is still to be announced.
    announce: bool,
    /// Everything up to here was looked at.
    seen: Revision,
    /// The client was told of everything up to here.
    told: Revision,
    bookmarks: bool,
    columns_sent: bool,
    end: Instant,
    next_bookmark: Instant,
    stop: Stop,
    over: bool,
}

enum Wake {
    Changes(Result<(Vec<Event>, Revision), store::ReadError>),
    Bookmark,
    End,
}

impl Feed {
    /// The next piece of the stream: as many lines as are ready.
    async fn step(mut self) -> Option<(std::io::Result<Bytes>, Self)> {
        loop {
            if self.over {
                return None;
            }
            let lines = self.lines().await;
            if !lines.is_empty() {
                return Some((Ok(lines.into()), self));
            }
        }
    }

    async fn lines(&mut self) -> String {
        let mut out = String::new();
        if !self.initial.is_empty() {
            let count = self.initial.len().min(limits::LIST_CHUNK);
            for record in self.initial.drain(..count).collect::<Vec<_>>() {
                self.line(&mut out, "ADDED", &record.body.bytes());
            }
            return out;
        }
        if self.announce {
            self.announce = false;
            self.bookmark(&mut out, true);
            return out;
        }
        match self.wake().await {
            Wake::Changes(Ok((events, seen))) => {
                for event in &events {
                    self.event(&mut out, event);
                }
                self.seen = seen;
            }
            Wake::Changes(Err(error)) => {
                self.over = true;
                push_line(&mut out, "ERROR", &read_failure(error).to_json().to_string());
            }
            Wake::Bookmark => {
                self.next_bookmark = Instant::now() + limits::BOOKMARK;
                if self.bookmarks {
                    self.bookmark(&mut out, false);
                }
            }
            Wake::End => {
                self.over = true;
                if self.bookmarks && self.seen > self.told {
                    self.bookmark(&mut out, false);
                }
            }
        }
        out
    }

    async fn wake(&mut self) -> Wake {
        let stop = &mut self.stop;
        let stopped = async {
            // A stop handle that is gone can no longer stop anything; the watch then ends by its time.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            changes = self.changes.next() => Wake::Changes(changes),
            () = tokio::time::sleep_until(self.next_bookmark) => Wake::Bookmark,
            () = tokio::time::sleep_until(self.end) => Wake::End,
            () = stopped => Wake::End,
        }
    }

    /// An object that enters the selection was added for this client, one that leaves it was deleted.
    fn event(&mut self, out: &mut String, event: &Event) {
        let before = event.old.as_ref().is_some_and(|old| self.selection.matches(old));
        let after = !event.deleted && self.selection.matches(&event.new);
        match (before, after) {
            (false, false) => return,
            (false, true) => self.line(out, "ADDED", &event.new.body.bytes()),
            (true, true) => self.line(out, "MODIFIED", &event.new.body.bytes()),
            (true, false) if event.deleted => self.line(out, "DELETED", &event.new.body.bytes()),
            (true, false) => {
                // The last state this client could see, under the revision that took it out of sight.
                let old = event.old.as_ref().map(|old| old.body.bytes()).unwrap_or_default();
                let mut last: Value = serde_json::from_slice(&old).unwrap_or_default();
                last["metadata"]["resourceVersion"] = event.revision.to_string().into();
                self.line(out, "DELETED", &last.to_string().into());
            }
        }
        self.told = event.revision;
    }

    fn line(&mut self, out: &mut String, what: &str, body: &Bytes) {
        if self.view.shape == Shape::Object {
            let renamed = self.view.events_v1.then(|| events_v1::text_from_core(body));
            push_line(out, what, &String::from_utf8_lossy(renamed.as_ref().unwrap_or(body)));
            return;
        }
        let object: Value = serde_json::from_slice(body).unwrap_or_default();
        let shown = match self.view.shape {
            Shape::Table => {
                let version = object["metadata"]["resourceVersion"].clone();
                let row = row(&self.api, self.kind, object, self.view.include);
                as_table(self.columns(), vec![row], json!({ "resourceVersion": version }))
            }
            _ => metadata(object),
        };
        push_line(out, what, &shown.to_string());
    }

    /// Columns are told once; later Tables of the same watch have none.
    fn columns(&mut self) -> Value {
        if std::mem::replace(&mut self.columns_sent, true) { Value::Null } else { definitions(self.kind) }
    }

    fn bookmark(&mut self, out: &mut String, initial_end: bool) {
        self.told = self.seen;
        let mut meta = json!({ "resourceVersion": self.seen.to_string(), "creationTimestamp": null });
        if initial_end {
            meta["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.view.shape {
            Shape::Table => as_table(self.columns(), Vec::new(), meta),
            Shape::Metadata => metadata(json!({ "metadata": meta })),
            Shape::Object => {
                let kind = if self.view.events_v1 { &kinds::EVENTS_EVENT } else { self.kind };
                json!({ "kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta })
            }
        };
        push_line(out, "BOOKMARK", &object.to_string());
    }
}

fn push_line(out: &mut String, what: &str, object: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{{\"type\":\"{what}\",\"object\":{object}}}");
}
