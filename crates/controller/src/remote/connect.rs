//! Where the API is and who asks, in; a client that keeps its credentials fresh out.
//!
//! The rules are those of kubectl and client-go, and the `kube` crate's to follow: contexts, certificates by file or inline,
//! tokens in files that are read again (bound ServiceAccount tokens rotate), exec plugins, proxies.

use std::path::PathBuf;

use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::limits;

/// Which server, and as whom.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// A kubeconfig; none means the ServiceAccount of the pod this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// URL of the server, instead of the kubeconfig's or the pod's.
    pub master: Option<String>,
    /// Who the server is told is asking.
    pub user_agent: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig says too little, or what cannot be.
    #[error("{}: {why}", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No kubeconfig was named, and this is no pod.
    #[error("no kubeconfig was named, and this is no pod with a ServiceAccount: {0}")]
    NotInCluster(String),
    /// `master` is no URL.
    #[error("{url:?} is not the URL of a server: {why}")]
    Master {
        /// What was given.
        url: String,
        /// Why not.
        why: String,
    },
    /// The credentials cannot be used.
    #[error("the credentials cannot be used: {0}")]
    Credentials(String),
}

/// Makes the client, and the URL of its server. Nothing is sent yet. Must be called in a runtime.
pub async fn connect(target: &Target) -> Result<(Client, String), ConnectError> {
    let mut config = match (&target.kubeconfig, &target.master) {
        (Some(path), _) => {
            let wrong = |error: &dyn std::error::Error| ConnectError::Kubeconfig {
                path: path.clone(),
                why: super::fault::told(error),
            };
            let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| wrong(&error))?
        }
        // In a pod its ServiceAccount asks; elsewhere nobody in particular does.
        (None, Some(_)) => {
            Config::incluster().unwrap_or_else(|_| Config::new(http::Uri::from_static("http://localhost")))
        }
        (None, None) => Config::incluster().map_err(|error| ConnectError::NotInCluster(super::fault::told(&error)))?,
    };
    if let Some(url) = &target.master {
        let wrong = |why: String| ConnectError::Master { url: url.clone(), why };
        let parsed: http::Uri = url.parse().map_err(|error| wrong(format!("{error}")))?;
        if parsed.scheme().is_none() || parsed.authority().is_none() {
            return Err(wrong("write it as https://HOST:PORT".to_owned()));
        }
        config.cluster_url = parsed;
    }
    config.connect_timeout = Some(limits::CONNECT);
    // Whoever follows knows better when to try again.
    config.default_retry = false;
    if let Ok(agent) = HeaderValue::from_str(&target.user_agent) {
        config.headers.push((USER_AGENT, agent));
    }
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| ConnectError::Credentials(super::fault::told(&error)))?;
    Ok((client, server))
}
