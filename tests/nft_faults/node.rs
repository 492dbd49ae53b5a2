//! A node in namespaces whose table is kept by the real kernel, and what is asked of it.

use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use compile::nft::state::State;
use compile::snapshot::{Changes, Snapshot};
use dataplane::keeper::Keeper;
use dataplane::nft::Nft;
use dataplane::{Dataplane, Result};
use kernel::nl::nftables::monitor::Foreign;

use super::topology::Netns;
use super::world::config;

/// How long something may take that ends at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper of the namespace's table; `prepare` may change the dataplane first.
pub(crate) fn keeper(netns: &Netns, prepare: impl FnOnce(&mut Nft) + Send) -> Keeper {
    let plane = netns.run(|| {
        let mut nft = Nft::open().unwrap();
        prepare(&mut nft);
        nft
    });
    Keeper::new(config(), Box::new(plane))
}

/// A keeper and what others do to its table, as it is heard.
pub(crate) fn watched(netns: &Netns, prepare: impl FnOnce(&mut Nft) + Send) -> (Keeper, Receiver<Foreign>) {
    let (send, receive) = channel();
    let keeper = keeper(netns, |nft| {
        prepare(nft);
        let mut monitor = nft.monitor().unwrap();
        std::thread::spawn(move || {
            while let Ok(foreign) = monitor.wait() {
                if send.send(foreign).is_err() {
                    return;
                }
            }
        });
    });
    (keeper, receive)
}

/// Runs `nft` in the namespace.
pub(crate) fn nft(netns: &Netns, arguments: &[&str]) -> String {
    let output = netns.run(|| Command::new("nft").args(arguments).output());
    let output = output.unwrap_or_else(|error| panic!("run nft: {error}; install it: apt-get install nftables"));
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What another process finds there: none if the table or its rules are not as they should be.
pub(crate) fn found(netns: &Netns) -> Result<Option<State>> {
    netns.run(|| Nft::open()?.observe())
}

/// A whole look by whoever keeps the table.
pub(crate) fn again(keeper: &mut Keeper, snapshot: &Snapshot) -> dataplane::keeper::Done {
    keeper.doubt();
    keeper.program(snapshot, &Changes::default()).unwrap()
}
