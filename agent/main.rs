//! The program: the command line, and what it starts.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
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
