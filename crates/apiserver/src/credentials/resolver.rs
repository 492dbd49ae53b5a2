//! The certificate that a server shows: exchanged while it runs, for the connections that come after.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Shows the newest certificate to every client.
#[derive(Debug)]
pub(crate) struct Resolver(ArcSwap<CertifiedKey>);

impl Resolver {
    pub(crate) fn new(shown: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(shown))
    }

    /// From the next handshake on.
    pub(crate) fn show(&self, shown: CertifiedKey) {
        self.0.store(Arc::new(shown));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
