//! Users of a container: the ids its manifest asks for and those that the holder has in; a user namespace, the owner of
//! its files and the change of user out.

use std::io;
use std::os::fd::OwnedFd;

use kernel::namespace::{self, Extent};
use rustix::process::{Gid, Uid};

use super::security::Security;

/// First of the ids that containers run with outside: beyond what login, subordinate and systemd's ids use.
const FIRST: u32 = 0x7000_0000;
/// Ids that each pod has room for.
const STRIDE: u32 = 0x2_0000;
/// Pods whose ids differ for certain if their slots do; a slot follows from the pod's uid, so that no state is needed.
const SLOTS: u32 = 2047;
/// Ids inside that are mapped as a range; larger ones get a line of their own.
const RANGE: u32 = 0x1_0000;

/// The ids that the holder has to give.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    users: Vec<Extent>,
    groups: Vec<Extent>,
    /// Further user namespaces can be made.
    nests: bool,
}

/// How a container gets its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The holder's own user namespace.
    Own,
    /// One of its own with these maps; `deny` if they hold but one id, so that groups cannot be set.
    Nested { users: Vec<Extent>, groups: Vec<Extent>, deny: bool },
}

impl Ids {
    /// Those of the calling process.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let (users, groups) = (namespace::extents("/proc/self/uid_map")?, namespace::extents("/proc/self/gid_map")?);
        let mut ids = Self { users, groups, nests: true };
        if ids.many() {
            // Some hosts forbid them even to root (user.max_user_namespaces=0).
            let tried = namespace::new_user(&[(0, FIRST, 1)], &[(0, FIRST, 1)], false);
            ids.nests = tried.inspect_err(|error| note!("holder: pods run as root: {error}")).is_ok();
        }
        Ok(ids)
    }

    /// Whether there are ids to give to every pod.
    pub(super) fn many(&self) -> bool {
        let last = FIRST + SLOTS * STRIDE;
        let covers = |extents: &[Extent]| {
            let mut inside = extents.iter().map(|(inside, _, count)| (u64::from(*inside), u64::from(*count)));
            inside.any(|(first, count)| first <= u64::from(FIRST) && first + count >= u64::from(last))
        };
        self.nests && covers(&self.users) && covers(&self.groups)
    }

    /// Whether containers can have other users and groups than the holder's own.
    pub(super) fn several(&self) -> bool {
        self.has(1, 1)
    }

    /// Whether an id of a manifest is one that the holder has itself.
    fn has(&self, user: u32, group: u32) -> bool {
        let holds = |extents: &[Extent], id: u32| {
            extents.iter().any(|(first, _, count)| id.checked_sub(*first).is_some_and(|above| above < *count))
        };
        holds(&self.users, user) && holds(&self.groups, group)
    }

    /// How a container of the pod `pod` gets what it asks for.
    pub(super) fn plan(&self, pod: &str, security: &Security) -> Plan {
        if security.host_users && self.has(security.uid, security.gid) {
            return Plan::Own;
        }
        if self.many() {
            let base = FIRST + slot(pod) * STRIDE;
            let groups: Vec<_> =
                [security.gid].into_iter().chain(security.groups.iter().copied()).chain(security.fs_group).collect();
            return Plan::Nested { users: range(base, &[security.uid]), groups: range(base, &groups), deny: false };
        }
        if self.has(security.uid, security.gid) {
            return Plan::Own;
        }
        Plan::Nested { users: vec![(security.uid, 0, 1)], groups: vec![(security.gid, 0, 1)], deny: true }
    }
}

/// The usual ids, and each larger one that is asked for.
fn range(base: u32, asked: &[u32]) -> Vec<Extent> {
    let mut extents = vec![(0, base, RANGE)];
    let mut large: Vec<_> = asked.iter().copied().filter(|id| *id >= RANGE).collect();
    large.sort_unstable();
    large.dedup();
    // The kernel takes 340 lines; a manifest with more groups than that gets the first ones.
    extents.extend(large.into_iter().take(300).zip(base + RANGE..).map(|(inside, outside)| (inside, outside, 1)));
    extents
}

/// FNV-1a.
fn slot(pod: &str) -> u32 {
    let hash = pod.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % SLOTS
}

