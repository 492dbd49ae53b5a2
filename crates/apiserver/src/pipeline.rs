//! The API itself: the one pipeline that HTTP requests and local callers share, over the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::kind::Kind;
use api::object::{ObjectKey, Revision};
use api::status::Status;
use arc_swap::ArcSwapOption;
use compile::allocate::{Ranges, Taken};
use contract::access::Object;
use contract::advice::Advice;
use contract::dial::Dial;
use contract::streams::PodStreams;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use store::{ReadError, Store};

use crate::bookings;
use crate::clock::{Clock, Ids, SystemClock, SystemIds};
use crate::object::{shown, table};
use crate::token::Tokens;

/// What an API needs to know besides its objects.
pub struct Config {
    /// Service address ranges and the node port range.
    pub ranges: Ranges,
    /// Whether Services may claim addresses by `spec.externalIPs`.
    pub allow_external_ips: bool,
    /// What `/version` says.
    pub version: VersionInfo,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes uids and name suffixes.
    pub ids: Arc<dyn Ids>,
}

impl Config {
    /// With the system's clock and random numbers, and no `spec.externalIPs`.
    pub fn new(ranges: Ranges) -> Self {
        Self {
            ranges,
            allow_external_ips: false,
            version: VersionInfo::default(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds::default()),
        }
    }
}

/// What `/version` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Major version of the API spoken.
    pub major: String,
    /// Minor version of the API spoken.
    pub minor: String,
    /// The whole version, with our mark as build metadata.
    pub git_version: String,
}

impl Default for VersionInfo {
    fn default() -> Self {
        Self { major: "1".into(), minor: "37".into(), git_version: "v1.37.0+mainstay".into() }
    }
}

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(crate) inner: Arc<Inner>,
    /// Who callers in this process write as.
    pub(crate) manager: &'static str,
}

/// Who writes when a caller in this process does not say.
const MANAGER: &str = "mainstay";

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) config: Config,
    /// Addresses and ports in use; only touched inside write transactions, which run one at a time.
    taken: Mutex<Taken>,
    /// The life of the store's log that `taken` was read in.
    life: Mutex<u64>,
    streams: ArcSwapOption<Arc<dyn PodStreams>>,
    extension: ArcSwapOption<Arc<dyn Extension>>,
    dial: ArcSwapOption<Arc<dyn Dial>>,
    /// Signs and checks tokens of service accounts; set by the first server of this API.
    pub(crate) tokens: std::sync::OnceLock<Tokens>,
    advice: ArcSwapOption<Arc<dyn Advice>>,
}

/// What the program serves on the same address beside Kubernetes, under `/mainstay/`, to administrators only.
pub trait Extension: Send + Sync + 'static {
    /// Answers a request; none if there is no such path. `body` is null when the request had none.
    fn serve(&self, method: &str, path: &str, body: &Value) -> Option<Result<Value, Status>>;
    /// The same for what takes a while; asked first.
    fn work(&self, _method: &str, _path: &str, _body: &Value) -> Option<BoxFuture<'static, Result<Value, Status>>> {
        None
    }
}

impl Inner {
    pub(crate) fn life(&self) -> MutexGuard<'_, u64> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes in [`Taken`] what an object holds or no longer holds.
pub(crate) type Book = fn(&mut Taken, &Value);

impl Api {
    /// An API over a store. Reads Services, ServiceCIDRs and IPAddresses once, to know which addresses and ports are in
    /// use.
    pub fn new(store: Store, config: Config) -> Result<Self, Status> {
        let all = store::Range::default();
        let taken =
            bookings::read(|kind| store.list(table(kind), &all, None).map(|page| page.records).map_err(read_failure))?;
        let inner = Inner {
            store,
            config,
            taken: Mutex::new(taken),
            life: Mutex::new(0),
            streams: ArcSwapOption::empty(),
            extension: ArcSwapOption::empty(),
            dial: ArcSwapOption::empty(),
            tokens: std::sync::OnceLock::new(),
            advice: ArcSwapOption::empty(),
        };
        Ok(Self { inner: Arc::new(inner), manager: MANAGER })
    }

    /// The same API for callers in this process who write as `manager`.
    #[must_use]
    pub fn as_manager(&self, manager: &'static str) -> Self {
        Self { manager, ..self.clone() }
    }

    /// Says where the logs and commands of pods are to be had.
    pub fn set_streams(&self, streams: Arc<dyn PodStreams>) {
        self.inner.streams.store(Some(Arc::new(streams)));
    }

    /// Says who connects to pods.
    pub fn set_dial(&self, dial: Arc<dyn Dial>) {
        self.inner.dial.store(Some(Arc::new(dial)));
    }

    /// Says who answers under `/mainstay/`.
    pub fn set_extension(&self, extension: Arc<dyn Extension>) {
        self.inner.extension.store(Some(Arc::new(extension)));
    }

    /// Says who knows more about objects than they say themselves.
    pub fn set_advice(&self, advice: Arc<dyn Advice>) {
        self.inner.advice.store(Some(Arc::new(advice)));
    }

    pub(crate) fn advice(&self) -> Option<Arc<dyn Advice>> {
        self.inner.advice.load_full().map(|advice| Arc::clone(&*advice))
    }

    pub(crate) fn extension(&self) -> Option<Arc<dyn Extension>> {
        self.inner.extension.load_full().map(|extension| Arc::clone(&*extension))
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn streams(&self) -> Result<Arc<dyn PodStreams>, Status> {
        let streams: Option<Arc<dyn PodStreams>> = self.inner.streams.load_full().map(|streams| Arc::clone(&*streams));
        streams.ok_or_else(not_yet)
    }

    pub(crate) fn dial(&self) -> Result<Arc<dyn Dial>, Status> {
        let dial: Option<Arc<dyn Dial>> = self.inner.dial.load_full().map(|dial| Arc::clone(&*dial));
        dial.ok_or_else(not_yet)
    }

    /// One object as it is now.
    pub fn read(&self, kind: &'static Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
        match self.inner.store.get(table(kind), key, None).map_err(read_failure)? {
            Some(record) => Ok(shown(&record)),
            None => Err(Status::not_found(kind, &key.name)),
        }
    }

    pub(crate) fn now_seconds(&self) -> i64 {
        self.inner.config.clock.now().as_second()
    }
}

fn not_yet() -> Status {
    let why = "the node's pod runtime is not running yet; try again in a moment";
    Status { details: json!({ "retryAfterSeconds": 1 }), ..Status::new(503, "ServiceUnavailable", why) }
}

/// What a client sees when a read cannot be served.
pub(crate) fn read_failure(error: ReadError) -> Status {
    match error {
        ReadError::Compacted { asked, oldest } => too_old(asked, oldest),
        ReadError::Future { asked, current } => {
            let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
            let details = json!({
                "retryAfterSeconds": 1,
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            });
            Status { details, ..Status::new(504, "Timeout", message) }
        }
    }
}

/// The 410 that tells a client to list again.
pub(crate) fn too_old(asked: Revision, oldest: Revision) -> Status {
    Status::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
}
