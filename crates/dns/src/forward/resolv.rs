//! The host's `resolv.conf` in, the resolvers to ask out; looked at again when it has changed.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::limits;

/// Where resolvers come from.
pub struct Resolvers {
    file: Option<PathBuf>,
    behind_stub: Option<PathBuf>,
    own: Vec<IpAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checked: Option<Instant>,
    modified: [Option<SystemTime>; 2],
    servers: Vec<SocketAddr>,
    looped: bool,
}

impl Resolvers {
    /// The `nameserver` lines of a file such as `/etc/resolv.conf`. `own` are addresses that lead back to this name
    /// server: they are never asked.
    pub fn file(path: impl Into<PathBuf>, own: Vec<IpAddr>) -> Self {
        Self { file: Some(path.into()), behind_stub: None, own, state: Mutex::default() }
    }

    /// Where a stub on this host, such as systemd-resolved, lists the resolvers that it asks. If it asks this name server,
    /// the stub is passed by, and the others of the list are asked instead: the two would ask each other for ever.
    #[must_use]
    pub fn behind_stub(self, path: impl Into<PathBuf>) -> Self {
        Self { behind_stub: Some(path.into()), ..self }
    }

    /// A fixed list.
    pub fn fixed(servers: Vec<SocketAddr>, own: Vec<IpAddr>) -> Self {
        let this = Self { file: None, behind_stub: None, own, state: Mutex::default() };
        this.keep(&mut this.state.lock().unwrap_or_else(PoisonError::into_inner), servers);
        this
    }

    /// The resolvers to ask now.
    pub(crate) fn current(&self) -> Vec<SocketAddr> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.checked.is_none_or(|checked| checked.elapsed() >= limits::RESOLVERS_CHECK);
        if let Some(file) = self.file.as_ref().filter(|_| due) {
            state.checked = Some(Instant::now());
            let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
            let modified = [changed(file), self.behind_stub.as_ref().and_then(changed)];
            if modified[0].is_none() || modified != state.modified {
                state.modified = modified;
                let read = |path: &PathBuf| parse(&std::fs::read_to_string(path).unwrap_or_default());
                let uplinks = self.behind_stub.as_ref().map(read).unwrap_or_default();
                self.keep(&mut state, past_a_looping_stub(read(file), uplinks, &self.own));
            }
        }
        state.servers.clone()
    }

    /// Why there is nobody to ask.
    pub(crate) fn why_none(&self) -> &'static str {
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).looped {
            "the host's resolvers are this name server: a loop; name another resolver in the host's /etc/resolv.conf"
        } else {
            "the host has no resolver; write a nameserver line into its /etc/resolv.conf"
        }
    }

    fn keep(&self, state: &mut State, mut servers: Vec<SocketAddr>) {
        let before = servers.len();
        servers.retain(|server| !self.own.contains(&server.ip()));
        state.looped = servers.len() < before;
        servers.truncate(limits::RESOLVERS);
        state.servers = servers;
    }
}

/// A stub on this host that asks one of our own addresses is replaced by the other resolvers that it asks.
fn past_a_looping_stub(servers: Vec<SocketAddr>, uplinks: Vec<SocketAddr>, own: &[IpAddr]) -> Vec<SocketAddr> {
    let is_own = |server: &SocketAddr| own.contains(&server.ip());
    if !uplinks.iter().any(is_own) || !servers.iter().any(|server| server.ip().is_loopback()) {
        return servers;
    }
    // The own address stays in the list, so that it is told why nobody is asked if there is no other.
    let others = servers.into_iter().filter(|server| !server.ip().is_loopback());
    others.chain(uplinks).collect()
}

/// The `nameserver` lines of a `resolv.conf`, in order. Lines that are none, or name no address, count for nothing.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        if let Ok(address) = address.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, 53));
        }
        // A link-local address names its link: by number here, since names are looked up by nobody.
        let (address, scope) = address.split_once('%')?;
        Some(SocketAddrV6::new(address.parse().ok()?, 53, 0, scope.parse().ok()?).into())
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameserver_lines_count() {
        let text =
            "# nameserver 9.9.9.9\nsearch a b\n nameserver 192.0.2.1 # x\nnameserver\t2001:db8::1\nnameserver nope\n";
        let want: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(parse(text), want);
        assert_eq!(parse("nameserver fe80::1%3\n"), vec!["[fe80::1%3]:53".parse().unwrap()]);
    }

    #[test]
    fn own_addresses_are_a_loop() {
        let own: IpAddr = "10.96.0.10".parse().unwrap();
        let resolvers = Resolvers::fixed(vec![SocketAddr::new(own, 53)], vec![own]);
        assert!(resolvers.current().is_empty());
        assert!(resolvers.why_none().contains("loop"));
        assert!(Resolvers::fixed(vec![], vec![]).why_none().contains("no resolver"));
    }

    #[test]
    fn a_stub_that_asks_us_is_passed_by() {
        let (own, stub) = (vec!["10.96.0.10".parse().unwrap()], parse("nameserver 127.0.0.53"));
        let far = parse("nameserver 192.0.2.1");
        let both = parse("nameserver 10.96.0.10\nnameserver 192.0.2.1");
        assert_eq!(past_a_looping_stub(stub.clone(), far.clone(), &own), stub, "it alone knows the domains of a VPN");
        assert_eq!(past_a_looping_stub(stub.clone(), both.clone(), &own), both);
        assert_eq!(past_a_looping_stub(far.clone(), both, &own), far);
        let resolvers = Resolvers::fixed(past_a_looping_stub(stub, parse("nameserver 10.96.0.10"), &own), own);
        assert!(resolvers.current().is_empty() && resolvers.why_none().contains("loop"));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("mainstay-resolv-{}", std::process::id()));
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let resolvers = Resolvers::file(&path, vec![]);
        assert_eq!(resolvers.current(), parse("nameserver 192.0.2.1"));
        std::fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
        resolvers.state.lock().unwrap().checked = None;
        assert_eq!(resolvers.current(), parse("nameserver 192.0.2.2"));
        std::fs::remove_file(&path).unwrap();
    }
}
