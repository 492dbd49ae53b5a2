//! Certificates that are due in, renewed ones out: shown by the server and written into the kubeconfig, while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Credentials, Lives, Server};
use jiff::Timestamp;

use crate::config::DataDir;

/// How often certificates are looked at: a clock that jumps is noticed as soon.
const LOOK: Duration = Duration::from_secs(60);

/// Lives in seconds instead of a year, for tests.
const LIFE_VARIABLE: &str = "MAINSTAY_CERTIFICATE_SECONDS";

/// How long certificates live.
pub(crate) fn lives() -> Lives {
    let seconds = std::env::var(LIFE_VARIABLE).ok().and_then(|text| text.parse().ok());
    seconds.map_or_else(Lives::default, |other| Lives { other, ..Lives::default() })
}

/// Where credentials go.
pub(crate) struct Kept {
    /// The instance's directory.
    pub(crate) data_dir: DataDir,
    /// Another place for the kubeconfig.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// URL of the API.
    pub(crate) server: String,
}

/// Renews what is due, for as long as the server runs. What cannot be written is tried again.
pub(crate) async fn keep(mut credentials: Credentials, https: Arc<Server>, kept: Kept) {
    let twelfth = u64::try_from(lives().other / 12).unwrap_or(0);
    let look = LOOK.min(Duration::from_secs(twelfth.max(1)));
    loop {
        tokio::time::sleep(look).await;
        let renewed = match credentials.renewed(Timestamp::now()) {
            Ok(None) => continue,
            Ok(Some(renewed)) => renewed,
            Err(error) => {
                tracing::warn!(%error, "certificates cannot be renewed; it is tried again");
                continue;
            }
        };
        if let Err(error) = https.renew(&renewed) {
            tracing::warn!(%error, "the renewed certificate cannot be shown");
        }
        let text = renewed.kubeconfig(&kept.server);
        if let Err(error) = super::door::write_kubeconfig(&kept.data_dir, kept.kubeconfig.as_deref(), &text, false) {
            tracing::warn!(error = format!("{error:#}"), "the kubeconfig with the renewed certificate is not written");
            continue;
        }
        credentials = renewed;
    }
}
