//! Snapshots in, a dataplane that holds what they say out: who programs, and what to look at again after an error.

mod load;

use std::net::IpAddr;
use std::time::Duration;

use compile::nft::Programmer;
use compile::nft::account::Directory;
use compile::service_table::{Config, Problem};
use compile::snapshot::{Changes, Snapshot};

use crate::nft::encoded_len;
use crate::{Dataplane, Result};

/// What one call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Batches committed.
    pub batches: usize,
    /// Bytes of elements in them.
    pub bytes: usize,
    /// Services compiled.
    pub keys_compiled: usize,
    /// The rules were put in place anew.
    pub switched: bool,
}

/// Keeps one dataplane in step with snapshots.
pub struct Keeper {
    config: Config,
    programmer: Programmer,
    plane: Box<dyn Dataplane>,
    /// Whether the programmer knows what the dataplane holds.
    known: bool,
}

impl Keeper {
    /// A keeper that knows nothing yet: its first call observes.
    pub fn new(config: Config, plane: Box<dyn Dataplane>) -> Self {
        Self { programmer: Programmer::new(config.clone()), config, plane, known: false }
    }

    /// Other addresses serve node ports: everything is compiled again at the next call, and what differs is written.
    pub fn set_node_port_addresses(&mut self, addresses: Vec<IpAddr>) {
        if addresses != self.config.node_port_addresses {
            self.config.node_port_addresses = addresses;
            self.programmer = Programmer::new(self.config.clone());
            self.known = false;
        }
    }

    /// What the dataplane holds may not be what was written: the next call looks at all of it and repairs what differs.
    pub fn doubt(&mut self) {
        self.known = false;
    }

    /// What is not programmed, and why, in order of Services.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.programmer.problems()
    }

    /// Tells the time since any fixed moment; slow starts go by it.
    pub fn set_now(&mut self, now: Duration) {
        self.programmer.set_now(now);
    }

    /// When there is something to do although nothing changed, since the same moment: then the last snapshot is to be
    /// programmed again, without changes.
    pub fn next_step(&self) -> Option<Duration> {
        self.programmer.next_step()
    }

    /// Which Service port each number in the dataplane's words stands for.
    pub fn directory(&self) -> Directory {
        self.programmer.directory()
    }

    /// The dataplane.
    pub fn plane(&mut self) -> &mut dyn Dataplane {
        &mut *self.plane
    }

    /// Makes `snapshot` so. `changes` names at least the keys that differ from the last call that succeeded. After an
    /// error the next call observes first.
    pub fn program(&mut self, snapshot: &Snapshot, changes: &Changes) -> Result<Done> {
        let done = self.try_program(snapshot, changes);
        self.known = done.is_ok();
        done
    }

    fn try_program(&mut self, snapshot: &Snapshot, changes: &Changes) -> Result<Done> {
        let (mut switched, mut empty) = (false, false);
        if !self.known {
            let state = match self.plane.observe()? {
                Some(state) => state,
                None => {
                    switched = true;
                    self.plane.prepare()?
                }
            };
            empty = switched && state.is_empty();
            self.programmer.adopt(state);
        }
        let loaded = if empty { load::load(&mut self.programmer, &mut *self.plane, snapshot)? } else { None };
        let done = match loaded {
            Some(loaded) => loaded,
            None => self.plan_and_apply(snapshot, changes)?,
        };
        if switched {
            self.plane.switch()?;
        }
        let load::Loaded { batches, bytes, keys_compiled } = done;
        Ok(Done { batches, bytes, keys_compiled, switched })
    }

    fn plan_and_apply(&mut self, snapshot: &Snapshot, changes: &Changes) -> Result<load::Loaded> {
        let plan = self.programmer.plan(snapshot, changes, self.plane.batch_bytes_max(), &encoded_len);
        for batch in &plan.batches {
            self.plane.apply(batch)?;
        }
        Ok(load::Loaded { batches: plan.batches.len(), bytes: plan.bytes, keys_compiled: plan.keys_compiled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn what_others_took_is_put_back_and_nothing_else_is_written() {
        let (snapshot, changes, config) = (load::tests::snapshot(3), Changes::default(), load::tests::config());
        let memory = Memory::default();
        let mut keeper = Keeper::new(config, Box::new(memory.clone()));
        assert!(keeper.program(&snapshot, &changes).unwrap().switched);
        let (whole, before) = (memory.state(), memory.written());
        keeper.doubt();
        assert_eq!(keeper.program(&snapshot, &changes).unwrap().batches, 0);
        memory.damage(|state| {
            let set = state.as_mut().unwrap().get_mut(&compile::nft::state::SetName::Ep4).unwrap();
            set.pop_first().unwrap();
        });
        keeper.doubt();
        let done = keeper.program(&snapshot, &changes).unwrap();
        assert_eq!((done.batches, done.switched), (1, false));
        assert_eq!(memory.state(), whole);
        assert_eq!(memory.written().added, before.added + 1, "only what was missing");
        memory.damage(|state| *state = None);
        assert!(keeper.program(&snapshot, &changes).is_ok(), "nothing to write, nothing noticed");
        keeper.doubt();
        assert!(keeper.program(&snapshot, &changes).unwrap().switched);
        assert_eq!(memory.state(), whole);
    }
}
