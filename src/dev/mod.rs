//! `iparking dev`: everything that the product needs, on one machine, by one command.
//!
//! It starts a private PostgreSQL and Redis as child processes (unless addresses of others are
//! given), migrates, seeds the real lots once, starts API servers, worker and sandbox, and keeps
//! them running until Ctrl-C. All it knows is kept under one folder, so two can run side by side.

mod children;
mod endpoints;
mod layout;
mod logins;
mod postgres;
mod process;
mod redis;
mod secrets;
mod shell;
mod store;
mod supervise;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

pub use self::shell::borrow_settings;

use self::children::Settings;
use self::layout::Layout;
use self::postgres::Postgres;
use self::process::{PidFile, User};
use self::secrets::Secrets;
use self::supervise::{Before, Supervised};

/// What moves a development run; each has a flag and an environment variable.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder of everything that is kept; two runs need two.
    #[arg(long, env = "IPARKING_VAR_DIR", default_value = "var")]
    pub var_dir: PathBuf,
    /// The port of the first API server; others follow it.
    #[arg(long, env = "IPARKING_API_PORT", default_value_t = 8080)]
    pub api_port: u16,
    /// The port of the sandbox: the gateways' and the SMS carrier's side.
    #[arg(long, env = "IPARKING_SANDBOX_PORT", default_value_t = 8090)]
    pub sandbox_port: u16,
    /// How many API servers run on the same data.
    #[arg(long, env = "IPARKING_SERVERS", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=16))]
    pub servers: u16,
    /// `off` turns rate limits off, so that load and races can come from one address.
    #[arg(long, env = "IPARKING_RATE_LIMITS", default_value = "on")]
    pub rate_limits: Switch,
    /// A PostgreSQL to use instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A Redis to use instead of a private one.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// As in production.
    On,
    /// For tests.
    Off,
}

/// Runs everything until Ctrl-C or SIGTERM, then stops it in order.
///
/// # Errors
/// When another run has the folder, a port is taken, or a part does not start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // Registered first: from here on a signal stops in order, whatever is being started.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;

    let user = User::to_lend()?;
    let layout = Layout::take(&options.var_dir, user)?;
    let pids = PidFile::new(layout.dev.join("pids"));
    pids.stop_leftovers().await;

    let mut running = Vec::new();
    let outcome = tokio::select! {
        started = start(&options, &layout, user, &pids, &mut running) => started.map(|()| true),
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
        _ = hangup.recv() => Ok(false),
    };
    if matches!(outcome, Ok(true)) {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
    if !running.is_empty() {
        say("stopping");
    }
    layout::remove_if_there(&layout.dev.join("endpoints.env"))?;
    // In the reverse order of starting: nobody loses what it stands on.
    while let Some(child) = running.pop() {
        child.stop().await;
    }
    outcome.map(|_was_up| say("stopped"))
}

async fn start(
    options: &Options,
    layout: &Layout,
    user: Option<User>,
    pids: &PidFile,
    running: &mut Vec<Supervised>,
) -> anyhow::Result<()> {
    let ports = children::Ports::choose(options)?;
    let database_url = match given(options.database_url.as_ref()) {
        Some(url) => url,
        None => start_postgres(options, layout, user, pids, running).await?,
    };
    let redis_url = if let Some(url) = given(options.redis_url.as_ref()) {
        url
    } else {
        let program = redis::program(layout, user);
        running.push(Supervised::start(program, Before::Nothing, pids));
        let url = redis::url(layout);
        redis::wait_until_up(&url).await?;
        url
    };
    let mut secrets = Secrets::open(layout)?;
    let settings = Settings::new(options, layout, &ports, &mut secrets, &database_url, &redis_url)?;
    settings.write(layout)?;
    let logins = logins::prepare(&settings, &mut secrets).await?;

    for program in settings.programs(layout, &ports)? {
        running.push(Supervised::start(program, Before::Nothing, pids));
    }
    children::wait_until_ready(&ports, running, layout).await?;
    let endpoints = logins.endpoints(&ports);
    endpoints.write(&layout.dev.join("endpoints.env"))?;
    writeln!(std::io::stdout(), "{}", endpoints.banner()).ok();
    Ok(())
}

async fn start_postgres(
    options: &Options,
    layout: &Layout,
    user: Option<User>,
    pids: &PidFile,
    running: &mut Vec<Supervised>,
) -> anyhow::Result<String> {
    let postgres = Postgres::find(layout, user)?;
    postgres.make_data().await?;
    let program = postgres.program(layout, options.servers);
    running.push(Supervised::start(program, Before::Clear(postgres.clone()), pids));
    postgres.make_database().await.context("the private PostgreSQL did not start")?;
    Ok(postgres.url())
}

/// An address that was given; an empty variable gives none.
fn given(url: Option<&String>) -> Option<String> {
    url.filter(|url| !url.is_empty()).cloned()
}

/// Says something to whoever sits at the terminal.
fn say(text: &str) {
    // A closed terminal is no reason to stop.
    writeln!(std::io::stderr(), "iparking dev: {text}").ok();
}
