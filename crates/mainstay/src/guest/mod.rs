//! What runs inside pods: the built-in images (`mainstay guest ROLE`) and the tools linked in every pod's search path.

mod curl;
mod dig;
mod dns;
mod echo;
mod nc;
mod tar;
mod tls;

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Names under which this executable is linked in pods; `load` is a subcommand of Mainstay itself.
pub(crate) const APPLETS: [&str; 7] = ["curl", "wget", "dig", "nslookup", "nc", "tar", "load"];

/// The role that these arguments ask for, if any: `mainstay guest ROLE ...`, or a link named like an applet.
pub(crate) fn role(argv: &[String]) -> Option<Vec<String>> {
    let name = argv.first()?.rsplit('/').next().unwrap_or_default();
    if APPLETS.contains(&name) && name != "load" {
        return Some(std::iter::once(name.to_owned()).chain(argv[1..].iter().cloned()).collect());
    }
    (argv.get(1).map(String::as_str) == Some("guest")).then(|| argv[2..].to_vec())
}

/// Plays a role to its end.
pub(crate) fn run(role: &[String]) -> ! {
    let (name, arguments) = role.split_first().map_or(("", role), |(name, rest)| (name.as_str(), rest));
    let code = match name {
        "echo" => echo::run(arguments),
        "client" => client(arguments),
        "curl" => curl::run(arguments),
        "wget" => curl::run_as_wget(arguments),
        "dig" => dig::run(arguments),
        "nslookup" => dig::run_as_nslookup(arguments),
        "nc" => nc::run(arguments),
        "tar" => tar::run(arguments),
        other => {
            eprintln!(
                "mainstay guest: there is no {other:?}; there are echo, client, curl, wget, dig, nslookup, nc, tar"
            );
            2
        }
    };
    std::process::exit(code)
}

/// `mainstay/client`: becomes the command that its arguments are; without any it does nothing until SIGTERM, so that
/// commands can be run beside it.
fn client(arguments: &[String]) -> i32 {
    if let Some((program, rest)) = arguments.split_first() {
        use std::os::unix::process::CommandExt;
        return fail(program, &std::process::Command::new(program).args(rest).exec());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("client", &error),
    };
    println!("ready: run commands here with kubectl exec; built in: {}", APPLETS.join(", "));
    rest();
    match runtime.block_on(terminated()) {
        Ok(()) => 0,
        Err(error) => fail("client", &error),
    }
}

/// Gives back the program text that only the start needed: a pod may wait for a long time. Where this is refused, nothing
/// but memory is lost.
fn rest() {
    let _released = kernel::text::release();
}

/// Waits for SIGTERM or SIGINT.
async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn fail(name: &str, error: &dyn std::fmt::Display) -> i32 {
    eprintln!("{name}: {error}");
    1
}

/// Runs the host's program of the same name, for options that ours lacks; only returns if there is none.
fn host_program(name: &str, arguments: &[String], option: &str) -> i32 {
    for directory in ["/usr/local/bin", "/usr/bin", "/bin"] {
        let path = format!("{directory}/{name}");
        if std::path::Path::new(&path).exists() {
            let error = Command::new(&path).args(arguments).exec();
            return fail(&path, &error);
        }
    }
    eprintln!(
        "{name}: option {option} is not built in, and the host has no {name} to pass it to; leave it out or install {name}"
    );
    2
}
