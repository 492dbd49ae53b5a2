//! Logs, commands and ports of this node's pods: a pod's name and options in, byte streams out.

mod attach;
mod exec;
mod forward;
mod log_reader;
mod logs;
mod pipe;
mod sockets;

pub use exec::exec_on_terminal;

use std::os::fd::AsFd;
use std::sync::Arc;

use api::kinds::POD;
use api::object::ObjectKey;
use api::status::Status;
use async_trait::async_trait;
use bytes::Bytes;
use contract::streams::{Connection, ExecOptions, ExecSession, Listening, LogOptions, PodStreams};
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::kubelet::Node;

/// [`PodStreams`] over the holder and the log files.
pub struct Streams {
    node: Arc<Node>,
}

impl Streams {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The newest object of a pod and the container meant: the named one, else the first.
    fn find(&self, key: &ObjectKey, container: &str) -> Result<(Arc<Pod>, Container), Status> {
        let running = self.node.running.lock().unwrap_or_else(|poison| poison.into_inner());
        let pod = running.get(key).cloned().ok_or_else(|| Status::not_found(&POD, &key.name))?;
        let spec = pod.spec.clone().unwrap_or_default();
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let found = all.find(|known| container.is_empty() || known.name == container).cloned();
        let why = || Status::bad_request(format!("container {container} is not valid for pod {}", key.name));
        Ok((pod, found.ok_or_else(why)?))
    }

    /// Parts of Mainstay show as pods, but no process is theirs alone.
    fn has_process(&self, pod: &ObjectKey, container: &Container) -> Result<(), Status> {
        let image = container.image.as_deref().unwrap_or_default();
        if self.node.built_ins.iter().all(|known| known.image() != image) {
            return Ok(());
        }
        let (ObjectKey { namespace, name }, of) = (pod, &container.name);
        Err(Status::bad_request(format!(
            "container {of} of pod {name} is a part of Mainstay and has no process of its own to join; read what it says: \
             kubectl logs -n {namespace} {name}"
        )))
    }
}

#[async_trait]
impl PodStreams for Streams {
    async fn logs(
        &self,
        pod: &ObjectKey,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Status> {
        let (object, container) = self.find(pod, &options.container)?;
        let image = container.image.as_deref().unwrap_or_default();
        if let Some(part) = self.node.built_ins.iter().find(|known| known.image() == image) {
            return Ok(logs::of_built_in(part.clone(), options.clone()));
        }
        logs::of_container(self.node.clone(), &object, &container, options.clone())
    }

    fn listening(&self, pod: Option<&ObjectKey>) -> Option<Vec<Listening>> {
        let Some(pod) = pod else { return sockets::of(self.node.netns.as_fd()).ok() };
        let (object, _) = self.find(pod, "").ok()?;
        if object.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
            return sockets::of(self.node.netns.as_fd()).ok();
        }
        let network = self.node.client.pod_netns(object.metadata.uid.as_deref()?).ok()?;
        sockets::of(network.as_fd()).ok()
    }

    async fn exec(&self, pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status> {
        let (object, container) = self.find(pod, &options.container)?;
        self.has_process(pod, &container)?;
        exec::start(&self.node, &object, &container, options).await
    }

    async fn attach(&self, pod: &ObjectKey, options: &ExecOptions) -> Result<ExecSession, Status> {
        let (object, container) = self.find(pod, &options.container)?;
        self.has_process(pod, &container)?;
        attach::join(&self.node, &object, &container, options).await
    }

    async fn port_forward(&self, pod: &ObjectKey, port: u16) -> Result<Connection, Status> {
        let (object, _) = self.find(pod, "")?;
        forward::connect(&self.node, pod, &object, port).await
    }
}
