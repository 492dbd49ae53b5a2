//! `--conntrack-*` in, the kernel's settings of connection tracking out, as kube-proxy sets them; never lowered.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the settings of this network namespace are.
const SETTINGS: &str = "/proc/sys/net/netfilter";

/// What is asked for. Zero leaves a setting as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Entries per core; none at all are asked for when zero.
    pub(crate) max_per_core: u32,
    /// At least so many entries.
    pub(crate) min: u32,
    /// How long an idle connection is remembered.
    pub(crate) established: Duration,
    /// How long one whose end one side has announced.
    pub(crate) close_wait: Duration,
    /// Packets outside the window are let pass.
    pub(crate) liberal: bool,
    /// Unanswered UDP.
    pub(crate) udp: Duration,
    /// Answered UDP.
    pub(crate) udp_stream: Duration,
}

impl Wanted {
    /// Whether TCP packets outside their window are no fault here, asked for now or set before.
    pub(crate) fn is_liberal(&self) -> bool {
        let known = std::fs::read_to_string(Path::new(SETTINGS).join("nf_conntrack_tcp_be_liberal"));
        self.liberal || known.is_ok_and(|value| value.trim() != "0")
    }

    /// File names and values; `cores` of this host.
    fn settings(&self, cores: u32) -> Vec<(&'static str, u64, bool)> {
        let seconds = |duration: Duration| duration.as_secs();
        let max = match self.max_per_core {
            0 => 0,
            each => u64::from(each.saturating_mul(cores).max(self.min)),
        };
        let all = [
            ("nf_conntrack_max", max, true),
            ("nf_conntrack_tcp_timeout_established", seconds(self.established), false),
            ("nf_conntrack_tcp_timeout_close_wait", seconds(self.close_wait), false),
            ("nf_conntrack_tcp_be_liberal", u64::from(self.liberal), false),
            ("nf_conntrack_udp_timeout", seconds(self.udp), false),
            ("nf_conntrack_udp_timeout_stream", seconds(self.udp_stream), false),
        ];
        all.into_iter().filter(|(_, value, _)| *value > 0).collect()
    }
}

/// Sets what differs. What cannot be set is told and left: Services work without.
pub(crate) fn set(wanted: &Wanted) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    set_in(Path::new(SETTINGS), &wanted.settings(cores));
}

fn set_in(directory: &Path, settings: &[(&'static str, u64, bool)]) {
    for (name, value, only_raise) in settings {
        let path: PathBuf = directory.join(name);
        let now = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        // A larger table was somebody's choice (kubernetes/kubernetes#142035).
        if now == Some(*value) || (*only_raise && now.is_some_and(|now| now > *value)) {
            continue;
        }
        if let Err(error) = std::fs::write(&path, value.to_string()) {
            tracing::warn!(
                %error, setting = %path.display(), value,
                "a setting of connection tracking was not made: give the container the right to, or set the flag to 0"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_set_and_a_larger_table_stays() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &str| std::fs::write(directory.path().join(name), value).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        write("nf_conntrack_max", "999999\n");
        write("nf_conntrack_tcp_timeout_close_wait", "60\n");
        write("nf_conntrack_udp_timeout", "30\n");
        let wanted =
            Wanted { max_per_core: 32_768, min: 131_072, close_wait: Duration::from_secs(3600), ..Wanted::default() };
        set_in(directory.path(), &wanted.settings(2));
        assert_eq!(read("nf_conntrack_max"), "999999\n");
        assert_eq!(read("nf_conntrack_tcp_timeout_close_wait"), "3600");
        assert_eq!(read("nf_conntrack_udp_timeout"), "30\n", "zero leaves it");
        set_in(directory.path(), &wanted.settings(64));
        assert_eq!(read("nf_conntrack_max"), "2097152");
        assert_eq!(Wanted { max_per_core: 0, min: 5, ..Wanted::default() }.settings(4), []);
        assert_eq!(
            Wanted { max_per_core: 1, min: 5, ..Wanted::default() }.settings(4),
            [("nf_conntrack_max", 5, true)]
        );
    }
}
