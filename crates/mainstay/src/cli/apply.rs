//! `mainstay apply`: files, folders, URLs or standard input in, objects applied by the server and a line for each out.

use anyhow::{Context, Result};
use clap::Args;

use super::InstanceFlags;
use super::client::{Answer, Client};
use crate::manifest::{self, Manifest};
use crate::{exit, messages};

/// Flags of `mainstay apply`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    #[command(flatten)]
    sources: Sources,
    /// Namespace of objects that name none [default: default]; objects of another one are refused
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Where manifests come from.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sources {
    /// A file of manifests (YAML or JSON), a folder of them, an http(s) URL, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Look into the folders below a folder, too
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let manifests = manifest::read(&flags.sources.files, flags.sources.recursive, flags.namespace.as_deref())?;
    crate::client(async {
        let client = flags.instance.client()?;
        let mut failures = Vec::new();
        for manifest in &manifests {
            // One object that is refused keeps none of the others back.
            match one(&client, manifest).await {
                Ok(outcome) => println!("{} {outcome}", manifest.resource()),
                Err(error) if exit::code(&error) == exit::Exit::Unreachable => return Err(error),
                Err(error) => failures.push(crate::told(&error)),
            }
        }
        let count = failures.len();
        match failures.pop() {
            None => Ok(()),
            Some(last) => {
                failures.iter().for_each(|failure| eprintln!("mainstay: {failure}"));
                Err(anyhow::anyhow!(last).context(format!("{count} of {} objects were not applied", manifests.len())))
            }
        }
    })
}

/// What to type after a refusal.
fn next(manifest: &Manifest, answer: &Answer) -> String {
    match answer.body["details"]["name"].as_str() {
        Some(namespace) if answer.code == 404 && answer.body["details"]["kind"] == "namespaces" => {
            format!("Make the namespace first: kubectl create namespace {namespace}")
        }
        _ => format!("Mend it there, or look at the fields: kubectl explain {}", manifest.kind.singular),
    }
}

/// Applies one object; what came of it: `created`, `configured` or `unchanged`.
pub(crate) async fn one(client: &Client, manifest: &Manifest) -> Result<&'static str> {
    let path = manifest.path()?;
    let before = client.get(&path).await?;
    let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let before = if before.code == 404 { None } else { version(&before.ok()?) };
    let answer = client.apply(&path, &manifest.object).await?;
    for warning in &answer.warnings {
        eprintln!("Warning: {warning}");
    }
    let next = next(manifest, &answer);
    let refused = || format!("{}: {} is refused.\n{next}", manifest.place, manifest.resource());
    let after = answer.ok().with_context(refused).map_err(|error| exit::tag(messages::MS0109, error))?;
    Ok(match before {
        None => "created",
        Some(before) if version(&after).as_ref() == Some(&before) => "unchanged",
        Some(_) => "configured",
    })
}
