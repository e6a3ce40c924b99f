//! `completions` and `man`, made from the same declarations as the help.

use std::io::Write;
use std::path::PathBuf;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// A folder for the pages of all commands; left out, the main page is printed
    pub dir: Option<PathBuf>,
}

/// Prints a completion script.
///
/// # Errors
/// If it cannot be written.
pub fn completions(args: &CompletionArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::declaration(), "hivemind-host", &mut script);
    out.write_all(&script)?;
    Ok(())
}

/// Prints the manual page, or writes all of them.
///
/// # Errors
/// If they cannot be written.
pub fn man(args: &ManArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::declaration()).render(&mut page)?;
        out.write_all(&page)?;
        return Ok(());
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::declaration(), dir))
        .map_err(|e| Failure::new(Exit::Failed, "output", format!("cannot write the manual pages to {}: {e}", dir.display())))
}
