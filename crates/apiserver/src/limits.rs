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
/// Age at which Events end.
pub const EVENT_SECONDS: i64 = 3600;
/// Longest time between two looks at the clock while Events wait for their end.
pub const EVENT_LOOK_SECONDS: i64 = 60;
/// Events deleted in one transaction.
pub const SWEEP_BATCH: usize = 200;
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
/// Connections to pods (exec, attach, port-forward) at once.
pub const STREAM_CONNECTIONS: usize = 1024;
/// Bytes of a pod's stream in one message or frame.
pub const STREAM_CHUNK: usize = 32 << 10;
/// How long a connection of streams may be silent, as in kubelets.
pub const STREAM_IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How often a client that nothing is read of (its pod is slow) is asked whether it lives.
pub const STREAM_PING: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 10_000 });
/// How long a client has to open the streams that belong together.
pub const STREAM_CREATION: Duration = Duration::from_secs(30);
/// Longest WebSocket message that a client may send on a connection of streams.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 4 << 20;
/// Streams of one SPDY connection at once; two for each forwarded connection.
pub const SPDY_STREAMS: usize = 2048;
/// Bytes that the streams of one SPDY connection hold unread before the connection itself is left unread.
pub const SPDY_BUFFER: usize = 8 << 20;
/// Longest control frame.
pub const SPDY_CONTROL_BYTES: usize = 64 << 10;
/// Longest header of a stream, uncompressed.
pub const SPDY_HEADER_BYTES: usize = 16 << 10;
/// Longest wish for a terminal's size.
pub const RESIZE_BYTES: usize = 1 << 10;
/// Ports of one port-forward over a plain WebSocket; its channels are numbered in a byte.
pub const FORWARD_PORTS: usize = 64;
/// Length of one `Warning:` text.
pub const WARNING_BYTES: usize = 4 << 10;
/// `Warning:` headers of one response.
pub const WARNINGS: usize = 64;
/// Depth to which messages of a protobuf body may be nested.
pub const PROTOBUF_DEPTH: usize = 64;
/// Longest name of a field manager in bytes.
pub const MANAGER_BYTES: usize = 128;
/// So many keys that occur twice in a body are told of, further ones are dropped in silence.
pub const DUPLICATES_TOLD: usize = 100;
