//! `mainstay status`: what runs, where, and how far each sink has applied the store's revisions.

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::InstanceFlags;

/// Flags of `mainstay status`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// Runs the subcommand.
pub(crate) async fn run(flags: &Flags) -> Result<()> {
    let status = flags.instance.client()?.get("/mainstay/status").await?.ok()?;
    if matches!(flags.output, Output::Json) {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    let text = |field: &str| status[field].as_str().unwrap_or("?").to_owned();
    println!("API         {}", text("server"));
    println!("node        {}", text("node"));
    println!("data        {}", text("dataDir"));
    println!("revision    {}", status["revision"]);
    println!("applied     {}  ({})", status["applied"], sinks(&status));
    println!("dataplane   {}", text("dataplane"));
    let count = |field: &str| status["objects"][field].as_u64().unwrap_or(0);
    println!(
        "objects     {} services, {} endpointslices, {} pods",
        count("services"),
        count("endpointslices"),
        count("pods")
    );
    println!("pod limits  {}", text("limits"));
    println!("pod users   {}", text("users"));
    println!("lb pools    {}", pools(&status));
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    println!("problems    {}", if problems.is_empty() { "none".to_owned() } else { problems.len().to_string() });
    problems.iter().filter_map(Value::as_str).for_each(|problem| println!("  {problem}"));
    Ok(())
}

fn pools(status: &Value) -> String {
    let pool = |pool: &Value| {
        let ranges: Vec<&str> = pool["ranges"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{} {} ({} used)", pool["name"].as_str().unwrap_or("?"), ranges.join(", "), pool["used"])
    };
    let pools: Vec<String> = status["pools"].as_array().into_iter().flatten().map(pool).collect();
    if pools.is_empty() { "none: mainstay up --lb-pool RANGE".to_owned() } else { pools.join("; ") }
}

fn sinks(status: &Value) -> String {
    let sinks = status["sinks"].as_object();
    let each: Vec<_> = sinks.into_iter().flatten().map(|(name, revision)| format!("{name} {revision}")).collect();
    each.join(", ")
}
