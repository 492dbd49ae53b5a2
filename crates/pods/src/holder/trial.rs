//! Steps that every pod needs, tried once by the holder itself: nothing in, a refusal at the start instead of one at each
//! pod out. The filters of containers forbid these calls one by one.

use std::io;
use std::os::fd::AsFd;

use kernel::namespace;

/// Tries what starting a pod asks of the kernel beyond making namespaces. Nothing is changed.
pub(super) fn pods() -> io::Result<()> {
    let named = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let own = namespace::current_net()?;
    namespace::enter_net(own.as_fd()).map_err(named("setns"))?;
    let name = rustix::system::uname();
    let same = rustix::system::sethostname(name.nodename().to_bytes());
    same.map_err(io::Error::from).map_err(named("sethostname"))
}
