//! What failed, why, and what to do next, for every netlink call.

/// Result of a netlink call.
pub type Result<T> = std::result::Result<T, Error>;

/// A netlink call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; {next}")]
pub struct Error {
    /// The call that failed.
    pub what: String,
    /// What class of failure this is.
    pub kind: Kind,
    /// The kernel's reason.
    pub why: String,
    /// What to try next.
    pub next: String,
}

/// Classes of failures that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel refused with this error number.
    Errno(i32),
    /// The request exceeds what one send can carry: split it.
    TooLarge {
        /// Size of the request.
        bytes: usize,
        /// What one send can carry.
        max: usize,
    },
    /// The kernel's answer was lost (receive buffer overrun): the outcome is unknown, read the state back.
    Lost,
    /// A dump kept changing while it was read.
    Interrupted,
}

impl Error {
    /// The error number, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self.kind {
            Kind::Errno(number) => Some(number),
            _ => None,
        }
    }

    /// True if the kernel says that the object does not exist.
    pub fn not_found(&self) -> bool {
        matches!(self.kind, Kind::Errno(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::ENXIO))
    }

    /// True if the kernel says that the object exists already.
    pub fn already_exists(&self) -> bool {
        self.kind == Kind::Errno(libc::EEXIST)
    }

    pub(crate) fn os(what: &str, number: i32, extended: Option<&str>) -> Self {
        let text = std::io::Error::from_raw_os_error(number);
        let why = match extended {
            Some(extended) => format!("{text}: {extended}"),
            None => text.to_string(),
        };
        Self { what: what.into(), kind: Kind::Errno(number), why, next: advice(number).into() }
    }

    pub(crate) fn last_os(what: &str) -> Self {
        let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Self::os(what, number, None)
    }

    pub(crate) fn lost(what: &str) -> Self {
        let next = "read the state back before trying again".into();
        Self { what: what.into(), kind: Kind::Lost, why: "the kernel's answer was lost".into(), next }
    }

    pub(crate) fn interrupted(what: &str) -> Self {
        let next = "another program writes the same table without pause; stop it or try again".into();
        Self { what: what.into(), kind: Kind::Interrupted, why: "the content changed during every read".into(), next }
    }

    pub(crate) fn too_large(what: &str, bytes: usize, max: usize) -> Self {
        let why = format!("request of {bytes} bytes, one send carries {max}");
        let next = "split the request, or raise net.core.wmem_max".into();
        Self { what: what.into(), kind: Kind::TooLarge { bytes, max }, why, next }
    }
}

/// What a person or a caller should do about an error number.
fn advice(number: i32) -> &'static str {
    match number {
        libc::EPERM | libc::EACCES => "run as root, or inside a user namespace that owns this network namespace",
        libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::ENXIO => "the object is gone: read the state back",
        libc::EEXIST => "the object exists already: read the state back",
        libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT => {
            "the kernel lacks this feature: enable CONFIG_NF_TABLES, CONFIG_NF_CONNTRACK, CONFIG_NFT_NAT or CONFIG_VETH"
        }
        libc::ENOMEM | libc::ENOBUFS => "free memory or raise the cgroup's memory limit, then try again",
        libc::EBUSY => "another program holds the object: stop it, then try again",
        _ => "read the state back and try again; if it stays, report it with `uname -r`",
    }
}
