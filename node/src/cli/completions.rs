//! `warifu completions`: completions for a shell, and the manual page, made from the command's own
//! definition, so that they can't lag behind it.

use std::io::{self, Write};

use clap::ValueEnum;
use clap_complete::Shell;

use crate::output::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell, or the manual page (roff).
    #[arg(value_enum)]
    form: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    Man,
}

impl Form {
    const fn shell(self) -> Option<Shell> {
        match self {
            Form::Bash => Some(Shell::Bash),
            Form::Elvish => Some(Shell::Elvish),
            Form::Fish => Some(Shell::Fish),
            Form::Powershell => Some(Shell::PowerShell),
            Form::Zsh => Some(Shell::Zsh),
            Form::Man => None,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = super::definition();
    let mut text = Vec::new();
    match args.form.shell() {
        Some(shell) => clap_complete::generate(shell, &mut command, "warifu", &mut text),
        None => manual(command, &mut text).map_err(gone)?,
    }
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&text)
        .and_then(|()| stdout.flush())
        .map_err(gone)
}

/// The page of the command, followed by one for each of its commands: `man -l` shows them in a row.
fn manual(mut command: clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    command.build();
    clap_mangen::Man::new(command.clone()).render(text)?;
    for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
        if part.get_name() != "help" {
            clap_mangen::Man::new(part.clone()).render(text)?;
        }
    }
    Ok(())
}

fn gone(error: io::Error) -> Failure {
    Failure::new(Exit::Io, format!("could not write to stdout: {error}"))
}
