//! Where pods live: a word of the command line in, the namespaces of their holder out.

use kernel::namespace;
use serde::{Deserialize, Serialize};

/// Where pods live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In namespaces of their own; the holder is the first process in them, and its end is theirs.
    #[default]
    Sandbox,
    /// In the host's network and among its processes; they outlive the holder, and the next one takes them over.
    Host,
}

impl Mode {
    /// Its name in arguments and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Host => "host",
        }
    }

    /// The mode of a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sandbox, Self::Host].into_iter().find(|mode| mode.name() == name)
    }

    /// The namespaces that the holder gets. A host's pods need only their mounts hidden from it.
    pub(super) fn namespaces(self) -> i32 {
        let own = namespace::NET | namespace::PID | namespace::UTS | namespace::IPC;
        namespace::MOUNT | if self == Self::Sandbox { own } else { 0 }
    }
}
