//! What was asked for, what the store knows and what this host is called in, the name of the node out.
//!
//! Pods, addresses and EndpointSlices are bound to the name. It lasts as long as the store, whatever becomes of the host's
//! name, and comes back with a restored save.

use anyhow::{Result, bail};
use api::kinds;
use serde_json::Value;
use store::{Range, Store};

/// The name of a node, checked.
#[derive(Debug)]
pub(crate) struct NodeName;

impl NodeName {
    /// Refuses what cannot name a node.
    pub(crate) fn check(name: &str) -> Result<()> {
        if let Some(why) = api::names::dns1123_subdomain(name).first() {
            bail!("{name:?} cannot be the name of a node: {why}.\nGive one: --node-name node-1");
        }
        Ok(())
    }

    /// The name to start with.
    pub(super) fn choose(asked: Option<String>, store: &Store) -> Result<String> {
        let page = store.list(kinds::NODE.plural, &Range::default(), None)?;
        let known = page.records.iter().filter(|record| is_ours(&record.body.bytes()));
        let known: Vec<String> = known.map(|record| record.key.name.to_string()).collect();
        let host = || rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        let name = decide(asked, &known, host)?;
        Self::check(&name)?;
        Ok(name)
    }
}

fn decide(asked: Option<String>, known: &[String], host: impl FnOnce() -> String) -> Result<String> {
    match (asked, known) {
        (Some(asked), []) => Ok(asked),
        (Some(asked), known) if known.contains(&asked) => Ok(asked),
        (Some(asked), [first, ..]) => bail!(
            "the node of this instance is called {first}, not {asked}: its pods and addresses are bound to the name.\n\
             Leave --node-name out, or begin with another directory: --data-dir DIR"
        ),
        (None, []) => Ok(host()),
        (None, [only]) => Ok(only.clone()),
        (None, [first, ..]) => {
            let host = host();
            if known.contains(&host) {
                return Ok(host);
            }
            bail!(
                "this instance had several nodes ({}), and none is called {host} like this host.\n\
                 Say which one this is: --node-name {first}",
                known.join(", ")
            )
        }
    }
}

/// Whether a Node was made by a program like this one, and not by hand.
fn is_ours(json: &[u8]) -> bool {
    let runtime = |node: Value| node["status"]["nodeInfo"]["containerRuntimeVersion"].as_str().map(str::to_owned);
    let runtime = serde_json::from_slice(json).ok().and_then(runtime);
    runtime.is_some_and(|runtime| runtime.starts_with("mainstay://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lasts_as_long_as_the_store() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let decide = |asked: Option<&str>, known: &[&str]| {
            decide(asked.map(str::to_owned), &names(known), || "host".into()).map_err(|error| error.to_string())
        };
        assert_eq!(decide(None, &[]).unwrap(), "host");
        assert_eq!(decide(Some("a"), &[]).unwrap(), "a");
        assert_eq!(decide(None, &["old"]).unwrap(), "old", "the host may be called otherwise now");
        assert_eq!(decide(Some("old"), &["old"]).unwrap(), "old");
        assert!(decide(Some("new"), &["old"]).unwrap_err().contains("is called old, not new"));
        assert_eq!(decide(None, &["a", "host"]).unwrap(), "host");
        assert!(decide(None, &["a", "b"]).unwrap_err().contains("--node-name a"));
        assert!(NodeName::check("A_b").is_err() && NodeName::check("node-1.x").is_ok());
        assert!(is_ours(br#"{"status":{"nodeInfo":{"containerRuntimeVersion":"mainstay://process"}}}"#));
        assert!(!is_ours(br#"{"metadata":{"name":"by-hand"}}"#) && !is_ours(b"{"));
    }
}
