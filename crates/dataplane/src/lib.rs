//! Makes the kernel equal to the compiled Services: observe what it holds, install the fixed rules, apply batches.

mod error;
pub mod faulty;
pub mod keeper;
pub mod memory;
pub mod nft;

use compile::nft::state::{Batch, State};

pub use error::{Error, Result};

/// Something that holds compiled Services.
pub trait Dataplane: Send {
    /// What it holds: None if our table is absent or made by other rules; otherwise every data element.
    fn observe(&mut self) -> Result<Option<State>>;

    /// Replaces the whole table by the fixed rules, empty of data, in one transaction.
    fn install(&mut self) -> Result<()>;

    /// Makes room for the fixed rules beside what is there, and hands back the data that stays: afterwards batches fill what
    /// the rules will read, and [`Dataplane::switch`] puts the rules in place. Where rules hold already, packets go their
    /// way by those until then.
    fn prepare(&mut self) -> Result<State> {
        self.install()?;
        Ok(State::new())
    }

    /// The fixed rules take over from whatever is there, in one transaction; then what only the old ones read goes.
    fn switch(&mut self) -> Result<()> {
        Ok(())
    }

    /// Commits one batch, all or nothing; returns after the kernel's acknowledgement and after deleting the UDP flows
    /// that the batch names. After any error the caller observes again.
    fn apply(&mut self, batch: &Batch) -> Result<()>;

    /// How many bytes of elements (as [`nft::encoded_len`] counts them) one batch can carry.
    fn batch_bytes_max(&self) -> usize;
}

impl<D: Dataplane + ?Sized> Dataplane for Box<D> {
    fn observe(&mut self) -> Result<Option<State>> {
        (**self).observe()
    }

    fn install(&mut self) -> Result<()> {
        (**self).install()
    }

    fn prepare(&mut self) -> Result<State> {
        (**self).prepare()
    }

    fn switch(&mut self) -> Result<()> {
        (**self).switch()
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        (**self).apply(batch)
    }

    fn batch_bytes_max(&self) -> usize {
        (**self).batch_bytes_max()
    }
}

/// Limits of this crate, named in one place.
pub mod limits {
    /// Largest batch: measured, ten of 1 MiB load faster than one of 10 MiB (hash tables grow between them), and none
    /// holds the kernel's commit lock for more than 0.1 s.
    pub const BATCH_BYTES: usize = 1 << 20;
    /// Identities whose flows are still to be deleted after a failed attempt; beyond it, every flow of ours goes.
    pub const FLUSHES_PENDING: usize = 4096;
}
