//! A repair of our table in, an Event about the Node out; not more often than somebody wants to read it.

use std::time::{Duration, Instant};

use api::kinds::NODE;
use api::object::ObjectKey;
use compile::snapshot::Snapshot;
use compile::write::{Note, Target};
use controller::Events;
use dataplane::keeper::Done;
use kernel::nl::nftables::monitor::Foreign;

/// At most one Event in this time; those left out are counted in the next one.
const BETWEEN: Duration = Duration::from_secs(10);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: Option<Instant>,
    left_out: usize,
}

impl Told {
    /// Tells it, or counts it.
    pub(super) fn tell(&mut self, text: &str, node: &str, snapshot: &Snapshot, events: Option<&Events>) {
        if self.last.is_some_and(|last| last.elapsed() < BETWEEN) {
            self.left_out += 1;
            return;
        }
        let more = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            more => format!(" {more} earlier repairs were not told."),
        };
        let key = ObjectKey::new("", node);
        let (Some(events), Some(known)) = (events, snapshot.nodes.get(&key)) else { return };
        self.last = Some(Instant::now());
        let about = Target { kind: &NODE, uid: known.meta.uid.clone(), key, revision: None };
        events.tell(Note { about, reason: "DataplaneRepaired", message: format!("{text}{more}"), warning: true });
    }
}

/// What happened, that it is mended, and what to do so that it does not happen again.
pub(super) fn text(foreign: &Foreign, done: &Done, took: Duration) -> String {
    let rules = if done.switched { "The rules and " } else { "" };
    format!(
        "{} changed table inet mainstay: {}. {rules}{} of elements were put back within {} ms. Let that program change \
         only tables of its own: `nft flush ruleset` deletes everybody's.",
        foreign.who(),
        foreign.what(),
        batches(done.batches),
        took.as_millis().max(1),
    )
}

fn batches(count: usize) -> String {
    if count == 1 { "1 batch".to_owned() } else { format!("{count} batches") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_who_did_what_and_what_was_put_back() {
        let what = [("deleted the table".to_owned(), 1)].into();
        let foreign = Foreign { by: Some((7, "nft".to_owned())), what, lost: false };
        let done = Done { batches: 2, switched: true, ..Done::default() };
        let text = text(&foreign, &done, Duration::from_millis(12));
        let expected =
            "nft (process 7) changed table inet mainstay: deleted the table. The rules and 2 batches of elements";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("within 12 ms"));
    }
}
