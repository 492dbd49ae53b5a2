//! Every bound of this crate.

use std::time::Duration;

/// Largest UDP answer: never fragmented on any sane path (the DNS flag day value).
pub const UDP_ANSWER: usize = 1232;
/// Largest UDP answer to a client without EDNS (RFC 1035 4.2.1).
pub const UDP_ANSWER_PLAIN: usize = 512;
/// Largest message over TCP: its length has 16 bits.
pub const MESSAGE: usize = 65_535;
/// Largest query over UDP that is read; the rest of a larger one is cut off, which makes it malformed.
pub const QUERY: usize = 4096;
/// Queries answered from one socket before other tasks get their turn.
pub const UDP_BATCH: usize = 64;
/// TCP connections at a time; further ones wait in the listener's queue.
pub const TCP_CONNECTIONS: usize = 512;
/// A TCP connection that sends nothing for this long is closed (RFC 7766 6.2.3).
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// Clients that wait for an answer from outside at a time; further ones get SERVFAIL.
pub const WAITING: usize = 4096;
/// Different questions under way to resolvers at a time; further ones get SERVFAIL.
pub const IN_FLIGHT: usize = 1024;
/// Aliases followed for one question.
pub const ALIASES: usize = 8;
/// Bytes of answers from outside that are kept.
pub const CACHE_BYTES: usize = 4 << 20;
/// Longest time an answer from outside is kept, whatever its TTL.
pub const CACHE_TTL: u32 = 3600;
/// Longest time "no such name" from outside is kept (RFC 2308 allows hours; a new name should appear soon).
pub const CACHE_NEGATIVE_TTL: u32 = 30;
/// Rounds over the list of resolvers.
pub const ROUNDS: usize = 2;
/// Resolvers taken from the list; glibc takes as many.
pub const RESOLVERS: usize = 3;
/// How long one resolver has for an answer.
pub const RESOLVER_WAIT: Duration = Duration::from_millis(1000);
/// How long all resolvers together have; a stub resolver waits 5 seconds.
pub const FORWARD_WAIT: Duration = Duration::from_millis(4500);
/// The list of resolvers is looked at for changes at most this often.
pub const RESOLVERS_CHECK: Duration = Duration::from_secs(1);
/// Log lines kept.
pub const LOG_LINES: usize = 1000;
/// Log lines that a slow follower may lag behind before it loses some.
pub const LOG_FOLLOW: usize = 256;
/// How long a replaced socket is read after it has stopped to receive: packets that the kernel was just delivering.
pub const DRAIN: Duration = Duration::from_millis(50);
