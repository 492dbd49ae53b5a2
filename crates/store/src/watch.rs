//! A watch: turns the shared ring of changes into one reader's stream, at the reader's pace.

use api::object::Revision;
use tokio::sync::watch;

use crate::{Event, ReadError, Store};

/// A running watch over some tables. It owns a position and nothing else: no queue fills up when it is slow, and no
/// writer waits for it. It keeps the store open.
pub struct Watch {
    store: Store,
    tables: Vec<&'static str>,
    /// Everything up to here has been handed out.
    seen: Revision,
    /// Level-triggered: carries the published revision, so any number of commits is one wake-up.
    published: watch::Receiver<Revision>,
}

impl Watch {
    pub(crate) fn new(store: Store, tables: Vec<&'static str>, seen: Revision) -> Self {
        let published = store.subscribe();
        Self { store, tables, seen, published }
    }

    /// The next changes, in revision order, with the revision up to which everything (of any table) has been seen:
    /// waits until the store has moved on, and may return no events when only other tables changed. An error when the
    /// watcher fell behind what is kept.
    ///
    /// Dropping the future loses nothing: the position moves only when changes are returned. After the log failed the
    /// store stands still, and so does this.
    pub async fn next(&mut self) -> Result<(Vec<Event>, Revision), ReadError> {
        let seen = self.seen;
        if self.published.wait_for(|published| *published > seen).await.is_err() {
            std::future::pending::<()>().await;
        }
        let (events, seen) = self.store.changes(&self.tables, self.seen)?;
        self.seen = seen;
        Ok((events, seen))
    }
}
