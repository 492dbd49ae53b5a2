//! A client of the running instance: one write at a time in, the time until the kernel acknowledged it out.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::object::{ObjectKey, Revision};
use contract::applied::Applied;
use serde_json::Value;
use store::Store;
use tokio::sync::watch;

use super::super::numbers::Choices;
use super::super::objects;
use crate::cli::client::{Answer, Client};
use crate::run::{Running, nft};

/// How long nothing must happen before the instance counts as quiet after its start.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for one write to be applied; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Writes whose revision was not the next one, because somebody else wrote meanwhile; more mean that it is not quiet.
const DISTURBED_MAX: usize = 100;
/// Writes that are not measured, while connections, caches and branch predictors warm up.
const WARM_UP: usize = 50;
const SEED: u64 = 2026;

/// How long one change took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// From before the request until somebody who waits for it sees the kernel's acknowledgement.
    pub(super) acknowledged: Duration,
    /// From before the request until the API answered.
    pub(super) answered: Duration,
    /// From the durable commit until the kernel's acknowledgement.
    pub(super) kernel: Duration,
}

/// Measures one instance.
pub(super) struct Probe {
    client: Client,
    store: Store,
    applied: Applied,
    kernel: watch::Receiver<Revision>,
    report: nft::Report,
    latest: watch::Receiver<std::sync::Arc<compile::snapshot::Snapshot>>,
    services: usize,
    endpoints: usize,
    added: usize,
    /// The next endpoint that no slice has.
    unused: usize,
    choices: Choices,
    disturbed: usize,
}

impl Probe {
    /// A probe of an instance that holds `services` times `endpoints`.
    pub(super) fn new(running: &Running, kubeconfig: &Path, services: usize, endpoints: usize) -> Result<Self> {
        Ok(Self {
            client: Client::from_kubeconfig(kubeconfig)?,
            store: running.store.clone(),
            applied: running.applied.clone(),
            kernel: running.applied.subscribe_sink("nft").context("the instance has no sink named nft")?,
            report: running.report.clone(),
            latest: running.feed.latest(),
            services,
            endpoints,
            added: 0,
            unused: services * endpoints,
            choices: Choices::new(SEED),
            disturbed: 0,
        })
    }

    /// Waits until nothing has been written for a while, then warms up.
    pub(super) async fn quiet(&mut self) -> Result<()> {
        loop {
            self.settled().await?;
            let revision = self.store.revision();
            let news = self.latest.wait_for(|snapshot| snapshot.revision > revision);
            if tokio::time::timeout(QUIET, news).await.is_err() {
                break;
            }
        }
        for _ in 0..WARM_UP {
            self.change().await?;
        }
        Ok(())
    }

    /// Replaces one endpoint of a random Service.
    pub(super) async fn change(&mut self) -> Result<Took> {
        loop {
            let number = self.choices.below(self.services);
            let replaced = number * self.endpoints + self.choices.below(self.endpoints);
            let path = objects::slice_path(number);
            let mut slice = self.client.get(&path).await?.ok()?;
            let fresh = objects::new_slice(number, std::iter::once(self.fresh()));
            slice["endpoints"][replaced % self.endpoints] = fresh["endpoints"][0].clone();
            self.settled().await?;

            let next = Revision(self.store.revision().0 + 1);
            let began = Instant::now();
            let mut kernel = self.kernel.clone();
            let acknowledged = async {
                reached(&mut kernel, next).await?;
                Ok(began.elapsed())
            };
            let answered = async {
                let answer = self.client.put(&path, &slice).await?;
                Ok::<_, anyhow::Error>((answer, began.elapsed()))
            };
            let (acknowledged, (answer, answered)) = tokio::try_join!(acknowledged, answered)?;
            let written = revision(answer)?;
            self.settled().await?;
            let (newest, committed) = self.store.published();
            let (held, last) = self.report.last().context("the sink confirmed but reports nothing")?;
            if (written, newest, held) == (next, next, next) {
                let kernel = last.saturating_duration_since(committed);
                return Ok(Took { acknowledged, answered, kernel });
            }
            self.disturbed_once()?;
        }
    }

    /// Adds a Service and its slice. The time until the kernel acknowledged both.
    pub(super) async fn add(&mut self) -> Result<Duration> {
        let number = self.services + self.added;
        self.added += 1;
        let service = objects::new_service(number);
        let endpoints: Vec<usize> = (0..self.endpoints).map(|_| self.fresh()).collect();
        let slice = objects::new_slice(number, endpoints.into_iter());
        self.settled().await?;

        let (began, mut kernel) = (Instant::now(), self.kernel.clone());
        revision(self.client.post(&objects::services_path(), &service).await?)?;
        let written = revision(self.client.post(&objects::slices_path(), &slice).await?)?;
        reached(&mut kernel, written).await?;
        let took = began.elapsed();

        // The condition that tells of it is written once it is applied: that write must not meet the next sample.
        let key = ObjectKey::new(objects::NAMESPACE, objects::name(number));
        let told = self
            .latest
            .wait_for(|snapshot| snapshot.services.get(&key).is_some_and(|service| service.programmed == Some(true)));
        tokio::time::timeout(PATIENCE, told).await.context("Programmed never turned True")??;
        self.settled().await?;
        Ok(took)
    }

    /// Waits until every sink has confirmed the newest revision of the store.
    async fn settled(&self) -> Result<()> {
        loop {
            let revision = self.store.revision();
            reached(&mut self.applied.subscribe(), revision).await?;
            if self.store.revision() == revision {
                return Ok(());
            }
        }
    }

    fn fresh(&mut self) -> usize {
        self.unused = (self.unused + 1) % objects::ADDRESSES;
        self.unused
    }

    fn disturbed_once(&mut self) -> Result<()> {
        self.disturbed += 1;
        if self.disturbed > DISTURBED_MAX {
            bail!("{DISTURBED_MAX} samples met writes of the instance itself: it does not come to rest");
        }
        Ok(())
    }
}

async fn reached(receiver: &mut watch::Receiver<Revision>, revision: Revision) -> Result<()> {
    let wait = tokio::time::timeout(PATIENCE, receiver.wait_for(|confirmed| *confirmed >= revision)).await;
    wait.with_context(|| format!("revision {revision} is not applied after {PATIENCE:?}"))??;
    Ok(())
}

/// The revision that a successful write made.
fn revision(answer: Answer) -> Result<Revision> {
    let object: Value = answer.ok()?;
    let text = object["metadata"]["resourceVersion"].as_str().context("the API answered without a resourceVersion")?;
    Ok(Revision(text.parse()?))
}
