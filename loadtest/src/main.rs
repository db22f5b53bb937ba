//! Benchmarks of the server: each speed beside a limit measured in the same run, turn by turn.
//!
//! `README.md` says what is measured and how to read the table.

mod bare;
mod bed;
mod client;
mod cpu;
mod http;
mod machine;
mod pgbench;
mod report;
mod rows;
mod seed;
mod stats;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// As in the product, so that the bare handler is not slowed by another allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Benchmarks of iParking against limits measured in the same run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Measures and prints the table.
    Run(Options),
    /// The limit of search: a handler that returns a constant. Started by `run`.
    Bare {
        /// Where to listen, on the loopback interface.
        #[arg(long)]
        port: u16,
        /// Length of the constant body.
        #[arg(long)]
        bytes: usize,
    },
}

/// What is measured and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Turns of one second, and nothing is written: for working on the benchmark itself.
    #[arg(long)]
    quick: bool,
    /// Turns of each side.
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections of the client and of pgbench.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', default_values_t = ALL_ROWS.map(str::to_owned))]
    rows: Vec<String>,
    /// The product's program.
    #[arg(long, default_value = "target/release/iparking")]
    server: PathBuf,
    /// Where the private servers keep their data meanwhile; emptied before and after.
    #[arg(long, default_value = "target/bench-var")]
    var_dir: PathBuf,
    /// Which commit is measured, for the report.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where the report goes.
    #[arg(long, default_value = "loadtest/RESULTS.md")]
    out: PathBuf,
    /// After the rows, wait with everything running, for a profiler.
    #[arg(long)]
    wait: bool,
}

const ALL_ROWS: [&str; 5] = ["search", "reserve", "hot", "settle", "memory"];

impl Options {
    fn wants(&self, row: &str) -> bool {
        self.rows.iter().any(|wanted| wanted == row)
    }

    fn turn(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.seconds })
    }
}

fn main() -> std::process::ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => measure(&options),
        Command::Bare { port, bytes } => bare::serve(port, bytes),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("{error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    // One thread: the client shares the processors with what it measures.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(rows::run(options))
}
