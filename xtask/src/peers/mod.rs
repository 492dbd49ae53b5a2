//! `cargo xtask peers`: Mainstay and a real kube-proxy on nodes of the same shape in, how both did out.
//!
//! Both are fed by the same API server: Mainstay's own, and in the part `cluster` a real kube-apiserver over etcd. Rounds
//! alternate between the two, every round has namespaces that nobody has touched, and processes are pinned. What is
//! missing (kube-proxy, Go, nft, root) is an error: no part is left out unless `--only` or `--side` says so.
//!
//! * cold: from the start of the proxy's process to its last rule; afterwards every Service is counted in the kernel.
//! * connect: `mainstay bench between`, through the cluster IP and the node port and directly.
//! * change: `mainstay bench follow`, from the request that moves an endpoint to the first packet that reaches it.
//! * memory: proportional set size of the proxy after a rest.
//! * takeover: connections while one proxy takes a node over from the other and gives it back.

mod api;
mod behaviour;
mod ground;
mod process;
mod report;
mod rounds;
mod side;
mod sources;
mod takeover;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use api::Api;
use ground::Ground;
use rounds::{Size, Work};
use side::{Programs, SIDES, Side};
use sources::Peers;

/// Services of each measurement of speed, with four endpoints each.
const SIZES: [usize; 2] = [10, 10_000];
const ENDPOINTS: usize = 4;
/// Services and endpoints of each measurement of memory.
const MEMORY: [(usize, usize); 2] = [(10_000, 10), (30_000, 4)];
/// Services that the real API server is given.
const CLUSTER: usize = 1_000;
/// Services during a take-over.
const TAKEOVER: usize = 1_000;
const PARTS: [&str; 4] = ["speed", "memory", "takeover", "cluster"];

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    binary: Option<PathBuf>,
    node: Option<PathBuf>,
    peers: PathBuf,
    services: Vec<usize>,
    rounds: usize,
    json: Option<PathBuf>,
    only: Option<String>,
    side: Option<String>,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let cache = std::env::var_os("HOME").map_or_else(std::env::temp_dir, |home| PathBuf::from(home).join(".cache"));
        let peers = cache.join("mainstay-peers");
        let mut options = Self {
            binary: None,
            node: None,
            peers,
            services: SIZES.to_vec(),
            rounds: 3,
            json: None,
            only: None,
            side: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--binary" => options.binary = Some(value()?.into()),
                "--node" => options.node = Some(value()?.into()),
                "--peers-dir" => options.peers = value()?.into(),
                "--services" => options.services = numbers(value()?)?,
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--json" => options.json = Some(value()?.into()),
                "--only" => options.only = Some(value()?.clone()),
                "--side" => options.side = Some(value()?.clone()),
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        if options.rounds == 0 {
            bail!("--rounds must be at least 1");
        }
        if let Some(only) = options.only.as_deref().filter(|only| !PARTS.contains(only)) {
            bail!("there is no part {only:?}; there are {}", PARTS.join(", "));
        }
        Ok(options)
    }

    /// Both, or the one that was asked for.
    fn sides(&self) -> Result<Vec<Side>> {
        let Some(name) = &self.side else { return Ok(SIDES.into()) };
        let side = SIDES.into_iter().find(|side| side.name() == name.as_str());
        Ok(vec![side.with_context(|| format!("there is no side {name:?}; there are kube_proxy and mainstay"))?])
    }

    fn has(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn numbers(text: &str) -> Result<Vec<usize>> {
    let numbers = text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
    numbers.context("--services takes numbers with commas between them, for example 10,10000")
}

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => crate::bench::build()?,
    };
    let peers = Peers::find_or_build(&std::path::absolute(&options.peers)?)?;
    let sides = options.sides()?;
    let node = options.node.clone().unwrap_or_else(|| binary.clone());
    let programs = Programs { binary: &binary, node: &node, peers: &peers, sides };
    let ground = Ground::make()?;
    let mut figures = report::head(&programs)?;
    let mut note = |part: &str, value: Value| -> Result<()> {
        figures[part] = value;
        // What was measured stays, whatever happens to the rest.
        options.json.as_ref().map_or(Ok(()), |path| {
            std::fs::write(path, format!("{figures:#}\n")).with_context(|| format!("cannot write {}", path.display()))
        })
    };
    if options.has("speed") {
        let mut all = Vec::new();
        for services in options.services.iter().copied() {
            let api = Api::ours(&ground, &binary, services, ENDPOINTS)?;
            let size = Size { services, endpoints: ENDPOINTS };
            all.push(rounds::measure(&programs, &ground, &api, size, options.rounds, Work::Speed)?);
            note("speed", json!(all))?;
        }
    }
    if options.has("memory") {
        let mut all = Vec::new();
        for (services, endpoints) in MEMORY {
            let api = Api::ours(&ground, &binary, services, endpoints)?;
            all.push(rounds::measure(&programs, &ground, &api, Size { services, endpoints }, 1, Work::Memory)?);
            note("memory", json!(all))?;
        }
    }
    if options.has("takeover") {
        let api = Api::ours(&ground, &binary, TAKEOVER, ENDPOINTS)?;
        note("takeover", takeover::run(&programs, &ground, &api)?)?;
    }
    if options.has("cluster") {
        let api = Api::real(&ground, &peers, &binary, CLUSTER, ENDPOINTS)?;
        let size = Size { services: CLUSTER, endpoints: ENDPOINTS };
        let mut measured = rounds::measure(&programs, &ground, &api, size, options.rounds, Work::Speed)?;
        measured["behaviour"] = behaviour::compare(&programs, &ground, &api)?;
        note("cluster", measured)?;
    }
    print!("{}", report::markdown(&figures));
    Ok(())
}
