//! Sockets in, HTTP over TLS out: accepting, handshakes, and an orderly stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::auth::{Identity, Peer};
use crate::credentials::{Credentials, CredentialsError, Resolver};
use crate::handle::handle;
use crate::limits;
use crate::pipeline::Api;
use crate::user::{Shown, User};
use crate::watch::Stop;

/// An HTTPS server for an API. Cheap to clone; one server may serve any number of listeners, on any runtime.
#[derive(Clone)]
pub struct Server {
    api: Api,
    tls: TlsAcceptor,
    shown: Arc<Resolver>,
}

impl Server {
    /// A server that shows `credentials` to its clients.
    pub fn new(api: Api, credentials: &Credentials) -> Result<Self, CredentialsError> {
        let shown = Arc::new(Resolver::new(credentials.shown()?));
        let tls = TlsAcceptor::from(Arc::new(credentials.tls(shown.clone())?));
        let tokens = credentials.tokens()?;
        api.inner.tokens.get_or_init(|| tokens);
        Ok(Self { api, tls, shown })
    }

    /// Shows the certificate of renewed credentials (of the same authority) to the clients that connect from now on.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        self.shown.show(credentials.shown()?);
        Ok(())
    }

    /// Serves connections until `stop` turns true (or its sender is gone), then ends watches, lets requests finish for
    /// a moment and returns.
    pub async fn serve(&self, listener: TcpListener, mut stop: Stop) {
        let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
        let mut connections = JoinSet::new();
        // One signal for the connections, which also fires when the caller drops its side.
        let (ending, ended) = tokio::sync::watch::channel(false);
        loop {
            let accept = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            tokio::select! {
                () = stopped(&mut stop) => break,
                (place, accepted) = accept => match accepted {
                    Ok((stream, peer)) => {
                        let server = self.clone();
                        let stop = ended.clone();
                        connections.spawn(async move {
                            server.connection(stream, peer, stop).await;
                            drop(place);
                        });
                    }
                    Err(error) => accept_failed(&error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        ending.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits::DRAIN, all).await.is_err() {
            tracing::info!("connections that are still open are cut");
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, mut stop: Stop) {
        // Small answers and watch events go out at once; failing to ask for that only costs time.
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(limits::HANDSHAKE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
        };
        // The verifier let only certificates of our authority through.
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = chain.first().map(|certificate| Shown(Arc::new(User::of_certificate(certificate))));
        let identity = if shown.is_some() { Identity::Admin } else { Identity::Anonymous };
        let (api, ends) = (self.api.clone(), stop.clone());
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            if let Some(shown) = &shown {
                request.extensions_mut().insert(shown.clone());
            }
            let answer = handle(api.clone(), identity, ends.clone(), request);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).keep_alive(true);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(limits::STREAMS).enable_connect_protocol();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error, "a connection ended early");
        }
    }
}

/// Returns once `stop` is true. When nobody is left who could say so, that is a stop, too.
async fn stopped(stop: &mut Stop) {
    // The value is dropped here: it is a lock, and locks are not carried across waits.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A client that is gone already is no reason to wait; a process without file descriptors has to.
async fn accept_failed(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "cannot accept connections; raise the limit of open files if this goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
