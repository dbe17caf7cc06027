//! The command line.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::{Facts, Timestamp};
use nodetriage::finding::Severity;
use nodetriage::observe::{self, host::Host};
use nodetriage::{checks, publish};

/// Says what is wrong with this Kubernetes node, why, and what to run to fix it.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: Check,
}

#[derive(Subcommand)]
enum Command {
    /// Look once, diagnose, print (the default).
    Check(Check),
    /// Watch, and answer over HTTP.
    Serve(Serve),
    /// Print the facts as JSON.
    Observe(Look),
    /// Diagnose facts that `observe` printed.
    Diagnose {
        #[arg(long)]
        facts: PathBuf,
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Print the article of a finding's code.
    Explain { code: String },
    /// List every finding there is.
    List,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    look: Look,
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Leave out findings below this.
    #[arg(long, value_enum, default_value = "info")]
    severity: Least,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    look: Look,
    #[arg(long, default_value = "127.0.0.1:20258")]
    listen: std::net::SocketAddr,
}

#[derive(Args)]
struct Look {
    /// Where the node's file system is.
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// The node's name in the cluster.
    #[arg(long)]
    node_name: Option<String>,
    /// Judge certificates as of then: RFC 3339, or +30d, +12h, +90m.
    #[arg(long, value_parser = parse_at)]
    at: Option<At>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Least {
    Info,
    Warning,
    Critical,
}

#[derive(Clone, Copy)]
enum At {
    Time(Timestamp),
    In(Duration),
}

fn parse_at(text: &str) -> Result<At, String> {
    if let Some(span) = text.strip_prefix('+') {
        let seconds = match span.chars().last() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err("a duration is a number with d, h, m or s: +30d".to_owned()),
        };
        let number: u64 = span[..span.len() - 1].parse().map_err(|_| "a duration is a whole number with a unit: +30d".to_owned())?;
        return Ok(At::In(Duration::from_secs(number.saturating_mul(seconds))));
    }
    text.parse().map(At::Time).map_err(|_| "neither an RFC 3339 time nor +30d".to_owned())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Serve(serve)) => self::serve(&serve),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let done = runtime.block_on(run(command.unwrap_or(Command::Check(cli.check))));
            runtime.shutdown_background();
            done
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("nodetriage: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn serve(args: &Serve) -> anyhow::Result<u8> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().with_target(false).init();
    let host = Host::open(&args.look.root)?;
    nodetriage::daemon::serve(host, Config { listen: args.listen, node_name: args.look.node_name.clone(), ..Config::default() })?;
    Ok(0)
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(_) => unreachable!("main starts it"),
        Command::Check(check) => print(&look(&check.look).await?, check.output, check.severity),
        Command::Observe(args) => {
            println!("{}", serde_json::to_string_pretty(&look(&args).await?)?);
            Ok(0)
        }
        Command::Diagnose { facts, output } => print(&serde_json::from_slice(&std::fs::read(facts)?)?, output, Least::Info),
        Command::Explain { code } => {
            let check = checks::get(&code).ok_or_else(|| anyhow::anyhow!("no finding has the code {code:?}; nodetriage list prints them all"))?;
            print!("{}", check.article);
            Ok(0)
        }
        Command::List => {
            for check in checks::ALL {
                println!("{:28} {:8} {}", check.code, check.severity.name(), check.title);
            }
            Ok(0)
        }
    }
}

async fn look(args: &Look) -> anyhow::Result<Facts> {
    let host = Host::open(&args.root).map_err(|error| anyhow::anyhow!("cannot open the root {}: {error}", args.root.display()))?;
    let mut facts = observe::round(&host, args.node_name.clone()).await;
    facts.certificates_at = match args.at {
        Some(At::Time(time)) => time,
        Some(At::In(span)) => facts.now.plus(span),
        None => facts.now,
    };
    Ok(facts)
}

fn print(facts: &Facts, output: Output, least: Least) -> anyhow::Result<u8> {
    let least = match least {
        Least::Info => Severity::Info,
        Least::Warning => Severity::Warning,
        Least::Critical => Severity::Critical,
    };
    let mut report = diagnose(facts, &Config::default());
    let code = report.exit_code();
    match output {
        Output::Json => {
            report.findings.retain(|finding| finding.severity >= least);
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        Output::Text => {
            let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            print!("{}", publish::text::render(&report, least, publish::text::Style { color, width: 100 }));
        }
    }
    Ok(code)
}
