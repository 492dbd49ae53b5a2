//! A kind and a scope in, its objects one by one out: as a stream of events where the server has that (KEP-3157), else in
//! pages.

use std::sync::atomic::Ordering;

use api::kind::Kind;
use api::object::Revision;
use api::status::Status;
use bytes::Bytes;
use contract::access::{Object, Scope};
use http::Method;
use kube::client::Body;

use super::event::{self, Event};
use super::lines::Lines;
use super::{Inner, fault, path, request};
use crate::limits;

/// Hands every object on; the revision at which all were read.
pub(super) async fn each(
    inner: &Inner,
    kind: &'static Kind,
    scope: &Scope,
    take: &mut (dyn FnMut(&Object) + Send),
) -> Result<Revision, Status> {
    let mut take = |object: &Object| {
        inner.link.came();
        take(object);
    };
    let listed = whole(inner, kind, scope, &mut take).await;
    match &listed {
        Ok(_) => inner.link.listed(),
        Err(status) => inner.link.failed(&status.message),
    }
    listed
}

async fn whole(
    inner: &Inner,
    kind: &'static Kind,
    scope: &Scope,
    take: &mut (dyn FnMut(&Object) + Send),
) -> Result<Revision, Status> {
    if !inner.pages.load(Ordering::Relaxed) {
        match streamed(inner, kind, scope, take).await {
            // Before 1.27 the parameters are unknown, and later they may be switched off. Not one object has come.
            Err(status) if [400, 422].contains(&status.code) => {
                tracing::info!(%status, "the server does not stream lists: asking for pages");
                inner.pages.store(true, Ordering::Relaxed);
            }
            Err(status) if status.code == 404 && inner.is_optional(kind) => return Ok(Revision(0)),
            other => return other,
        }
    }
    match paged(inner, kind, scope, take).await {
        Err(status) if status.code == 404 && inner.is_optional(kind) => Ok(Revision(0)),
        other => other,
    }
}

async fn streamed(
    inner: &Inner,
    kind: &Kind,
    scope: &Scope,
    take: &mut (dyn FnMut(&Object) + Send),
) -> Result<Revision, Status> {
    let query = [
        ("watch", "true"),
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
    ];
    let response = inner.open(request(Method::GET, &path::of_scope(kind, scope, &query), Body::empty())?).await?;
    let mut lines = Lines::new(response.into_body());
    while let Some(line) = lines.next().await? {
        match event::event(&line).map_err(|why| fault::nonsense(&why))? {
            Event::Put(object) => take(&object),
            Event::Bookmark(revision, true) => return Ok(revision),
            Event::Bookmark(_, false) => {}
            // Sent only for what the list itself held, should the server merge a change into it: the watch that follows
            // begins at the end of the list and would not tell.
            Event::Delete(object) => {
                return Err(fault::nonsense(&format!("{} was deleted within a list", object.key)));
            }
            Event::Error(status) => return Err(fault::of_json(&status, 500)),
        }
    }
    Err(fault::nonsense("a list ended before its end was told"))
}

async fn paged(
    inner: &Inner,
    kind: &Kind,
    scope: &Scope,
    take: &mut (dyn FnMut(&Object) + Send),
) -> Result<Revision, Status> {
    let limit = limits::PAGE.to_string();
    let mut next = String::new();
    loop {
        let path = path::of_scope(kind, scope, &[("limit", &limit), ("continue", &next)]);
        let json: Bytes = inner.ask(request(Method::GET, &path, Body::empty())?).await?;
        let page = event::page(&json, take).map_err(|why| fault::nonsense(&why))?;
        if page.next.is_empty() {
            return Ok(page.revision);
        }
        next = page.next;
    }
}
