//! The command line: one binary, roles as subcommands.

use std::net::TcpListener;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use strum::IntoEnumIterator;
use tokio_util::sync::CancellationToken;

use crate::payments::ProviderKind;
use crate::platform::config::Config;
use crate::platform::{App, telemetry};
use crate::{audit, dev, lots, server, worker};

/// Every database change, in order.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The most bytes of a sandbox's books that are read: those of some 400,000 payments.
const BOOKS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// iParking: find, hold, park and pay for a parking space in Hanoi.
#[derive(Debug, Parser)]
#[command(name = "iparking", version, about)]
pub struct Cli {
    /// Settings file (TOML); the environment overrides it.
    #[arg(long, global = true, env = "IPARKING_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serve the API.
    Server,
    /// Do background work.
    Worker,
    /// Bring the database up to date.
    Migrate,
    /// Enter the real lots, their zones and the printed tariffs; what is there already stays.
    Seed,
    /// Everything on this machine: private PostgreSQL and Redis, API, worker, sandbox.
    Dev(dev::Options),
    /// Check the books and every invariant; exit code 1 when something is wrong.
    Audit(AuditArguments),
    /// Settings.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, clap::Args)]
struct AuditArguments {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Compare with the books of a sandbox at this address, as well.
    #[arg(long, env = "IPARKING_SANDBOX_URL")]
    sandbox: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check all settings and say everything that is wrong.
    Check,
}

/// Runs the command line.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let quiet = matches!(cli.role, Role::Dev(_));
    telemetry::start(if quiet { "error" } else { "info,sqlx=warn" });
    let load = || Config::load(cli.config.as_deref());
    match cli.role {
        Role::Server => serve(App::connect(load()?)?).await,
        Role::Worker => worker::run(App::connect(load()?)?, stop_on_signal()).await,
        Role::Migrate => migrate(&App::connect(load()?)?).await,
        Role::Seed => {
            let added = lots::seed::seed(&App::connect(load()?)?).await?;
            tracing::info!(added, "lots seeded");
            Ok(())
        }
        Role::Dev(options) => dev::run(options).await,
        Role::Audit(arguments) => {
            dev::borrow_settings()?;
            audit(&App::connect(load()?)?, &arguments).await
        }
        Role::Config(ConfigCommand::Check) => {
            load()?;
            Ok(())
        }
    }
}

/// Applies what is missing. Safe to run from several processes at once (advisory lock).
pub async fn migrate(app: &App) -> anyhow::Result<()> {
    MIGRATIONS.run(app.db().pool()).await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
async fn audit(app: &App, arguments: &AuditArguments) -> anyhow::Result<()> {
    let mut report = audit::database(app).await?;
    if let Some(sandbox) = &arguments.sandbox {
        for provider in ProviderKind::iter() {
            let name: &str = provider.into();
            let url = format!("{sandbox}/control/books/{name}");
            let answer = app.outbound().get("audit.books", &url, BOOKS_BYTES_MAX).await?;
            let books = serde_json::from_slice(&answer.body)?;
            audit::outside::provider(app, name, &books, &mut report).await?;
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for found in &report.breaks {
            println!("{}  {}: {}", found.invariant, found.demands, found.found);
        }
        println!("{} invariants checked, {} breaks", report.checked, report.breaks.len());
    }
    anyhow::ensure!(report.is_clean(), "the audit found breaks");
    Ok(())
}

async fn serve(app: App) -> anyhow::Result<()> {
    let settings = app.config().server.clone();
    let listener = TcpListener::bind(&settings.bind)?;
    let metrics_listener = TcpListener::bind(&settings.metrics_bind)?;
    let parts = server::Parts::start(app).await?;
    tracing::info!(address = %settings.bind, "serving");
    server::run(parts, listener, metrics_listener, stop_on_signal()).await
}

/// A token that is cancelled by Ctrl-C or SIGTERM.
pub fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        let terminated = async {
            match terminate.as_mut() {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated => {}
        }
        on_signal.cancel();
    });
    stop
}
