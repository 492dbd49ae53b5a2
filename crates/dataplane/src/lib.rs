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

    /// Whether somebody else may have changed something unheard since this was asked or observed last.
    fn disturbed(&mut self) -> bool {
        false
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

    fn disturbed(&mut self) -> bool {
        (**self).disturbed()
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
    /// From this many elements in a batch our monitor leaves the kernel's group around it.
    pub const ELEMENTS_HEARD: usize = 64;
    /// How often one call looks at everything again because others change things all the time.
    pub const LOOKS: usize = 3;
    /// Changes whose flows are still to be deleted after a failed attempt; beyond it, every UDP flow of ours goes.
    pub const FLUSHES_PENDING: usize = 4096;
    /// UDP flows that are followed one by one, at 20 to 60 bytes each; with more, the table is walked instead.
    pub const FLOWS_INDEXED: usize = 1 << 20;
    /// Pause between looks at the log of new flows: one look for many flows costs little more than for one.
    pub const FLOWS_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
    /// How long after a packet was in our rules its flow is still waited for.
    pub const FLOW_CONFIRMED: std::time::Duration = std::time::Duration::from_secs(1);
    /// New frontends whose flows are asked of the kernel one frontend at a time; with more, all are in one answer.
    pub const FLOW_SELECTS: usize = 8;
}
