//! The delicate parts of `/proc` and `/sys` in a container's root: hidden, or shown read-only.

use std::io;
use std::path::Path;

use kernel::mount;

/// What tells too much, or reaches the hardware.
const HIDDEN: [&str; 13] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
    "sys/kernel/debug",
];
/// What can be read but would change the node when written.
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
/// An empty file system needs no room.
const NO_BYTES: u64 = 4096;

/// Masks them below `at`; what this kernel does not have is left out.
pub(super) fn apply(at: &Path) -> io::Result<()> {
    for path in HIDDEN {
        let target = at.join(path);
        match target.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                mount::tmpfs(&target, "755", NO_BYTES)?;
                mount::read_only(&target)?;
            }
            Ok(found) if found.is_file() => {
                mount::bind(Path::new("/dev/null"), &target)?;
                mount::read_only(&target)?;
            }
            _ => {}
        }
    }
    for path in READ_ONLY {
        let target = at.join(path);
        if target.exists() {
            mount::bind_recursive(&target, &target)?;
            mount::read_only_recursive(&target)?;
        }
    }
    Ok(())
}
