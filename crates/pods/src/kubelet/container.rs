//! One container's life: starts, ends and back-off in, what to do next and its status out. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use crate::holder::message;

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) started_ms: i64,
    pub(super) ended_ms: i64,
    pub(super) attempt: u32,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// Not running: why, and from when on it may be started.
    Waiting { reason: &'static str, message: String, until_ms: i64 },
    /// Running since.
    Running { since_ms: i64 },
    /// Ended and not to be started again (yet).
    Ended(Ended),
}

/// A container with everything the kubelet remembers of it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) spec: Container,
    pub(super) init: bool,
    pub(super) attempt: u32,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) ready: bool,
    pub(super) started: bool,
    pub(super) built_in: Option<String>,
    pub(super) back_off: BackOff,
    pub(super) pull_failures: u32,
}

/// Delays between restarts: the first is immediate, then 10 s doubling to 5 minutes; a run of 10 minutes resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BackOff {
    failures: u32,
}

const BASE_MS: i64 = 10_000;
const MOST_MS: i64 = 300_000;
const RESET_MS: i64 = 600_000;

impl BackOff {
    /// The delay after a run of `ran_ms`.
    pub(super) fn next_ms(&mut self, ran_ms: i64) -> i64 {
        if ran_ms >= RESET_MS {
            self.failures = 0;
        }
        let delay = delay_ms(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

/// Delay before try number `failures` (0 is immediate).
fn delay_ms(failures: u32) -> i64 {
    match failures {
        0 => 0,
        1..=5 => (BASE_MS << (failures - 1)).min(MOST_MS),
        _ => MOST_MS,
    }
}

/// Pause after `failures` earlier failures to find an image. Finding one is a look at a table, not a download, so that the
/// pause stays short: once somebody has given the name a meaning, the pod starts within seconds.
pub(super) fn pull_delay_ms(failures: u32) -> i64 {
    1000 << failures.min(3)
}

impl Slot {
    /// A container that was never started.
    pub(super) fn new(spec: Container, init: bool) -> Self {
        let reason = if init { "PodInitializing" } else { "ContainerCreating" };
        Self {
            spec,
            init,
            attempt: 0,
            state: State::Waiting { reason, message: String::new(), until_ms: 0 },
            last: None,
            ready: false,
            started: false,
            built_in: None,
            back_off: BackOff::default(),
            pull_failures: 0,
        }
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// A sidecar: an init container that goes on beside the others.
    pub(super) fn sidecar(&self) -> bool {
        self.init && self.spec.restart_policy.as_deref() == Some("Always")
    }

    /// Waiting to be started again after a run that ended.
    fn awaits_restart(&self) -> bool {
        matches!(self.state, State::Waiting { .. }) && self.last.is_some()
    }

    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.code == 0)
    }

    /// Notes the end of the current run; `policy` is the pod's restart policy. Whether it will be started again.
    pub(super) fn end(&mut self, ended: Ended, policy: &str) -> bool {
        (self.ready, self.started) = (false, false);
        let again = match policy {
            _ if self.sidecar() => true,
            "Always" if !self.init => true,
            "Always" | "OnFailure" => ended.code != 0,
            _ => false,
        };
        if !again {
            self.state = State::Ended(ended);
            return false;
        }
        let delay = self.back_off.next_ms(ended.ended_ms - ended.started_ms);
        let (reason, message) = if delay == 0 {
            (if self.init { "PodInitializing" } else { "ContainerCreating" }, String::new())
        } else {
            let name = &self.spec.name;
            ("CrashLoopBackOff", format!("back-off {}s restarting failed container={name}", delay / 1000))
        };
        self.state = State::Waiting { reason, message, until_ms: ended.ended_ms + delay };
        self.last = Some(ended);
        self.attempt += 1;
        true
    }

    /// Takes over a run that went on without a supervisor. A start that was told already stays as it was told: the holder
    /// read its clock some milliseconds earlier or later, which may be in another second.
    pub(super) fn found_running(&mut self, attempt: u32, started_ms: i64) {
        if !(self.running() && self.attempt == attempt) {
            self.state = State::Running { since_ms: started_ms };
        }
        self.attempt = attempt;
    }

    /// The container's entry in the Pod's status.
    pub(super) fn status(&self, uid: &str) -> Value {
        let id = format!("mainstay://{uid}/{}/{}", self.spec.name, self.attempt);
        let state = match &self.state {
            State::Waiting { reason, message, .. } if message.is_empty() => json!({ "waiting": { "reason": reason } }),
            State::Waiting { reason, message, .. } => json!({ "waiting": { "reason": reason, "message": message } }),
            State::Running { since_ms } => json!({ "running": { "startedAt": time(*since_ms) } }),
            State::Ended(ended) => json!({ "terminated": ended.status(uid, &self.spec.name) }),
        };
        let last = self.last.as_ref();
        let image = self.spec.image.clone().unwrap_or_default();
        // The next run counts as a restart only once it was started.
        let restarts = if self.awaits_restart() { self.attempt.saturating_sub(1) } else { self.attempt };
        let mut status = json!({
            "name": self.spec.name, "image": image, "ready": self.ready || (self.init && self.succeeded()),
            "restartCount": restarts, "started": self.started, "state": state,
            "lastState": last.map_or(json!({}), |ended| json!({ "terminated": ended.status(uid, &self.spec.name) })),
            "imageID": "",
        });
        if !matches!(self.state, State::Waiting { .. }) {
            status["containerID"] = id.into();
            status["imageID"] = format!("mainstay://{image}").into();
        }
        status
    }

    /// Takes over what an earlier supervisor wrote: how often it was restarted and how its last run ended.
    pub(super) fn restore(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let all = [&status.container_statuses, &status.init_container_statuses];
        let Some(known) = all.into_iter().flatten().flatten().find(|known| known.name == self.spec.name) else {
            return;
        };
        self.attempt = u32::try_from(known.restart_count).unwrap_or(0);
        let ended = |state: &k8s_openapi::api::core::v1::ContainerState, attempt| {
            state.terminated.as_ref().map(|known| Ended {
                code: known.exit_code,
                reason: known.reason.clone().unwrap_or_default(),
                message: known.message.clone().unwrap_or_default(),
                started_ms: known.started_at.as_ref().map_or(0, |time| time.0.as_millisecond()),
                ended_ms: known.finished_at.as_ref().map_or(0, |time| time.0.as_millisecond()),
                attempt,
            })
        };
        let waiting = known.state.as_ref().is_some_and(|state| state.waiting.is_some());
        let last = if waiting { self.attempt } else { self.attempt.saturating_sub(1) };
        self.last = known.last_state.as_ref().and_then(|state| ended(state, last));
        if waiting && self.last.is_some() {
            self.attempt = self.attempt.saturating_add(1);
            return;
        }
        if let Some(state) = &known.state {
            if let Some(ended) = ended(state, self.attempt) {
                self.state = State::Ended(ended);
            } else if let Some(running) = &state.running {
                let since_ms = running.started_at.as_ref().map_or(0, |time| time.0.as_millisecond());
                self.state = State::Running { since_ms };
                self.ready = known.ready;
                self.started = known.started.unwrap_or(false);
            }
        }
    }
}

impl Ended {
    /// How a run ended that the holder tells of.
    pub(super) fn of(end: message::Ended, started_ms: i64, attempt: u32) -> Self {
        let (reason, message) = match end.code {
            _ if end.unknown => (
                "ContainerStatusUnknown",
                "The container could not be located when the pod was deleted.  The container used to be Running",
            ),
            0 => ("Completed", ""),
            137 if end.oom => ("OOMKilled", ""),
            _ => ("Error", ""),
        };
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Self { code: end.code, reason, message, started_ms, ended_ms: end.at_ms, attempt }
    }

    fn status(&self, uid: &str, name: &str) -> Value {
        let mut status = json!({
            "exitCode": self.code, "reason": self.reason, "startedAt": time(self.started_ms),
            "finishedAt": time(self.ended_ms), "containerID": format!("mainstay://{uid}/{name}/{}", self.attempt),
        });
        if self.code > 128 && self.code < 128 + 65 {
            status["signal"] = (self.code - 128).into();
        }
        if !self.message.is_empty() {
            status["message"] = self.message.as_str().into();
        }
        status
    }
}

/// Unix milliseconds as the API writes times.
pub(super) fn time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(init: bool, restart: Option<&str>) -> Slot {
        let restart_policy = restart.map(str::to_owned);
        Slot::new(Container { name: "c".into(), restart_policy, ..Container::default() }, init)
    }

    fn ended(code: i32, ended_ms: i64) -> Ended {
        let (reason, message) = ("Error".to_owned(), String::new());
        Ended { code, reason, message, started_ms: 0, ended_ms, attempt: 0 }
    }

    #[test]
    fn back_off_doubles_to_five_minutes_and_a_long_run_resets_it() {
        let mut back_off = BackOff::default();
        let delays: Vec<_> = (0..8).map(|_| back_off.next_ms(1) / 1000).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.next_ms(600_000), 0);
    }

