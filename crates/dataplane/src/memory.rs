//! A dataplane that holds its table in memory, as strict as the kernel: for tests and for `--dataplane=memory`.

use std::sync::{Arc, Mutex, MutexGuard};

use compile::nft::state::{Batch, State};

use crate::nft::encoded_len;
use crate::{Dataplane, Error, Result};

/// How much was written since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Batches committed.
    pub batches: u64,
    /// Elements added.
    pub added: u64,
    /// Elements deleted.
    pub deleted: u64,
    /// Bytes of both, as the kernel would have received them.
    pub bytes: u64,
    /// Identities whose flows were to be deleted.
    pub flushed: u64,
    /// Times that the rules were installed.
    pub installs: u64,
}

#[derive(Debug, Default)]
struct Table {
    state: Option<State>,
    written: Written,
}

/// The table; clones share it, so that a test keeps one and gives one away.
#[derive(Clone, Debug)]
pub struct Memory {
    table: Arc<Mutex<Table>>,
    batch_bytes_max: usize,
}

impl Default for Memory {
    fn default() -> Self {
        // What an unprivileged process gets on a stock host.
        Self::with_batch_bytes_max(2 * 212_992)
    }
}

impl Memory {
    /// A table that takes batches up to this size.
    pub fn with_batch_bytes_max(batch_bytes_max: usize) -> Self {
        Self { table: Arc::default(), batch_bytes_max }
    }

    /// What it holds.
    pub fn state(&self) -> Option<State> {
        self.lock().state.clone()
    }

    /// How much was written.
    pub fn written(&self) -> Written {
        self.lock().written
    }

    /// Changes the table behind the owner's back, as another program could.
    pub fn damage(&self, change: impl FnOnce(&mut Option<State>)) {
        change(&mut self.lock().state);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Dataplane for Memory {
    fn observe(&mut self) -> Result<Option<State>> {
        Ok(self.state())
    }

    fn install(&mut self) -> Result<()> {
        let mut table = self.lock();
        table.state = Some(State::new());
        table.written.installs += 1;
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        let bytes = batch.delete.iter().chain(&batch.add).map(encoded_len).sum();
        if bytes > self.batch_bytes_max {
            return Err(Error::TooLarge { bytes, max: self.batch_bytes_max });
        }
        let mut table = self.lock();
        let absent = || Error::Diverged("the table is gone".into());
        let done = change(table.state.as_mut().ok_or_else(absent)?, batch);
        if let Err((error, undo)) = done {
            undo_all(table.state.as_mut().ok_or_else(absent)?, undo);
            return Err(error);
        }
        let written = &mut table.written;
        written.batches += 1;
        written.added += batch.add.len() as u64;
        written.deleted += batch.delete.len() as u64;
        written.bytes += bytes as u64;
        written.flushed += batch.flush.iter().map(|flush| flush.left.len() as u64).sum::<u64>();
        Ok(())
    }

    fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }
}

use compile::nft::state::{Key, SetName, Value};

/// What a key held before: its value, or nothing.
type Undo = Vec<(SetName, Key, Option<Value>)>;

/// Applies a batch step by step; on failure hands back how to undo the steps that were made.
fn change(state: &mut State, batch: &Batch) -> std::result::Result<(), (Error, Undo)> {
    let mut undo = Undo::new();
    for element in &batch.delete {
        match state.get_mut(&element.set).and_then(|elements| elements.remove(&element.key)) {
            Some(value) => undo.push((element.set, element.key.clone(), Some(value))),
            None => return Err((Error::Diverged(format!("no such element in {:?}", element.set)), undo)),
        }
    }
    for element in &batch.add {
        let elements = state.entry(element.set).or_default();
        if elements.contains_key(&element.key) {
            return Err((Error::Diverged(format!("element exists in {:?}", element.set)), undo));
        }
        elements.insert(element.key.clone(), element.value.clone());
        undo.push((element.set, element.key.clone(), None));
    }
    // A set without elements and an absent set are the same; the kernel's view has no empty entries either.
    state.retain(|_, elements| !elements.is_empty());
    Ok(())
}

fn undo_all(state: &mut State, undo: Undo) {
    for (set, key, before) in undo.into_iter().rev() {
        let elements = state.entry(set).or_default();
        match before {
            Some(value) => _ = elements.insert(key, value),
            None => _ = elements.remove(&key),
        }
    }
    state.retain(|_, elements| !elements.is_empty());
}

#[cfg(test)]
mod tests {
    use compile::nft::state::Element;

    use super::*;

    fn element(key: u8, value: u8) -> Element {
        Element { set: SetName::SetCluster, key: vec![key; 4].into(), value: vec![value; 4].into() }
    }

    fn batch(delete: &[u8], add: &[(u8, u8)]) -> Batch {
        let delete = delete.iter().map(|key| Element { value: Box::default(), ..element(*key, 0) }).collect();
        Batch { delete, add: add.iter().map(|(key, value)| element(*key, *value)).collect(), flush: Vec::new() }
    }

    #[test]
    fn a_batch_is_applied_whole_or_not_at_all() {
        let mut memory = Memory::default();
        assert!(matches!(memory.apply(&batch(&[], &[(1, 1)])), Err(Error::Diverged(_))), "no table yet");
        memory.install().unwrap();
        memory.apply(&batch(&[], &[(1, 1), (2, 2)])).unwrap();
        let before = memory.state().unwrap();
        assert!(matches!(memory.apply(&batch(&[1], &[(3, 3), (2, 9)])), Err(Error::Diverged(_))));
        assert_eq!(memory.state().unwrap(), before, "the deletion and the first addition are undone");
        assert!(matches!(memory.apply(&batch(&[1, 1], &[])), Err(Error::Diverged(_))));
        assert_eq!(memory.state().unwrap(), before);
        memory.apply(&batch(&[1], &[(1, 7)])).unwrap();
        assert_eq!(memory.state().unwrap()[&SetName::SetCluster][&element(1, 0).key], element(1, 7).value);
        memory.apply(&batch(&[1, 2], &[])).unwrap();
        assert_eq!(memory.observe().unwrap(), Some(State::new()), "empty sets leave no trace");
        assert_eq!(memory.written().batches, 3);
    }

    #[test]
    fn a_batch_beyond_the_limit_changes_nothing() {
        let mut memory = Memory::with_batch_bytes_max(encoded_len(&element(1, 1)));
        memory.install().unwrap();
        memory.apply(&batch(&[], &[(1, 1)])).unwrap();
        assert!(matches!(memory.apply(&batch(&[], &[(2, 2), (3, 3)])), Err(Error::TooLarge { .. })));
        assert_eq!(memory.state().unwrap()[&SetName::SetCluster].len(), 1);
    }
}
