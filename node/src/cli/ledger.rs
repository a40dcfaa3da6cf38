//! wip
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Verify,
}
pub(super) fn run(_: Command, _: crate::output::Output) -> Result<(), crate::output::Failure> {
    Ok(())
}
