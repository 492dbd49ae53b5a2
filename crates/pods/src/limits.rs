//! Every bound of this crate, named in one place.

use std::time::Duration;

/// Longest message between supervisor and holder.
pub const MESSAGE_BYTES: usize = 128 << 10;
/// Containers in one answer of the holder; more are asked for from the last one on.
pub const CONTAINERS_PER_ANSWER: usize = 128;
/// Connections the holder serves at once (supervisor, `mainstay exec`, exec sessions).
pub const CONNECTIONS: usize = 512;
/// A log file is rotated when it grows beyond this, as by a kubelet.
pub const LOG_BYTES: u64 = 10 << 20;
/// Files of one container's log, the one that is written included.
pub const LOG_FILES: usize = 5;
/// A log line longer than this is split, as container runtimes do.
pub const LOG_LINE_BYTES: usize = 16 << 10;
/// Output on its way to a log file: beyond this it is not kept any longer than needed.
pub const SPOOL_BYTES: u64 = 1 << 20;
/// What a pod on a host may write while no holder reads.
pub const FIFO_BYTES: usize = 1 << 20;
/// Bytes taken from one container's output before the others get their turn.
pub const LOG_TURN_BYTES: usize = 64 << 10;
/// Clients attached to one container at once.
pub const ATTACHED: usize = 32;
/// Size of the root tmpfs of a pod, which holds mount points only.
pub const ROOT_TMPFS_BYTES: u64 = 16 << 20;
/// Size of the holder's own tmpfs, which may have to hold a copy of the executable.
pub const HOLDER_TMPFS_BYTES: u64 = 256 << 20;
/// Size of each writable tmpfs of a pod.
pub const WRITABLE_TMPFS_BYTES: u64 = 512 << 20;
/// Directories of a volume within one another; a pod cannot keep the holder busy, or its stack growing, with more.
pub const VOLUME_DEPTH: usize = 1000;
/// How long a recorded holder that does not answer is waited for before it is killed.
pub const HOLDER_MUTE: Duration = Duration::from_secs(1);
/// How long `kill` waits for the holder's end.
pub const HOLDER_END: Duration = Duration::from_secs(5);
/// How often in a row a holder that ended is replaced by one that ends at once, before that is an error.
pub const HOLDER_STARTS: usize = 20;
/// How long a start waits for the lock that a dying predecessor may still hold.
pub const LOCK_WAIT: Duration = Duration::from_millis(500);
/// How soon a probe that met "connection refused" at the very start is tried again; doubles up to the probe's period.
pub const EARLY_PROBE: Duration = Duration::from_millis(20);
/// Processes and threads of one container at most, where control groups can be made.
pub const CONTAINER_PIDS: u64 = 4096;
/// How long the last processes of removed control groups are waited for.
pub const CGROUP_END: Duration = Duration::from_secs(2);
/// After this long without work the holder gives its program text back.
pub const HOLDER_REST: Duration = Duration::from_secs(10);
/// How long a container may take from its fork to its program: its volumes may be far away, or have many files.
pub const CONTAINER_START: Duration = Duration::from_secs(120);
/// How long a command may take from its fork to its program.
pub const COMMAND_START: Duration = Duration::from_secs(10);
/// How long the holder may take to answer, beyond what it waits itself.
pub const HOLDER_ANSWER: Duration = Duration::from_secs(30);
/// Connections to the holder that are kept while nothing is asked on them.
pub const IDLE_CONNECTIONS: usize = 4;
/// How often the processes of a group that is to end are looked for.
pub const GROUP_ROUNDS: usize = 100;
