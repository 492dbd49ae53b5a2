//! A port of a cluster address in, a port of this host that leads there while somebody wants it out.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::super::client::Client;
use super::super::explain::Target;
use super::place::{self, At, Port};
use super::url;

/// How often the server is asked again; it closes the port when it has not been asked for three times as long.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks the server to open the port, or to keep it open.
pub(super) async fn ask(client: &Client, target: &Target, port: &Port) -> Result<At> {
    let answer = client.post("/mainstay/published", &question(target, port)).await?;
    let row = answer.ok().with_context(|| {
        format!(
            "cannot open a port for {}/{}.\nStart the server without --publish=off, or type: {}",
            target.namespace,
            target.name,
            place::forward(target, port)
        )
    })?;
    At::of(&row).context("the server opened a port and did not say where")
}

/// Keeps the port open until Ctrl-C or SIGTERM, then closes it.
pub(super) async fn keep(client: &Client, target: &Target, port: &Port, at: At) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut shown = at;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(AGAIN) => {
                let now = ask(client, target, port).await?;
                if now != shown {
                    println!("{}", url::of(&now.host(), now.port(), Some(port)).text);
                    shown = now;
                }
            }
        }
    }
    client.delete("/mainstay/published", &question(target, port)).await?.ok()?;
    Ok(())
}

fn question(target: &Target, port: &Port) -> Value {
    let named = if port.name.is_empty() { port.number.to_string() } else { port.name.clone() };
    json!({ "namespace": target.namespace, "name": target.name, "port": named })
}
