//! One revision in, the kernel follows or says why not; damage by others is repaired on the way.

use std::sync::Arc;
use std::time::Instant;

use compile::snapshot::{Changes, Snapshot};
use controller::{Sink, SinkError};
use dataplane::keeper::Keeper;

use super::Shared;

/// The sink that [`controller::drive`] drives.
pub(super) struct NftSink {
    keeper: Keeper,
    shared: Shared,
    /// The moment that times count from.
    began: Instant,
}

impl NftSink {
    pub(super) fn new(keeper: Keeper, shared: Shared) -> Self {
        Self { keeper, shared, began: Instant::now() }
    }

    fn program(&mut self, snapshot: &Snapshot, changes: &Changes) -> dataplane::Result<()> {
        let report = self.shared.report.clone();
        self.keeper.set_node_port_addresses(self.shared.node_ports.borrow_and_update().clone());
        let lost = report.take_lost();
        if lost {
            self.keeper.doubt();
        }
        self.keeper.set_now(self.began.elapsed());
        let done = self.keeper.program(snapshot, changes).inspect_err(|_| {
            if lost {
                report.lose()
            }
        })?;
        let texts = || self.keeper.problems().map(|problem| format!("{}: {}", problem.service, problem.why)).collect();
        let problems = (done.keys_compiled > 0).then(texts);
        report.programmed(snapshot.revision, &done, problems);
        Ok(())
    }
}

impl Sink for NftSink {
    fn wants_again(&self) -> Option<Instant> {
        Some(self.began + self.keeper.next_step()?)
    }

    fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
        let delay = self.shared.faults.apply_delay();
        if !delay.is_zero() && !changes.is_empty() {
            std::thread::sleep(delay);
        }
        let result = match self.shared.faults.fail_applies() {
            true => {
                self.keeper.doubt();
                Err("failing on request (--faults)".to_owned())
            }
            false => self.program(snapshot, changes).map_err(|error| error.to_string()),
        };
        result.map_err(|why| {
            self.shared.report.failed(&why);
            SinkError(why)
        })
    }
}
