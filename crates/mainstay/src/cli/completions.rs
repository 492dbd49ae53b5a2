//! `mainstay completions SHELL`: the command line as data in, a script that completes it out.

use clap::{Args, CommandFactory, ValueEnum};

use super::Cli;

/// Flags of `mainstay completions`.
#[derive(Args, Debug)]
#[command(after_help = "For example, for this shell only: source <(mainstay completions bash)")]
pub(crate) struct Flags {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) {
    print!("{}", script(flags.shell));
}

fn script(shell: Shell) -> String {
    let mut command = Cli::command();
    let mut script = Vec::new();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    clap_complete::generate(shell, &mut command, "mainstay", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Shell, script};

    #[test]
    fn every_shell_knows_every_visible_subcommand() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let script = script(shell);
            for word in ["explain", "completions", "sandbox", "version"] {
                assert!(script.contains(word), "{shell:?} does not know {word}");
            }
        }
    }
}
