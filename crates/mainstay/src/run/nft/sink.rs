//! One revision in, the kernel follows or says why not; damage by others is repaired on the way, and told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::service_table::Config;
use compile::snapshot::{Changes, Snapshot};
use controller::{Sink, SinkError};
use dataplane::Dataplane;
use dataplane::keeper::{Done, Keeper};

use super::told::{self, Told};
use super::watch::{Damage, Watch};
use super::{Shared, Synced};

/// A batch that fails because of damage is often earlier than the notice: what the next call puts back belongs to damage
/// that is heard within this time.
const BELATED: Duration = Duration::from_secs(5);

/// The sink that [`controller::drive`] drives.
pub(super) struct NftSink {
    node: String,
    keeper: Keeper,
    shared: Shared,
    watch: Watch,
    told: Told,
    failed: bool,
    /// When a call put things in order after one that failed, and what it did.
    recovered: Option<(Instant, Done)>,
}

impl NftSink {
    pub(super) fn new(config: Config, plane: Box<dyn Dataplane>, shared: Shared, watch: Watch) -> Self {
        let (node, keeper) = (config.node.to_string(), Keeper::new(config, plane));
        Self { node, keeper, shared, watch, told: Told::default(), failed: false, recovered: None }
    }

    fn program(&mut self, snapshot: &Snapshot, changes: &Changes) -> dataplane::Result<Done> {
        self.keeper.set_node_port_addresses(self.shared.node_ports.borrow_and_update().clone());
        let damage = self.watch.take();
        if damage.is_some() {
            self.keeper.doubt();
        }
        let done = match self.keeper.program(snapshot, changes) {
            Ok(done) => done,
            Err(error) => {
                self.failed = true;
                damage.into_iter().for_each(|damage| self.watch.put(damage));
                return Err(error);
            }
        };
        if std::mem::take(&mut self.failed) {
            self.recovered = Some((Instant::now(), done));
        }
        if let Some(damage) = damage {
            self.repaired(&damage, done, snapshot);
        }
        let texts = || self.keeper.problems().map(|problem| format!("{}: {}", problem.service, problem.why)).collect();
        let problems = (done.keys_compiled > 0).then(texts);
        self.shared.report.programmed(snapshot.revision, &done, problems);
        Ok(done)
    }

    /// Tells of damage, if there was any: somebody may also have put back himself what he took.
    fn repaired(&mut self, damage: &Damage, done: Done, snapshot: &Snapshot) {
        let wrote = |done: &Done| done.switched || done.batches > 0;
        let earlier = self.recovered.take().filter(|(when, _)| when.elapsed() < BELATED).map(|(_, done)| done);
        let Some(done) = [Some(done), earlier].into_iter().flatten().find(wrote) else {
            tracing::info!("table inet mainstay: {}; nothing was missing", damage.foreign);
            return;
        };
        let text = told::text(&damage.foreign, &done, damage.heard.elapsed());
        tracing::warn!("{text}");
        self.shared.report.repaired();
        self.told.tell(&text, &self.node, snapshot, self.shared.events.as_ref());
    }
}

impl Sink for NftSink {
    fn apply(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes) -> Result<(), SinkError> {
        let delay = self.shared.faults.apply_delay();
        if !delay.is_zero() && !changes.is_empty() {
            std::thread::sleep(delay);
        }
        let began = Instant::now();
        let result = match self.shared.faults.fail_applies() {
            true => {
                self.keeper.doubt();
                Err("failing on request (--faults)".to_owned())
            }
            false => self.program(snapshot, changes).map_err(|error| error.to_string()),
        };
        let (number, took) = (snapshot.number, began.elapsed());
        let outcome = result.as_ref().map_err(String::as_str);
        self.shared.report.synced(&Synced { number, took, outcome });
        result.map(|_| ()).map_err(|why| {
            self.shared.report.failed(&why);
            SinkError(why)
        })
    }
}
