//! A node on which kube-proxy has worked in, one without its rules out; nothing else is touched, and no connection notices.
//!
//! kube-proxy leaves its rules behind when it ends. Ours stand beside them: a new connection is translated by whichever nat
//! chain sees it first and never twice, and one that is translated already is looked up by nobody (conntrack has it). So the
//! order is: ours are complete; kube-proxy has ended (its ports are ours now); then its rules go, in one transaction.

mod iptables;

use anyhow::{Context, Result};
use compile::write::{Note, Target};
use contract::applied::Applied;
use controller::Events;
use kernel::nl::batch::Batch;
use kernel::nl::rulesets::{self, IP, IP6, Table};
use kernel::nl::{Protocol, Socket, nftables};

use super::http::Bound;

/// Name of the tables of kube-proxy's nftables mode, one per family.
const KUBE_PROXY: &str = "kube-proxy";

/// Waits for its moment, then removes kube-proxy's rules, if that was asked for; else says that they are there.
pub(super) async fn run(asked: bool, mut bound: Bound, applied: Applied, node: Target, events: Events) {
    let mut confirmed = applied.subscribe();
    // The sender lives in the sink.
    let _ = confirmed.wait_for(|revision| revision.0 > 0).await;
    if !asked {
        let found = tokio::task::spawn_blocking(find).await.ok().and_then(Result::ok).unwrap_or_default();
        if !found.is_empty() {
            let found = found.join(", ");
            tracing::warn!(
                found,
                "kube-proxy's rules are there, and go stale when it is not: end it, then start with --take-over"
            );
        }
        return;
    }
    bound.all().await;
    let removed = tokio::task::spawn_blocking(remove).await;
    let (reason, message, warning) = match removed.map_err(anyhow::Error::from).and_then(|removed| removed) {
        Ok(removed) if removed.is_empty() => return,
        Ok(removed) => ("TookOver", format!("removed the rules of kube-proxy: {}", removed.join(", ")), false),
        Err(error) => ("TakeOverFailed", format!("the rules of kube-proxy could not all be removed: {error:#}"), true),
    };
    tracing::info!(message, "take-over");
    events.tell(Note { about: node, reason, message, warning });
}

/// What of kube-proxy is there, in words.
fn find() -> Result<Vec<String>> {
    let mut found: Vec<String> = tables()?.iter().map(name).collect();
    found.extend(iptables::find());
    Ok(found)
}

fn tables() -> Result<Vec<Table>> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let all = rulesets::tables(&mut socket)?;
    Ok(all.into_iter().filter(|table| table.name == KUBE_PROXY && [IP, IP6].contains(&table.family)).collect())
}

fn name(table: &Table) -> String {
    format!("table {} {}", if table.family == IP { "ip" } else { "ip6" }, table.name)
}

/// Removes what is kube-proxy's; what was removed, in words.
pub(crate) fn remove() -> Result<Vec<String>> {
    let tables = tables().context("cannot look for kube-proxy's tables")?;
    let mut batch = Batch::new();
    for table in &tables {
        nftables::delete_foreign_table(&mut batch, table.family, &table.name);
    }
    let mut socket = Socket::open(Protocol::Netfilter)?;
    batch.commit(&mut socket, "delete the tables of kube-proxy").context("cannot remove kube-proxy's tables")?;
    let mut removed: Vec<String> = tables.iter().map(name).collect();
    removed.extend(iptables::remove()?);
    Ok(removed)
}

/// Removes our own table; whether there was one.
pub(crate) fn clean_up() -> Result<bool> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    if nftables::table_note(&mut socket, compile::nft::rules::TABLE)?.is_none() {
        return Ok(false);
    }
    dataplane::nft::Nft::open()?.remove()?;
    Ok(true)
}
