//! wip
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_: Args, _: crate::output::Output) -> Result<(), crate::output::Failure> {
    Ok(())
}
