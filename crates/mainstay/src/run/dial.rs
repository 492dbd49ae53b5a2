//! Addresses in, connections from the node's network out: for the API's proxy to pods.

use std::net::SocketAddr;

use async_trait::async_trait;
use contract::dial::{Connection, Dial};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Connects on the runtime of the thread that lives in the node's network.
pub(crate) struct NodeDial(pub(crate) Handle);

#[async_trait]
impl Dial for NodeDial {
    async fn dial(&self, address: SocketAddr) -> std::io::Result<Box<dyn Connection>> {
        // A socket belongs to the network of the thread that makes it.
        let connect = self.0.spawn(async move { TcpStream::connect(address).await });
        let aborted = AbortOnDrop(connect.abort_handle());
        let stream = connect.await.map_err(std::io::Error::other)??;
        drop(aborted);
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Nobody waits for a connection whose caller has left.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
