//! `mainstay dump`: what a stage holds, as text: kernel rules and data, counters and flows, the DNS zone.

use std::net::IpAddr;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use compile::nft::text;
use dataplane::nft::Nft;

use super::InstanceFlags;
use super::demo::Kernel;
use crate::exit::Exit;

/// Flags of `mainstay dump`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// What to print
    #[arg(value_enum)]
    stage: Stage,
    #[command(flatten)]
    instance: InstanceFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Rules and data in the node's kernel
    Nft,
    /// The DNS zone
    Zone,
    /// Counters and flows of the kernel of this network (run it with `mainstay exec`)
    Kernel,
    /// Rules and data of the kernel of this network (run it with `mainstay exec`)
    Here,
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    match flags.stage {
        Stage::Kernel => println!("{}", serde_json::to_string(&kernel()?)?),
        Stage::Here => print!("{}", crate::run::nft::dump()?),
        Stage::Zone => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let answer = runtime.block_on(async { flags.instance.client()?.get("/mainstay/zone").await?.ok() })?;
            print!("{}", answer["text"].as_str().unwrap_or_default());
        }
        Stage::Nft => {
            let program = std::env::current_exe().context("cannot find this program's own path")?;
            let data_dir = flags.instance.data_dir()?;
            let mut command = std::process::Command::new(&program);
            command.args(["exec", "--data-dir"]).arg(data_dir.path()).arg("--").arg(&program).args(["dump", "here"]);
            let status =
                command.status().with_context(|| format!("cannot start {}.\nIs it executable?", program.display()))?;
            if status.code() == Some(i32::from(Exit::Unreachable as u8)) {
                return Err(
                    Exit::Unreachable.error("there is nothing to dump: nothing runs.\nSee what runs: mainstay ls")
                );
            }
            anyhow::ensure!(
                status.success(),
                "the dump in the node's network ended with {status}: see above.\nTry it there: mainstay exec{} -- mainstay dump here",
                super::hint::same()
            );
        }
    }
    Ok(())
}

/// Reads counters and flows of the calling thread's network namespace.
fn kernel() -> Result<Kernel> {
    let mut nft = Nft::open()?;
    let counters = nft.counters()?;
    let mut kernel = Kernel::default();
    for (group, counts) in [("front", &counters.frontends), ("endpoint", &counters.endpoints)] {
        for ((set, key), count) in counts {
            kernel.counters.insert(format!("{group} {}", text::place(*set, key)), count.packets);
        }
    }
    for flow in nft.flows()?.into_iter().filter(kernel_flow) {
        let (original, reply) = (&flow.original, &flow.reply);
        kernel.flows.push(format!(
            "{} -> {} => {}",
            socket(original.source, original.source_port),
            socket(original.destination, original.destination_port),
            socket(reply.source, reply.source_port)
        ));
    }
    Ok(kernel)
}

fn kernel_flow(flow: &kernel::nl::conntrack::Flow) -> bool {
    flow.destination_translated()
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