    #[test]
    fn an_adopted_run_keeps_the_start_that_was_told() {
        let mut told = slot(false, None);
        told.state = State::Running { since_ms: 2000 };
        told.found_running(0, 1999);
        assert_eq!(told.status("u")["state"]["running"]["startedAt"], "1970-01-01T00:00:02Z");
        told.found_running(1, 5000);
        assert_eq!((told.attempt, told.state), (1, State::Running { since_ms: 5000 }), "a run that was never told");
    }

    #[test]
    fn an_image_is_looked_for_again_within_seconds() {
        assert_eq!([0, 1, 2, 3, 4, u32::MAX].map(pull_delay_ms), [1000, 2000, 4000, 8000, 8000, 8000]);
    }

    #[test]
    fn restart_policies() {
        let again = |init: bool, policy: &str, code: i32| slot(init, None).end(ended(code, 5), policy);
        assert!(again(false, "Always", 0) && again(false, "Always", 1) && again(false, "OnFailure", 1));
        assert!(!again(false, "OnFailure", 0) && !again(false, "Never", 1));
        assert!(!again(true, "Always", 0) && again(true, "Always", 1) && !again(true, "Never", 1));
        assert!(slot(true, Some("Always")).end(ended(0, 5), "Never"), "a sidecar always restarts");
    }

    #[test]
    fn the_second_crash_waits_and_counts() {
        let mut slot = slot(false, None);
        slot.end(ended(1, 5), "Always");
        slot.end(ended(1, 9), "Always");
        let status = slot.status("u");
        assert_eq!(status["restartCount"], 1, "started twice, so restarted once");
        let mut restored = self::slot(false, None);
        restored.restore(&serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).unwrap());
        assert_eq!(restored.attempt, slot.attempt);
        assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(
            slot.state,
            State::Waiting {
                reason: "CrashLoopBackOff",
                message: "back-off 10s restarting failed container=c".into(),
                until_ms: 10_009,
            }
        );
    }
}
