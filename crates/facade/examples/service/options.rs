//! The command line.

use std::num::NonZeroUsize;

use clap::Parser;

/// Counts the words of the lines that it is sent over TCP, until Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    name = "service",
    after_help = "Exit codes: 0 stopped as asked; 1 something had to be aborted; 2 something failed; 130 interrupted twice."
)]
pub(crate) struct Options {
    /// Where to take lines
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7001")]
    pub(crate) listen: String,

    /// Where to answer probes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7002")]
    pub(crate) probe: String,

    /// How many lines may wait to be counted; beyond that, whoever sends them waits
    #[arg(long, value_name = "N", default_value = "1024")]
    pub(crate) queue: NonZeroUsize,

    /// How long to work on each line, beyond counting it
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    pub(crate) work_ms: u64,

    /// How often to say how much was counted
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) tick_seconds: u64,

    /// How long everything together has to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) grace_seconds: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
    }
}
