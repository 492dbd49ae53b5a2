//! Every limit of the API server, by name.

use std::time::Duration;

/// Largest request body in bytes; a larger one is answered with 413.
pub const BODY_BYTES: usize = 3 << 20;
/// Responses of at least this many bytes are compressed for clients that accept gzip.
pub const GZIP_BYTES: usize = 128 << 10;
/// How long one TLS handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the server waits for open connections once it is told to stop.
pub const DRAIN: Duration = Duration::from_secs(2);
/// Open connections per listener; further ones wait in the kernel's accept queue.
pub const CONNECTIONS: usize = 4096;
/// Concurrent HTTP/2 streams per connection.
pub const STREAMS: u32 = 1000;
/// How long a read at a revision that has not happened yet waits before it is answered with 504.
pub const FUTURE_WAIT: Duration = Duration::from_secs(3);
/// Time between bookmarks of a watch.
pub const BOOKMARK: Duration = Duration::from_secs(60);
/// Shortest default lifetime of a watch; the actual one is spread over the same time again.
pub const WATCH_SECONDS: u64 = 1800;
/// Names tried for one `generateName`.
pub const NAME_ATTEMPTS: usize = 8;
/// Length to which the base of a generated name is cut.
pub const NAME_BASE: usize = 58;
/// Records read from the store at once while a selector filters a limited list.
pub const LIST_CHUNK: usize = 500;
/// Age at which Events are swept.
pub const EVENT_SECONDS: i64 = 3600;
/// Events deleted in one transaction of a sweep.
pub const SWEEP_BATCH: usize = 200;
/// Bytes of one WebSocket message of an exec session.
pub const EXEC_CHUNK: usize = 32 << 10;
/// How long the API server tries to connect to a pod for a proxied request.
pub const PROXY_CONNECT: Duration = Duration::from_secs(30);
/// Largest HTML page whose links are rewritten by the proxy; larger ones pass as they are.
pub const PROXY_PAGE_BYTES: usize = 8 << 20;
/// Longest token that is looked at.
pub const TOKEN_BYTES: usize = 16 << 10;
/// Lifetime of a token in seconds when none is asked for.
pub const TOKEN_SECONDS: i64 = 3600;
/// Shortest lifetime of a token in seconds.
pub const TOKEN_SECONDS_LEAST: i64 = 600;
/// Length of one `Warning:` text.
pub const WARNING_BYTES: usize = 4 << 10;
/// `Warning:` headers of one response.
pub const WARNINGS: usize = 64;
/// Depth to which messages of a protobuf body may be nested.
pub const PROTOBUF_DEPTH: usize = 64;
