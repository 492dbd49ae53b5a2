//! A dataplane that fails or dawdles on request, around any other: what drivers and demos are tested with.

use std::time::Duration;

use compile::nft::state::{Batch, State};

use crate::{Dataplane, Error, Result};

/// What goes wrong in [`Dataplane::apply`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many of a hundred calls fail.
    pub percent: u32,
    /// Every call takes this much longer.
    pub delay: Duration,
    /// Selects which calls fail: the same seed gives the same failures.
    pub seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Faulty<D> {
    inner: D,
    faults: Faults,
    state: u64,
}

impl<D> Faulty<D> {
    /// Wraps a dataplane.
    pub fn new(inner: D, faults: Faults) -> Self {
        Self { inner, faults, state: faults.seed | 1 }
    }

    /// The dataplane inside.
    pub fn inner(&mut self) -> &mut D {
        &mut self.inner
    }

    /// xorshift64*: reproducible, and good enough to scatter failures.
    fn random(&mut self) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

impl<D: Dataplane> Dataplane for Faulty<D> {
    fn observe(&mut self) -> Result<Option<State>> {
        self.inner.observe()
    }

    fn install(&mut self) -> Result<()> {
        self.inner.install()
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        if !self.faults.delay.is_zero() {
            std::thread::sleep(self.faults.delay);
        }
        let draw = self.random();
        if draw % 100 < self.faults.percent {
            // Half of the failures lose the answer instead of the request: the caller cannot know which it was.
            if draw & 0x8000_0000 != 0 {
                self.inner.apply(batch)?;
                return Err(Error::Injected("the answer was lost"));
            }
            return Err(Error::Injected("nothing was applied"));
        }
        self.inner.apply(batch)
    }

    fn batch_bytes_max(&self) -> usize {
        self.inner.batch_bytes_max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn failures_come_at_the_asked_rate_and_some_of_them_applied_the_batch() {
        let memory = Memory::default();
        let mut faulty = Faulty::new(memory.clone(), Faults { percent: 30, seed: 7, ..Faults::default() });
        faulty.install().unwrap();
        let failed = (0..1000).filter(|_| faulty.apply(&Batch::default()).is_err()).count();
        assert!((200..400).contains(&failed), "{failed}");
        let applied = memory.written().batches as usize;
        assert!(applied > 1000 - failed && applied < 1000, "{applied} applied, {failed} failed");
        let mut never = Faulty::new(memory, Faults::default());
        assert!((0..100).all(|_| never.apply(&Batch::default()).is_ok()));
    }
}
