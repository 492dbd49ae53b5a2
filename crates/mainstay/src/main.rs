//! The binary: one process role or subcommand per start, chosen before any thread exists.

#[macro_use]
mod out;

mod cli;
mod config;
mod exit;
mod guest;
mod host;
mod instance;
mod instances;
mod keep;
mod kubeconfig;
mod manifest;
mod messages;
mod pools;
mod run;

use std::process::ExitCode;

use cli::{Cli, Command};
use exit::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    // Inside a pod this program is an image or an applet, and beside the pods it is their holder: neither is a subcommand.
    if arguments.get(1).is_some_and(|role| role == pods::holder::ROLE) {
        pods::holder::main(&arguments[2..]);
    }
    if let Some(role) = guest::role(&arguments) {
        guest::run(&role);
    }
    if arguments.first().is_some_and(|name| name.rsplit('/').next() == Some("load")) {
        arguments.insert(1, "load".to_owned());
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let cli = match cli::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version come this way, too.
            let printed = error.print();
            if error.use_stderr() {
                return Exit::Usage.into();
            }
            printed.unwrap_or_else(out::lose);
            return out::end(Exit::Fine.into());
        }
    };
    out::end(dispatch(cli).unwrap_or_else(|error| {
        eprintln!("mainstay: {}", told(&error));
        exit::code(&error).into()
    }))
}

/// What the user reads: the report, with the code of a common error at the end of its first line.
fn told(error: &anyhow::Error) -> String {
    let report = report(error);
    let Some(common) = messages::of(error) else { return report };
    let (first, rest) =
        report.split_once('\n').map_or((report.as_str(), String::new()), |(first, rest)| (first, format!("\n{rest}")));
    format!("{first} [{}]{rest}", common.id)
}

/// One line that says what failed and why, then the lines that say what to type next. A cause that its effect quotes
/// already is not said twice.
fn report(error: &anyhow::Error) -> String {
    let (mut what, mut next) = (String::new(), String::new());
    for cause in error.chain() {
        let text = cause.to_string();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        if what.is_empty() {
            first.clone_into(&mut what);
        } else if !what.contains(first.trim_end_matches('.')) {
            what = format!("{}: {first}", what.trim_end_matches('.'));
        }
        if !rest.is_empty() {
            next = format!("{next}\n{rest}");
        }
    }
    what + &next
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(flags) => return Ok(cli::up::run(&flags)?.into()),
        Command::Node(flags) => return Ok(cli::node::run(&flags)?.into()),
        Command::Down(flags) => return Ok(cli::down::run(&flags)?.into()),
        Command::Load(flags) => cli::load::run(&flags)?,
        Command::Bench(flags) => cli::bench::run(&flags)?,
        Command::Dump(flags) => cli::dump::run(&flags)?,
        Command::Ls(flags) => cli::ls::run(&flags)?,
        Command::Status(flags) => return client(cli::status::run(&flags)),
        Command::Open(flags) => return client(cli::open::run(&flags)),
        Command::Trace(flags) => client(cli::trace::run(&flags))?,
        Command::Explain(flags) => return client(cli::explain::run(&flags)),
        Command::Doctor(flags) => return client(cli::doctor::run(&flags)),
        Command::Store(flags) => return client(cli::store::run(&flags)),
        Command::Image(flags) => client(cli::image::run(&flags))?,
        Command::Apply(flags) => cli::apply::run(&flags)?,
        Command::Wait(flags) => return Ok(client(cli::wait::run(&flags))?.into()),
        Command::Logs(flags) => client(cli::logs::run(&flags))?,
        Command::Exec(flags) => {
            let code = client(cli::exec::run(&flags))?;
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        Command::Version(flags) => cli::version::run(&flags)?,
        Command::Completions(flags) => cli::completions::run(&flags),
        Command::Man(flags) => cli::man::run(&flags)?,
        Command::Demo(flags) => return client(cli::demo::run(&flags)),
    }
    Ok(Exit::Fine.into())
}

/// Runs a subcommand that only talks to an instance. What it leaves behind (a read of a terminal that nobody types on) is
/// not waited for.
fn client<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(future);
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn errors_say_what_why_and_then_what_to_type() {
        let cause = || std::io::Error::other("refused");
        let said = Err::<(), _>(cause()).context("cannot reach it.\nTry: mainstay status").unwrap_err();
        assert_eq!(super::report(&said), "cannot reach it: refused\nTry: mainstay status");
        let quoted = Err::<(), _>(cause()).context("create /x: refused").context("no directory.\nType: y").unwrap_err();
        assert_eq!(super::report(&quoted), "no directory: create /x: refused\nType: y");
        assert_eq!(super::report(&anyhow::anyhow!("a.\nb")), "a.\nb");
    }
}
