//! `cargo xtask chaos`: programs to kill at random in, a count of every connection that failed meanwhile out.
//!
//! In two network namespaces that it makes (a host and its LAN) an instance in host mode serves three echo pods. Clients on
//! the host, in a pod and in the LAN open connections without pause and keep others, while server, holder or both are
//! killed, also while they start, and are started again from one of two builds.

mod load;
mod report;
mod server;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use load::Loads;
use report::{Kills, Report};
use server::Server;
use world::World;

/// Pods, their Services and a client among them. The addresses are those that the clients are told.
const MANIFEST: &str = include_str!("pods.yaml");
/// ClusterIP and NodePort of [`MANIFEST`].
const CLUSTER_IP: &str = "10.96.77.7:80";
const NODE_PORT: u16 = 30_007;

/// What the chore was told.
#[derive(Debug)]
pub(crate) struct Options {
    rounds: u32,
    rate: u32,
    kept: u32,
    seed: u64,
    binary: Option<PathBuf>,
    upgrade_to: Option<PathBuf>,
    json: bool,
    /// Kill nobody: what the same load meets on a quiet instance.
    calm: bool,
    host_flags: Vec<String>,
}

impl Options {
    /// Reads the arguments after the chore's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            rounds: 100,
            rate: 2000,
            kept: 200,
            seed: u64::from(std::process::id()) | 1,
            binary: None,
            upgrade_to: None,
            json: false,
            calm: false,
            host_flags: vec!["--host".to_owned(), "--yes".to_owned()],
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            let number = |text: &String| text.parse().with_context(|| format!("{argument} takes a number"));
            match argument.as_str() {
                "--rounds" => options.rounds = number(value()?)?,
                "--rate" => options.rate = number(value()?)?,
                "--kept" => options.kept = number(value()?)?,
                "--seed" => options.seed = u64::from(number(value()?)?) | 1,
                "--binary" => options.binary = Some(value()?.into()),
                "--upgrade-to" => options.upgrade_to = Some(value()?.into()),
                "--host-flags" => options.host_flags = value()?.split(' ').map(str::to_owned).collect(),
                "--json" => options.json = true,
                "--calm" => options.calm = true,
                other => bail!("unknown argument {other:?}.\nType: {}", crate::USAGE),
            }
        }
        Ok(options)
    }

    /// The builds that are started in turns.
    fn builds(&self) -> Result<Vec<PathBuf>> {
        let first = match &self.binary {
            Some(binary) => binary.clone(),
            None => crate::bench::build()?,
        };
        let all = std::iter::once(&first).chain(&self.upgrade_to);
        all.map(|path| path.canonicalize().with_context(|| format!("there is no {}", path.display()))).collect()
    }
}

/// Plays all rounds and prints what was counted; an error if a connection failed or a pod was started again.
pub(crate) fn run(options: &Options) -> Result<()> {
    let builds = options.builds()?;
    let world = World::make()?;
    let mut server = Server::new(&world, &options.host_flags);
    server.start(&builds[0])?;
    server.ready()?;
    prepare(&server, options)?;
    let before = server.pods()?;
    let loads = Loads::start(&world, &builds[0], options)?;
    let mut random = Random(options.seed);
    let mut kills = Kills::default();
    for round in 1..=options.rounds {
        std::thread::sleep(random.milliseconds(100, 900));
        if options.calm {
            continue;
        }
        let what = play(&mut server, &builds, &mut random, &mut kills)
            .with_context(|| format!("round {round}; the server said:\n{}", server.log_tail()))?;
        eprintln!("xtask: round {round}: {what}");
    }
    let loads = loads.finish(&server)?;
    let after = server.pods()?;
    let report = Report { rounds: options.rounds, seed: options.seed, kills, loads, before, after };
    server.down(&builds[0])?;
    println!("{}", if options.json { report.json() } else { report.table() });
    report.verdict()
}

fn prepare(server: &Server<'_>, options: &Options) -> Result<()> {
    let manifest = MANIFEST.replace("RATE", &(options.rate / 3).max(1).to_string());
    server.apply(&manifest)?;
    server.kubectl(&["wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s"])?;
    server.kubectl(&["wait", "--for=condition=Programmed", "service/echo", "--timeout=60s"])?;
    Ok(())
}

/// One round: somebody is killed, and everything runs again before the next one.
fn play(server: &mut Server<'_>, builds: &[PathBuf], random: &mut Random, kills: &mut Kills) -> Result<&'static str> {
    let build = |random: &mut Random| -> &Path { &builds[random.below(builds.len() as u64) as usize] };
    let what = match random.below(4) {
        0 => {
            kills.holder += 1;
            server.kill_holder()?;
            server.holder_again()?;
            return Ok("the holder");
        }
        1 => {
            kills.both += 1;
            if random.below(2) == 0 {
                server.kill_holder()?;
                server.kill()?;
            } else {
                server.kill()?;
                server.kill_holder()?;
            }
            "the server and the holder"
        }
        _ => {
            kills.server += 1;
            server.kill()?;
            "the server"
        }
    };
    while random.below(3) == 0 {
        server.start(build(random))?;
        std::thread::sleep(random.milliseconds(0, 400));
        kills.starting += 1;
        if random.below(3) == 0 {
            server.kill_holder()?;
        }
        server.kill()?;
    }
    let next = build(random);
    kills.other_build += u32::from(next != server.build());
    server.start(next)?;
    server.ready()?;
    Ok(what)
}

/// A xorshift generator: the same seed plays the same rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }
}
