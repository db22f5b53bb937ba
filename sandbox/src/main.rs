//! The sandbox: the payment gateways' and the SMS carrier's side, for development and tests.
//!
//! It listens on loopback only, has no passwords, and keeps its own books in its own file. It
//! shares no code with the server, so that signing is written twice and checked by one set of
//! vectors. It must never be part of a production start.

mod accounts;
mod app;
mod books;
mod clock;
mod control;
mod faults;
mod journal;
mod notify;
mod problem;
mod provider;
mod sms;
mod vnpay;

use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// The gateways' and the SMS carrier's side, on loopback only.
#[derive(Parser)]
#[command(version, allow_hyphen_values = true)]
struct Args {
    /// Where to listen; port 0 takes a free one. Loopback only.
    #[arg(long, env = "IPARKING_SANDBOX_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The books: an append-only file of this process alone.
    #[arg(long, env = "IPARKING_SANDBOX_BOOKS")]
    books: PathBuf,
    /// The merchant's terminal at VNPAY.
    #[arg(long, env = "IPARKING_SANDBOX_VNPAY_TMN_CODE", allow_hyphen_values = true)]
    vnpay_tmn_code: String,
    /// The merchant's hash secret at VNPAY.
    #[arg(
        long,
        env = "IPARKING_SANDBOX_VNPAY_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    vnpay_secret: String,
    /// Where IPNs go; several, comma-separated, take turns. Can be set later by a control call.
    #[arg(long, env = "IPARKING_SANDBOX_VNPAY_IPN_URL", default_value = "")]
    vnpay_ipn_url: String,
    /// Where an order's pay link is asked for: a template with `{merchant_ref}`, or
    /// several,
    /// comma-separated.
    #[arg(long, env = "IPARKING_SANDBOX_ORDERS_URL", default_value = "")]
    orders_url: String,
    /// Pause between two calls of one IPN.
    #[arg(long, env = "IPARKING_SANDBOX_IPN_RETRY_MS", default_value_t = 300_000)]
    ipn_retry_ms: u64,
    /// Calls of one IPN until it is given up.
    #[arg(long, env = "IPARKING_SANDBOX_IPN_MAX_CALLS", default_value_t = 10)]
    ipn_max_calls: u32,
    /// How long a refund stays "in process".
    #[arg(long, env = "IPARKING_SANDBOX_REFUND_MS", default_value_t = 2_000)]
    refund_ms: u64,
    /// End when standard input is closed: a parent that holds its other end cannot leave an
    /// orphan behind, however it dies.
    #[arg(long, env = "IPARKING_SANDBOX_UNTIL_STDIN_CLOSES")]
    until_stdin_closes: bool,
}

/// How long a start waits for the last run to let go of the books.
const BOOKS_PATIENCE: Duration = Duration::from_secs(5);
/// Longer than clients keep idle connections, so that they never write into a closing one.
const KEEP_ALIVE: Duration = Duration::from_mins(2);

impl Args {
    fn vnpay(&self) -> anyhow::Result<app::VnpayConfig> {
        let ipn_urls = control::parse_urls(&self.vnpay_ipn_url)
            .map_err(|error| anyhow::anyhow!("--vnpay-ipn-url: {error}"))?;
        let orders_urls = control::parse_templates(&self.orders_url)
            .map_err(|error| anyhow::anyhow!("--orders-url: {error}"))?;
        Ok(app::VnpayConfig {
            tmn_code: self.vnpay_tmn_code.clone(),
            secret: self.vnpay_secret.clone(),
            ipn_urls,
            orders_urls,
            ipn_retry: Duration::from_millis(self.ipn_retry_ms),
            ipn_max_calls: self.ipn_max_calls,
            refund_delay: Duration::from_millis(self.refund_ms),
        })
    }
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    // Whoever reaches it can take "payments"; so nobody beyond this machine may.
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "the sandbox listens on loopback only, not on {}",
        args.listen.ip()
    );
    let clock = clock::Clock::default();
    let (journal, events) = journal::Journal::open(&args.books, BOOKS_PATIENCE)?;
    let books = books::Books::new(journal, &events, clock.now());
    let sandbox = web::Data::new(app::Sandbox::new(clock, books, args.vnpay()?)?);

    let shared = sandbox.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .wrap(from_fn(problem::render_errors))
            .configure(app::configure)
    })
    .workers(2)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(2)
    .bind(args.listen)
    .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = server.addrs().first().copied().context("no address was bound")?;
    let running = server.run();
    notify::resume(&sandbox);
    if args.until_stdin_closes {
        std::thread::spawn(end_with_stdin);
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening=http://{address}")?;
    stdout.flush()?;
    running.await.context("the server failed")
}

/// Everything that was answered is on disk, so there is nothing to tidy up.
fn end_with_stdin() {
    let mut stdin = std::io::stdin().lock();
    let mut ignored = [0_u8; 256];
    while matches!(stdin.read(&mut ignored), Ok(1..)) {}
    tracing::info!("standard input was closed; ending");
    std::process::exit(0);
}
