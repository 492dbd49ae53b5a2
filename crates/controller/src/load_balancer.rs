//! Turns snapshots and the applied revision into load-balancer addresses: the desk decides, this writes.

use api::object::Revision;
use compile::load_balancer::{Decision, Desk, Pools};
use contract::applied::Applied;
use futures::StreamExt;

use crate::feed::Feed;
use crate::limits;
use crate::work::Outcome;
use crate::writer::Writer;

/// Runs until the feed ends.
pub(crate) async fn run(feed: Feed, writer: Writer, applied: Applied, pools: Pools) {
    let mut subscription = feed.subscribe();
    let mut progress = applied.subscribe();
    let mut desk = Desk::new(pools);
    let (mut seen, mut written) = (Revision(0), Revision(0));
    let mut failures = 0_u32;
    loop {
        let pause = limits::RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(limits::RETRY_MOST);
        tokio::select! {
            next = subscription.next() => {
                let Some((snapshot, changes)) = next else { return };
                seen = snapshot.revision;
                desk.observe(&snapshot, &changes);
            }
            _ = progress.changed(), if desk.waits() => {}
            () = tokio::time::sleep(pause), if failures > 0 => {}
        }
        let reached = *progress.borrow_and_update();
        // Decisions are made on a world that contains the last ones.
        if seen < written {
            continue;
        }
        let (revision, failed) = carry_out(&mut desk, &writer, reached).await;
        written = written.max(revision);
        failures = if failed { failures + 1 } else { 0 };
    }
}

/// Makes the writes of one round; the last revision they got, and whether some failed.
async fn carry_out(desk: &mut Desk, writer: &Writer, applied: Revision) -> (Revision, bool) {
    let writes = futures::stream::iter(desk.decide(applied)).map(|(key, writes): Decision| async move {
        let written = writer.in_order(writes).await;
        (key, written)
    });
    let mut writes = writes.buffer_unordered(limits::WRITES_AT_ONCE);
    let (mut revision, mut failed) = (Revision(0), false);
    while let Some((key, written)) = writes.next().await {
        revision = revision.max(written.revision);
        let gone = written.failure.as_ref().is_some_and(|status| status.code == 404);
        if !gone && written.outcome(&key) == Outcome::Retry {
            failed = true;
            desk.again(key);
        }
    }
    (revision, failed)
}
