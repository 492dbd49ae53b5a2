//! Every bound of the relay, named in one place.

use std::time::Duration;

/// Connections relayed at once, over all ports; more wait in the kernel's queues. Fewer if descriptors are scarce.
pub(super) const CONNECTIONS: usize = 8192;
/// Of those, how many one port may have, so that no Service starves the others.
pub(super) const CONNECTIONS_OF_A_PORT: usize = 4096;
/// Connections that the kernel keeps for a port until they are accepted.
pub(super) const BACKLOG: u32 = 1024;
/// How long a connection into the sandbox may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the peer of a connection still lives.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes read at once. They are written on at once; only what the other side does not take is kept.
pub(super) const CHUNK_BYTES: usize = 64 << 10;
/// Chunks after which a connection lets the others run.
pub(super) const CHUNKS_OF_A_TURN: usize = 16;
/// UDP clients of all ports at once. Fewer if descriptors are scarce.
pub(super) const UDP_CLIENTS: usize = 4096;
/// UDP clients of one port at once: the one that was silent longest makes room.
pub(super) const UDP_CLIENTS_OF_A_PORT: usize = 1024;
/// Silence after which a UDP client is forgotten: as long as the kernel keeps a UDP flow.
pub(super) const UDP_SILENCE: Duration = Duration::from_secs(120);
/// Datagrams taken from one socket before the others get their turn.
pub(super) const DATAGRAMS_OF_A_TURN: usize = 64;
/// Descriptors that are left to the rest of the program.
pub(super) const DESCRIPTORS_SPARED: usize = 512;
/// Free ports tried before a port counts as impossible: one may be free at 127.0.0.1 and taken at ::1.
pub(super) const FREE_PORTS_TRIED: usize = 16;
/// How soon what could not be opened is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Ports that are opened because somebody asked (`mainstay open`), at once.
pub(super) const LEASES: usize = 64;
/// How long such a port stays open after it was last asked for.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// Lines about published ports per start; `mainstay status` shows all.
pub(super) const LINES: usize = 50;
