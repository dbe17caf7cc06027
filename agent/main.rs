//! The program: the command line, and what it starts.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Private keys pass through this process: it leaves no core, and nobody but root looks into it. Its own /proc/self/fd, which
    // watches and sockets below the node's root are reached by, stays open to it without any privilege (Linux fs/proc/fd.c
    // proc_fd_permission). Where the kernel will not have it, that is no reason not to work.
    let _ = nix::sys::prctl::set_dumpable(false);
    match cli::run(cli::Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("nodetriage: {line}");
            }
            ExitCode::from(cli::COULD_NOT)
        }
    }
}
