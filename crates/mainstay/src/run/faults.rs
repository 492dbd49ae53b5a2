//! Faults that the demo and tests switch on while the server runs (`up --faults`): a late kernel, no drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use api::status::Status;
use serde_json::{Value, json};

/// Switches, shared by the API that sets them and the roles that obey them.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    allowed: bool,
    apply_delay_ms: Arc<AtomicU64>,
    drain: Arc<AtomicBool>,
    fail_applies: Arc<AtomicBool>,
}

/// No fault lasts longer than a patient test.
const APPLY_DELAY_MS_MAX: u64 = 60_000;

impl Faults {
    /// No faults; they may be set later only if `allowed`.
    pub(crate) fn new(allowed: bool, drain: bool) -> Self {
        let drain = Arc::new(AtomicBool::new(drain));
        Self { allowed, drain, apply_delay_ms: Arc::default(), fail_applies: Arc::default() }
    }

    /// How long an apply waits before it reaches the kernel.
    pub(crate) fn apply_delay(&self) -> Duration {
        Duration::from_millis(self.apply_delay_ms.load(Ordering::Relaxed))
    }

    /// Whether every apply must fail.
    pub(crate) fn fail_applies(&self) -> bool {
        self.fail_applies.load(Ordering::Relaxed)
    }

    /// The switch of drain on proof.
    pub(crate) fn drain(&self) -> Arc<AtomicBool> {
        self.drain.clone()
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "applyDelayMs": self.apply_delay_ms.load(Ordering::Relaxed),
            "failApplies": self.fail_applies(),
            "drain": self.drain.load(Ordering::Relaxed),
        })
    }

    /// Sets what `wanted` names.
    pub(crate) fn set(&self, wanted: &Value) -> Result<(), Status> {
        if !self.allowed {
            let why = "faults can only be set on an instance that was started with --faults";
            return Err(Status::new(403, "Forbidden", why));
        }
        if let Some(delay) = wanted["applyDelayMs"].as_u64() {
            if delay > APPLY_DELAY_MS_MAX {
                return Err(Status::bad_request(format!("applyDelayMs: {delay} is more than {APPLY_DELAY_MS_MAX}")));
            }
            self.apply_delay_ms.store(delay, Ordering::Relaxed);
        }
        if let Some(fail) = wanted["failApplies"].as_bool() {
            self.fail_applies.store(fail, Ordering::Relaxed);
        }
        if let Some(drain) = wanted["drain"].as_bool() {
            self.drain.store(drain, Ordering::Relaxed);
        }
        Ok(())
    }
}
