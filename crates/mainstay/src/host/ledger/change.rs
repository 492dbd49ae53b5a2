//! A change of the host as data: what was there before and what we made of it, in; one line for people out.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One change of the host that [`super::Ledger`] can take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum Change {
    /// A kernel setting.
    Sysctl {
        /// Path below /proc/sys, for example `net/ipv4/conf/eth0/forwarding`.
        name: String,
        /// What it was.
        before: String,
        /// What we made it.
        after: String,
        /// Settings that the kernel changes along with it, as they were: they are put back once it is made.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        along: Vec<(String, String)>,
        /// Settings that must be as they were for this to be put back: otherwise somebody relies on it by now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only_if: Vec<(String, String)>,
    },
    /// An address of a link.
    Address {
        /// Name of the link.
        link: String,
        /// Address.
        address: IpAddr,
    },
    /// A route directly over a link, in the main table.
    Route {
        /// Name of the link.
        link: String,
        /// First address of the destination.
        network: IpAddr,
        /// Bits of the destination.
        prefix: u8,
        /// Preferred source.
        source: Option<IpAddr>,
    },
    /// Links of pods: veth pairs whose near end has the pods' gateway.
    PodLinks,
    /// Our own table of nf_tables, family inet.
    NftTable {
        /// Its name.
        name: String,
    },
    /// Something of somebody else that only that program's own command can put back.
    Foreign {
        /// What it is, for people: `iptables rule in DOCKER-USER: accept 10.244.0.0/16`.
        what: String,
        /// A command that succeeds as long as our change is in place.
        holds: Vec<String>,
        /// The command that takes it back.
        undo: Vec<String>,
    },
    /// A directory; it goes when it is empty.
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// What it held; nothing: there was none.
        before: Option<String>,
        /// What we wrote.
        after: String,
    },
}

impl Change {
    /// Whether it lives in the kernel's memory, which forgets it at the next boot.
    pub(super) fn is_kernel(&self) -> bool {
        match self {
            Self::Directory { .. } | Self::File { .. } => false,
            // A program of the host may keep it over a reboot: ask it.
            Self::Foreign { .. } => false,
            Self::Sysctl { .. } | Self::Address { .. } | Self::Route { .. } => true,
            Self::PodLinks | Self::NftTable { .. } => true,
        }
    }

    /// Whether it lives in one network namespace.
    pub(super) fn is_network(&self) -> bool {
        !matches!(self, Self::Directory { .. } | Self::File { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { name, before, after, along, .. } => {
                write!(f, "sysctl      {name} {before} -> {after}")?;
                if along.is_empty() { Ok(()) } else { write!(f, " (that of each link stays as it is)") }
            }
            Self::Address { link, address } => write!(f, "address     {address} on {link}"),
            Self::Route { link, network, prefix, .. } => write!(f, "route       {network}/{prefix} over {link}"),
            Self::PodLinks => write!(f, "links       a veth pair per pod, named pod..., with its route"),
            Self::NftTable { name } => write!(f, "nftables    table inet {name}, and no other table"),
            Self::Foreign { what, .. } => write!(f, "others      {what}"),
            Self::Directory { path } => write!(f, "directory   {}", path.display()),
            Self::File { path, .. } => write!(f, "file        {}", path.display()),
        }
    }
}
