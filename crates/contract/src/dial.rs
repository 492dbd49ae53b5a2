//! `Dial`: connections that start in the node's network, where pods can be reached.

use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Both directions of a connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Opens connections from the node's network.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A TCP connection to an address. The caller bounds the time.
    async fn dial(&self, address: SocketAddr) -> std::io::Result<Box<dyn Connection>>;
}
