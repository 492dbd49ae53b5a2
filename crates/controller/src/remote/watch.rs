//! Kinds and a revision in, one stream of their changes out: a watch per kind, taken up again where it ended.
//!
//! A watch that the server ends in order, or that is cut, goes on from the last revision it brought. When that fails for
//! `limits::RESUME` the stream ends with the error, and whoever follows lists again and sweeps what is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::kind::Kind;
use api::object::Revision;
use api::status::Status;
use contract::access::{Scope, WatchStep};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use http::Method;
use kube::client::Body;

use super::event::{self, Event};
use super::lines::Lines;
use super::{Inner, fault, path, request};
use crate::limits;

type Step = Result<WatchStep, Status>;

/// The watch of one kind.
struct Watch {
    inner: Arc<Inner>,
    kind: &'static Kind,
    revision: Revision,
    lines: Option<Lines>,
    /// Since when it cannot be taken up again.
    trouble: Option<Instant>,
    pause: std::time::Duration,
    over: bool,
}

/// Whoever stops reading does not follow any more.
impl Drop for Watch {
    fn drop(&mut self) {
        self.inner.link.lose(self.kind.plural, None);
    }
}

/// Starts a watch of each kind. What each of them refuses at once is refused.
pub(super) async fn merged(
    inner: Arc<Inner>,
    kinds: &[&'static Kind],
    from: Revision,
) -> Result<BoxStream<'static, Step>, Status> {
    let mut all = SelectAll::new();
    let mut reached = BTreeMap::new();
    for kind in kinds {
        let (pause, inner) = (limits::RETRY_FIRST, inner.clone());
        let mut watch = Watch { inner, kind, revision: from, lines: None, trouble: None, pause, over: false };
        match watch.connect().await {
            Ok(lines) => watch.lines = Some(lines),
            Err(status) if status.code == 404 && watch.inner.is_optional(kind) => {
                // Nothing will come. Whether the server has the kind by now is asked with the next list.
                watch.inner.link.follows(kind.plural);
                watch.over = true;
            }
            Err(status) => {
                watch.inner.link.failed(&status.message);
                return Err(status);
            }
        }
        if !watch.over {
            reached.insert(kind.plural, from);
        }
        all.push(steps(watch).boxed());
    }
    Ok(ordered(all, reached).boxed())
}

/// The steps of one kind, with its plural on progress.
fn steps(watch: Watch) -> impl futures::Stream<Item = (&'static str, Step)> {
    futures::stream::unfold(watch, |mut watch| async move {
        if watch.over {
            // Kept, and with it the word that the kind is followed.
            return std::future::pending().await;
        }
        let step = watch.next().await;
        watch.over = step.is_err();
        Some(((watch.kind.plural, step), watch))
    })
}

/// Progress of one kind is progress of all only as far as the others have come.
fn ordered(
    all: SelectAll<BoxStream<'static, (&'static str, Step)>>,
    reached: BTreeMap<&'static str, Revision>,
) -> impl futures::Stream<Item = Step> {
    all.scan(reached, |reached, (plural, step)| {
        let revision = match &step {
            Ok(WatchStep::Put(_, object) | WatchStep::Delete(_, object)) => Some(object.revision),
            Ok(WatchStep::Progress(revision)) => Some(*revision),
            Err(_) => None,
        };
        if let (Some(revision), Some(known)) = (revision, reached.get_mut(plural)) {
            *known = revision.max(*known);
        }
        let least = reached.values().min().copied().unwrap_or_default();
        futures::future::ready(Some(match step {
            Ok(WatchStep::Progress(_)) => Ok(WatchStep::Progress(least)),
            other => other,
        }))
    })
}

impl Watch {
    async fn connect(&mut self) -> Result<Lines, Status> {
        let scope = self.inner.scope(self.kind, &Scope::default());
        // The server ends a watch after this time; different ones keep many nodes from coming back at once.
        let seconds = (limits::WATCH_SECONDS + spread(limits::WATCH_SECONDS)).to_string();
        let from = self.revision.to_string();
        let query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", &*from),
            ("timeoutSeconds", &seconds),
        ];
        let path = path::of_scope(self.kind, &scope, &query);
        let response = self.inner.open(request(Method::GET, &path, Body::empty())?).await?;
        self.inner.link.follows(self.kind.plural);
        Ok(Lines::new(response.into_body()))
    }

    /// The next step; after an error there is none.
    async fn next(&mut self) -> Step {
        loop {
            let Some(lines) = &mut self.lines else {
                self.resume().await?;
                continue;
            };
            match lines.next().await {
                Ok(Some(line)) => match self.read(&line)? {
                    Some(step) => return Ok(step),
                    None => continue,
                },
                Ok(None) => self.lines = None,
                Err(status) => {
                    self.inner.link.lose(self.kind.plural, Some(&status.message));
                    self.lines = None;
                }
            }
        }
    }

    fn read(&mut self, line: &bytes::Bytes) -> Result<Option<WatchStep>, Status> {
        (self.trouble, self.pause) = (None, limits::RETRY_FIRST);
        let plural = self.kind.plural;
        let step = match event::event(line).map_err(|why| fault::nonsense(&why))? {
            Event::Put(object) => {
                self.inner.link.came();
                self.revision = self.revision.max(object.revision);
                WatchStep::Put(plural, Arc::new(object))
            }
            Event::Delete(object) => {
                self.inner.link.came();
                self.revision = self.revision.max(object.revision);
                WatchStep::Delete(plural, Arc::new(object))
            }
            Event::Bookmark(revision, _) => {
                self.revision = self.revision.max(revision);
                WatchStep::Progress(self.revision)
            }
            Event::Error(status) => return Err(fault::of_json(&status, 500)),
        };
        Ok(Some(step))
    }

    /// One attempt to go on where the watch ended. The error of the last attempt, when all of them have failed.
    async fn resume(&mut self) -> Result<(), Status> {
        let since = *self.trouble.get_or_insert_with(Instant::now);
        match self.connect().await {
            Ok(lines) => {
                self.inner.link.resumed();
                self.lines = Some(lines);
            }
            // Too old, not allowed any more, or too late: the whole list is needed.
            Err(status) if status.code < 500 && status.code != 429 => return Err(status),
            Err(status) if since.elapsed() > limits::RESUME => return Err(status),
            Err(status) => {
                tracing::debug!(kind = self.kind.plural, %status, "a watch cannot go on yet: trying again");
                self.inner.link.lose(self.kind.plural, Some(&status.message));
            }
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(limits::RESUME_PAUSE);
        Ok(())
    }
}

/// A number below `most`, another one each time.
fn spread(most: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(()) % most.max(1)
}
