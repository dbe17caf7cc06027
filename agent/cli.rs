//! The command line: what can be asked, and how it is answered.
//!
//! Exit status: 0 nothing above info, 1 warnings, 2 critical, 3 it could not do its job; usage errors as clap has them.

mod args;
mod log;
mod logs;
mod output;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use nodetriage::checks;
use nodetriage::config::{self, Config, Loaded};
use nodetriage::diagnose::diagnose;
use nodetriage::facts::{self, Facts};
use nodetriage::observe::{self, host::Host};
use nodetriage::publish;

pub use args::Cli;
use args::{Command, ListOutput, Look, Output, Settings, Show};

/// The exit status when no answer could be given.
pub const COULD_NOT: u8 = 3;
/// Facts of the largest node are a few hundred kilobytes.
const FACTS_LIMIT: u64 = 64 << 20;

/// Does what was asked; the exit status.
///
/// # Errors
/// Why there is no answer.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command.unwrap_or(Command::Check(cli.check)) {
        Command::Check(check) => {
            let loaded = load(&check.look.settings)?;
            let facts = look(&check.look, &loaded)?;
            print(&facts, &loaded.config, &check.show)
        }
        Command::Serve(settings) => serve(&settings.all()),
        Command::Observe(look_at) => {
            let loaded = load(&look_at.settings)?;
            output::put(&json(&look(&look_at, &loaded)?)?)?;
            Ok(0)
        }
        Command::Diagnose { facts, config, at, show } => {
            let loaded = load(&Settings::file(config))?;
            let mut facts = read_facts(&facts)?;
            facts.certificates_at = at.map_or(facts.certificates_at, |at| at.after(facts.now));
            print(&facts, &loaded.config, &show)
        }
        Command::Logs(args) => logs::run(&args, &open(&load(&args.settings)?.config)?),
        Command::Explain { code } => explain(&code),
        Command::List { output } => list(output),
        Command::Config(settings) => {
            output::put(&load(&settings.all())?.to_yaml())?;
            Ok(0)
        }
    }
}

fn serve(settings: &Settings) -> anyhow::Result<u8> {
    let loaded = config::load(&settings.sources(config::environment())?)?;
    log::start(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    nodetriage::daemon::serve(open(&loaded.config)?, loaded.config)?;
    Ok(0)
}

fn load(settings: &Settings) -> anyhow::Result<Loaded> {
    let loaded = config::load(&settings.sources(config::environment())?)?;
    for warning in &loaded.warnings {
        eprintln!("nodetriage: {warning}");
    }
    Ok(loaded)
}

fn open(config: &Config) -> anyhow::Result<Host> {
    Host::open(&config.root).with_context(|| format!("cannot open the root {}", config.root.display()))
}

fn look(args: &Look, loaded: &Loaded) -> anyhow::Result<Facts> {
    let host = open(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut facts = runtime.block_on(observe::round(&host, &loaded.config, &checks::signals()));
    // Not dropped: that would wait for a look that hangs.
    runtime.shutdown_background();
    facts.certificates_at = args.at.map_or(facts.now, |at| at.after(facts.now));
    Ok(facts)
}

fn read_facts(path: &Path) -> anyhow::Result<Facts> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    let (name, input): (_, Box<dyn std::io::Read>) = if path == Path::new("-") {
        ("stdin".to_owned(), Box::new(std::io::stdin()))
    } else {
        (path.display().to_string(), Box::new(std::fs::File::open(path).with_context(|| path.display().to_string())?))
    };
    let mut bytes = Vec::new();
    input.take(FACTS_LIMIT + 1).read_to_end(&mut bytes).with_context(|| name.clone())?;
    if bytes.len() as u64 > FACTS_LIMIT {
        bail!("{name}: longer than {} MiB, which facts never are", FACTS_LIMIT >> 20);
    }
    let not_facts = || format!("{name}: not what nodetriage observe prints");
    let Version { schema } = serde_json::from_slice(&bytes).with_context(not_facts)?;
    if schema != facts::SCHEMA {
        bail!("{name}: facts of schema {schema}, and this nodetriage reads schema {}: diagnose them with the release that observed them", facts::SCHEMA);
    }
    serde_json::from_slice(&bytes).with_context(not_facts)
}

/// The exit status is the whole node's, whatever `--severity` leaves out.
fn print(facts: &Facts, config: &Config, show: &Show) -> anyhow::Result<u8> {
    let report = diagnose(facts, config);
    let code = report.exit_code();
    let least = show.severity.into();
    let text = match show.output {
        Output::Text => publish::text::render(&report, facts, least, output::style(show.color).verbose(show.verbose)),
        Output::Json => json(&publish::at_least(&report, least))?,
        Output::Prometheus => publish::metrics::render(&publish::at_least(&report, least), facts, config.certificates.x509_names),
    };
    output::put(&text)?;
    Ok(code)
}

fn explain(code: &str) -> anyhow::Result<u8> {
    let Some(check) = checks::get(code) else {
        match config::nearest(code, checks::ALL.iter().map(|check| check.code)) {
            Some(near) => bail!("no finding has the code {code:?}; did you mean {near}?"),
            None => bail!("no finding has the code {code:?}; nodetriage list prints them all"),
        }
    };
    output::put(check.article)?;
    Ok(0)
}

fn list(output: ListOutput) -> anyhow::Result<u8> {
    let text = match output {
        ListOutput::Json => json(&publish::catalogue())?,
        ListOutput::Text => {
            let width = checks::ALL.iter().map(|check| check.code.len()).max().unwrap_or_default();
            checks::ALL.iter().map(|check| format!("{:width$}  {:8}  {}\n", check.code, check.severity.name(), check.title)).collect()
        }
    };
    output::put(&text)?;
    Ok(0)
}

fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
