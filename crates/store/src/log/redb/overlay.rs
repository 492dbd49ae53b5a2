//! A file that is only looked at: reads come from below, writes stay in memory and are gone with it.
//!
//! The engine repairs what it opens. A check must not: it opens the file through this.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const BLOCK: u64 = 4096;

/// Reads fall through to `below`; what is written hides it.
#[derive(Debug)]
pub(super) struct Overlay<B> {
    below: B,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    length: u64,
    /// Bytes of `below` after this are hidden: the file was shorter once.
    visible: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub(super) fn new(below: B) -> io::Result<Self> {
        let length = below.len()?;
        Ok(Self { below, state: Mutex::new(State { length, visible: length, blocks: BTreeMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is seen now.
    fn block(&self, state: &State, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = state.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let start = number * BLOCK;
        let there = state.visible.saturating_sub(start).min(BLOCK) as usize;
        if there > 0 {
            self.below.read(start, &mut block[..there])?;
        }
        Ok(block)
    }
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if offset + out.len() as u64 > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let count = rest.len().min(BLOCK as usize - within);
            let block = self.block(&state, at / BLOCK)?;
            rest[..count].copy_from_slice(&block[within..within + count]);
            rest = &mut rest[count..];
            at += count as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.length = len;
        if len < state.visible {
            state.visible = len;
        }
        state.blocks.retain(|number, _| number * BLOCK < len);
        if let Some(last) = state.blocks.get_mut(&(len / BLOCK)) {
            last[(len % BLOCK) as usize..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (at % BLOCK) as usize;
            let count = rest.len().min(BLOCK as usize - within);
            let mut block = self.block(&state, at / BLOCK)?;
            block[within..within + count].copy_from_slice(&rest[..count]);
            state.blocks.insert(at / BLOCK, block);
            rest = &rest[count..];
            at += count as u64;
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::faulty::{Disk, Random};

    #[test]
    fn it_behaves_as_the_file_and_leaves_it_alone() {
        let mut random = Random::new(3);
        let below = Disk::new(1).backend();
        below.write(0, &(0..10_000).map(|n| n as u8).collect::<Vec<_>>()).unwrap();
        let mut before = vec![0; 10_000];
        below.read(0, &mut before).unwrap();
        let mut model = before.clone();
        let overlay = Overlay::new(below).unwrap();
        for _ in 0..300 {
            if random.below(4) == 0 {
                let length = random.below(20_000);
                model.resize(length, 0);
                overlay.set_len(length as u64).unwrap();
            } else {
                let (offset, data) = (random.below(15_000), vec![random.below(256) as u8; random.below(9000)]);
                if model.len() < offset + data.len() && !data.is_empty() {
                    model.resize(offset + data.len(), 0);
                }
                if !data.is_empty() {
                    model[offset..offset + data.len()].copy_from_slice(&data);
                }
                overlay.write(offset as u64, &data).unwrap();
            }
            let mut seen = vec![0; model.len()];
            overlay.read(0, &mut seen).unwrap();
            assert!(seen == model, "read differs");
        }
        let mut after = vec![0; 10_000];
        overlay.below.read(0, &mut after).unwrap();
        assert_eq!(before, after);
        assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
    }
}
