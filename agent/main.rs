//! The program: the command line, and what it starts.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("nodetriage: {line}");
            }
            ExitCode::from(cli::COULD_NOT)
        }
    }
}
