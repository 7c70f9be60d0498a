//! `aquatint completions`: a script that lets the shell complete our words.

use clap_complete::Shell;

use crate::exit::Result;
use crate::output;

/// Prints the script.
pub(crate) fn run(mut command: clap::Command, shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "aquatint", &mut script);
    output::data(&String::from_utf8_lossy(&script))
}