impl Plan {
    /// Makes the user namespace, if there is to be one.
    pub(super) fn namespace(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Own => Ok(None),
            Self::Nested { users, groups, deny } => {
                let made = namespace::new_user(users, groups, *deny);
                let explain = |error: io::Error| {
                    let text = format!("make a user namespace for the container: {error} (user.max_user_namespaces?)");
                    io::Error::new(error.kind(), text)
                };
                made.map(Some).map_err(explain)
            }
        }
    }

    /// User and group, as the holder counts, of somebody in the container; one that has no id there owns nothing, so
    /// that its files belong to the holder.
    pub(super) fn outside(&self, user: u32, group: u32) -> (u32, u32) {
        let find = |extents: &[Extent], id: u32| {
            let holds = |(inside, outside, count): &Extent| {
                id.checked_sub(*inside).filter(|above| above < count).map(|above| outside + above)
            };
            extents.iter().find_map(holds).unwrap_or(0)
        };
        match self {
            Self::Own => (user, group),
            Self::Nested { users, groups, .. } => (find(users, user), find(groups, group)),
        }
    }
}

/// Makes the calling process a user; it is root of its user namespace, or that user already because no other id exists.
pub(super) fn become_user(security: &Security) -> io::Result<()> {
    let failed = |error: rustix::io::Errno| {
        let text = format!("become user {} and group {}: {error}", security.uid, security.gid);
        io::Error::new(io::Error::from(error).kind(), text)
    };
    let groups: Vec<_> = security.groups.iter().chain(&security.fs_group).map(|group| Gid::from_raw(*group)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // Where only one id exists groups cannot be set; the API and an Event have said so.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) if single() => {}
        done => done.map_err(failed)?,
    }
    let (user, group) = (Uid::from_raw(security.uid), Gid::from_raw(security.gid));
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed)?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed)
}

/// Lets every group that there is send pings without a raw socket, in the network namespace of the calling thread.
pub(super) fn allow_ping() {
    // A range must lie within the ids of the namespace; read-only in some containers, where pings then fail.
    let path = "/proc/sys/net/ipv4/ping_group_range";
    let _ = std::fs::write(path, "0 2147483647").or_else(|_| std::fs::write(path, "0 0"));
}

/// Whether the calling process's user namespace forbids groups.
fn single() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(extent: Extent) -> Ids {
        Ids { users: vec![extent], groups: vec![extent], nests: true }
    }

    fn asks(uid: u32) -> Security {
        Security { uid, gid: uid, ..Security::default() }
    }

    #[test]
    fn with_all_ids_every_pod_gets_its_own() {
        let all = ids((0, 0, u32::MAX));
        let plan = all.plan("pod-a", &asks(0));
        let Plan::Nested { users, deny: false, .. } = &plan else { panic!("{plan:?}") };
        assert!(users[0].1 >= FIRST && users[0].1 < 0x8000_0000 && users[0].2 == RANGE);
        assert_eq!(plan.outside(0, 0), (users[0].1, users[0].1));
        assert_eq!(plan, all.plan("pod-a", &asks(0)), "the same after a restart");
        assert_ne!(plan, all.plan("pod-b", &asks(0)));
        let large = all.plan("pod-a", &asks(1_000_650_000));
        assert_eq!(large.outside(1_000_650_000, 1_000_650_000).0, users[0].1 + RANGE);
    }

    #[test]
    fn host_users_and_the_holders_own_ids_need_no_namespace() {
        let all = ids((0, 0, u32::MAX));
        assert_eq!(all.plan("p", &Security { host_users: true, ..asks(7) }), Plan::Own);
        assert_eq!(ids((0, 1001, 1)).plan("p", &asks(0)), Plan::Own);
        assert_eq!(ids((0, 100_000, 65_536)).plan("p", &asks(1000)), Plan::Own);
    }

    #[test]
    fn where_no_namespace_can_be_made_root_stays_root() {
        let root = Ids { nests: false, ..ids((0, 0, u32::MAX)) };
        assert_eq!((root.plan("p", &asks(7)), root.many(), root.several()), (Plan::Own, false, true));
        assert!(!ids((0, 1001, 1)).several());
    }

    #[test]
    fn with_one_id_another_user_is_a_namespace_of_one() {
        let one = ids((0, 1001, 1));
        let plan = one.plan("p", &Security { host_users: true, ..asks(999) });
        assert_eq!(plan, Plan::Nested { users: vec![(999, 0, 1)], groups: vec![(999, 0, 1)], deny: true });
        assert_eq!(plan.outside(0, 0), (0, 0));
    }
}
