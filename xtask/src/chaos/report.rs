//! What was counted: kills and outcomes in, a table or JSON and a verdict out.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::load::Counted;

/// Who was killed how often.
#[derive(Default)]
pub(super) struct Kills {
    pub(super) server: u32,
    pub(super) holder: u32,
    pub(super) both: u32,
    /// Servers that were killed while they started, beyond those.
    pub(super) starting: u32,
    /// Starts of another build than the one before.
    pub(super) other_build: u32,
}

/// Everything that was counted.
pub(super) struct Report {
    pub(super) rounds: u32,
    pub(super) seed: u64,
    pub(super) kills: Kills,
    pub(super) loads: Vec<Counted>,
    pub(super) before: String,
    pub(super) after: String,
}

impl Report {
    /// A table for people.
    pub(super) fn table(&self) -> String {
        let kills = &self.kills;
        let mut text = format!(
            "{} rounds (seed {}): killed {} times the server, {} the holder, {} both, {} servers while starting; {} starts of \
             the other build\n\n| connections | started | answered | failed | slower than 0.9 s | first failure |\n\
             |---|---|---|---|---|---|\n",
            self.rounds, self.seed, kills.server, kills.holder, kills.both, kills.starting, kills.other_build
        );
        for load in &self.loads {
            let outcome = &load.outcome;
            text += &format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                load.name,
                outcome["started"],
                outcome["ok"],
                failed(outcome),
                outcome["stalled"],
                outcome["example"].as_str().unwrap_or("")
            );
        }
        let pods = if self.before == self.after { "the same, never started again" } else { "CHANGED" };
        text + &format!("\nPods: {pods}\n{}", self.after)
    }

    /// The same for programs.
    pub(super) fn json(&self) -> String {
        let kills = &self.kills;
        let loads: Vec<Value> =
            self.loads.iter().map(|load| json!({ "name": load.name, "outcome": load.outcome })).collect();
        json!({
            "rounds": self.rounds, "seed": self.seed, "failures": self.failures(),
            "kills": {
                "server": kills.server, "holder": kills.holder, "both": kills.both, "starting": kills.starting,
                "other_build": kills.other_build,
            },
            "loads": loads, "same_pods": self.before == self.after,
        })
        .to_string()
    }

    fn failures(&self) -> u64 {
        self.loads.iter().map(|load| failed(&load.outcome)).sum()
    }

    /// An error if anything failed.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.before != self.after {
            bail!("pods were started again; before:\n{}after:\n{}", self.before, self.after);
        }
        match self.failures() {
            0 => Ok(()),
            failures => bail!("{failures} connections failed"),
        }
    }
}

/// Failures of one client, of all kinds.
fn failed(outcome: &Value) -> u64 {
    outcome["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}
