//! The one binary: `warifu`.

use std::process::ExitCode;

fn main() -> ExitCode {
    warifu_node::cli::main()
}
