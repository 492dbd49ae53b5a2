//! `mainstay store`: check, save, restore and compact what an instance holds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::InstanceFlags;
use super::Output;
use crate::config::DataDir;
use crate::exit::Exit;
use crate::instance::Instance;
use crate::keep::{self, Checked};

/// Flags of `mainstay store`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify every page, object and allocation, on a running or a stopped instance; changes nothing
    #[command(after_help = "Exit codes: 0 fine, 1 error, 2 findings, 3 usage.")]
    Check {
        #[command(flatten)]
        instance: InstanceFlags,
        /// How to print
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Write everything at one revision into a file with a checksum, on a running or a stopped instance
    Save {
        /// The file to write
        file: PathBuf,
        #[command(flatten)]
        instance: InstanceFlags,
        /// Put keys and certificates into it, so that kubeconfigs stay valid after a restore: keep such a file secret
        #[arg(long)]
        with_keys: bool,
    },
    /// Make a stopped instance hold what a save holds; the old store is kept beside the new one
    Restore {
        /// The save
        file: PathBuf,
        #[command(flatten)]
        instance: InstanceFlags,
        /// Replace a store that is there
        #[arg(long)]
        force: bool,
    },
    /// Give the disk back what the store's file holds without need, on a stopped instance
    Compact {
        #[command(flatten)]
        instance: InstanceFlags,
    },
}

/// Runs the subcommand; the exit code of a check says what was found.
pub(crate) async fn run(flags: &Flags) -> Result<ExitCode> {
    match &flags.command {
        Command::Check { instance, output } => check(instance, *output).await,
        Command::Save { file, instance, with_keys } => save(instance, file, *with_keys).await,
        Command::Restore { file, instance, force } => restore(instance, file, *force),
        Command::Compact { instance } => compact(instance),
    }
}

/// Whether a server runs on the directory.
fn runs(data_dir: &DataDir) -> Result<bool> {
    Ok(Instance::read(data_dir)?.is_some_and(|instance| instance.alive()))
}

async fn check(instance: &InstanceFlags, output: Output) -> Result<ExitCode> {
    let data_dir = instance.data_dir()?;
    let checked = if runs(&data_dir)? {
        keep::online::check(&instance.client()?).await?
    } else {
        keep::check_offline(&data_dir)?
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&checked)?),
        Output::Text => print!("{}", page(&checked, &data_dir)),
    }
    Ok(ExitCode::from(if checked.wrong.is_empty() { Exit::Fine } else { Exit::Findings }))
}

fn page(checked: &Checked, data_dir: &DataDir) -> String {
    let total: usize = checked.objects.values().sum();
    let mut out = format!("revision    {}\nobjects     {total}\n", checked.revision);
    for (table, count) in &checked.objects {
        out.push_str(&format!("{count:>9}   {table}\n"));
    }
    if checked.wrong.is_empty() {
        out.push_str("wrong       nothing: every page, object and allocation is as it should be\n");
        return out;
    }
    out.push_str(&format!("wrong       {}\n", checked.wrong.len()));
    checked.wrong.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    let directory = data_dir.path().display();
    out.push_str(&format!(
        "\nDamaged pages: stop the instance and restore a save: mainstay down --data-dir {directory}; mainstay store \
         restore FILE --force --data-dir {directory}\nTwo Services with one address or port: delete one of them and create \
         it again: kubectl get svc NAME -n NAMESPACE -o yaml\n"
    ));
    out
}

async fn save(instance: &InstanceFlags, file: &std::path::Path, keys: bool) -> Result<ExitCode> {
    let data_dir = instance.data_dir()?;
    let place = keep::place(file)?;
    let saved = if runs(&data_dir)? {
        keep::online::save(&instance.client()?, &data_dir, &place, keys).await?
    } else {
        keep::save_offline(&data_dir, &place, keys)?
    };
    let with = if saved.keys { ", with keys: keep it secret" } else { "" };
    println!(
        "saved {} objects at revision {} in {} ({} bytes{with})",
        saved.objects,
        saved.revision,
        file.display(),
        saved.bytes
    );
    Ok(ExitCode::SUCCESS)
}

fn refuse_running(data_dir: &DataDir, what: &str) -> Result<()> {
    if runs(data_dir)? {
        let directory = data_dir.path().display();
        bail!("cannot {what} while a server runs on {directory}.\nStop it first: mainstay down --data-dir {directory}");
    }
    Ok(())
}

fn restore(instance: &InstanceFlags, file: &std::path::Path, force: bool) -> Result<ExitCode> {
    let data_dir = instance.data_dir()?;
    keep::describe(file)?;
    refuse_running(&data_dir, "restore")?;
    let restored = keep::restore(&data_dir, file, force)?;
    println!(
        "restored {} objects of revision {}, saved {} by mainstay {}",
        restored.objects, restored.header.revision, restored.header.time, restored.header.version
    );
    if let Some(kept) = &restored.kept {
        println!("the old store is in {}", kept.display());
    }
    println!("resourceVersions go on above {}: watches from before are answered 410 and list again", restored.revision);
    Ok(ExitCode::SUCCESS)
}

fn compact(instance: &InstanceFlags) -> Result<ExitCode> {
    let data_dir = instance.data_dir()?;
    refuse_running(&data_dir, "compact the store")?;
    keep::format::check(&data_dir)?;
    if !data_dir.store().join(store::log::redb::FILE).exists() {
        bail!("there is no store in {}.\nName the instance's directory: --data-dir DIR", data_dir.path().display());
    }
    let _held = keep::Held::to("compact the store", &data_dir)?;
    let mut log = store::log::redb::RedbLog::open_dir(&data_dir.store())?;
    let (before, after) = log.compact()?;
    println!("{before} bytes before, {after} after");
    Ok(ExitCode::SUCCESS)
}
