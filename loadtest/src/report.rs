//! The table, on the terminal and in `RESULTS.md`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::Options;
use crate::cpu::Spent;
use crate::machine::{self, Machine};
use crate::stats::{self, Spread, spread};

/// One turn of one side.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// A second.
    pub rate: f64,
    /// Processor time for each, in microseconds: server, Redis, PostgreSQL, client.
    cpu_us: [f64; 4],
    /// The share of the processors that programs other than ours took.
    foreign: f64,
    /// Median and 99th percentile in milliseconds, if the client measured them.
    latency_ms: Option<(f64, f64)>,
}

impl Measured {
    /// Puts a turn's numbers together.
    pub fn new(
        rate: f64,
        spent: &Spent,
        count: u64,
        wall: Duration,
        latency_ms: Option<(f64, f64)>,
    ) -> Self {
        let each = |time| stats::micros_each(time, count);
        Self {
            rate,
            cpu_us: [
                each(spent.server),
                each(spent.redis),
                each(spent.postgres),
                each(spent.client),
            ],
            foreign: stats::foreign_share(spent.busy, spent.ours(), wall, machine::processors()),
            latency_ms,
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// What it is compared with.
    pub limit_name: &'static str,
    /// The share of the limit that must be reached.
    pub target: f64,
    /// The product's turns.
    pub ours: Vec<Measured>,
    /// The limit's turns, each just before the product's.
    pub limit: Vec<Measured>,
}

impl Row {
    /// A row without turns yet.
    pub fn new(name: String, limit_name: &'static str, target: f64) -> Self {
        Self { name, limit_name, target, ours: Vec::new(), limit: Vec::new() }
    }

    /// Of each pair of neighbouring turns, so that a change of the machine's other load between
    /// pairs does not count.
    fn ratio(&self) -> Spread {
        let pairs = self.ours.iter().zip(&self.limit);
        spread(&pairs.map(|(ours, limit)| stats::ratio(ours.rate, limit.rate)).collect::<Vec<_>>())
    }
}

fn of(turns: &[Measured], value: impl Fn(&Measured) -> f64) -> Spread {
    spread(&turns.iter().map(value).collect::<Vec<_>>())
}

fn cpu(turns: &[Measured]) -> [f64; 4] {
    [0, 1, 2, 3]
        .map(|part: usize| of(turns, |turn| turn.cpu_us.get(part).copied().unwrap_or(0.0)).median)
}

fn mark(reached: bool) -> &'static str {
    if reached { "yes" } else { "**no**" }
}

/// Everything that a run found.
pub struct Report {
    machine: Machine,
    rows: Vec<Row>,
    /// Megabytes of a server for 100,000 lots.
    pub memory: Option<f64>,
}

/// The most that 100,000 lots may take, in megabytes.
const MEMORY_MAX_MB: f64 = 100.0;

impl Report {
    /// An empty report.
    pub fn new(machine: Machine) -> Self {
        Self { machine, rows: Vec::new(), memory: None }
    }

    /// Adds a row; the two searches stand together.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
        self.rows.sort_by_key(|row| !row.name.starts_with("search"));
    }

    /// Prints the table, and writes the report unless the run was a quick one.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn publish(&self, options: &Options) -> anyhow::Result<()> {
        let text = self.text(options)?;
        let mut out = std::io::stdout();
        writeln!(out, "\n{text}")?;
        if options.quick {
            return Ok(());
        }
        std::fs::write(&options.out, text).context("cannot write the report")?;
        say(&format!("written to {}", options.out.display()));
        Ok(())
    }

    fn text(&self, options: &Options) -> anyhow::Result<String> {
        let mut text = String::new();
        let machine = &self.machine;
        writeln!(text, "# Results of `make bench`\n")?;
        writeln!(text, "Measured {} UTC, commit {}.", machine.at, options.commit)?;
        writeln!(
            text,
            "{} processors ({}), {} GiB; PostgreSQL {}; one fdatasync takes {} µs (median).",
            machine.processors,
            machine.model,
            machine.memory_gib,
            machine.postgres,
            machine.sync_us
        )?;
        writeln!(
            text,
            "Client, product, Redis and PostgreSQL share the processors. {} connections; {} turns \
             of {} s for each side, limit and product alternating.\n",
            options.connections,
            options.turns,
            options.turn().as_secs()
        )?;
        self.table(&mut text)?;
        writeln!(
            text,
            "\nRates and ratios: median (smallest–largest); a ratio is that of two neighbouring \
             turns. CPU: µs of processor time for each request, server / Redis / PostgreSQL / \
             client, medians. Foreign: share of the processors that programs outside the \
             benchmark took, in the product's turns (largest). How each row is measured, and what \
             is behind a limit that is not reached: [README.md](README.md), [notes](notes)."
        )?;
        Ok(text)
    }

    fn table(&self, text: &mut String) -> anyhow::Result<()> {
        writeln!(
            text,
            "| what, through HTTP | product, 1/s | limit, 1/s | ratio | must reach | reached \
             | CPU product | CPU limit | p50 / p99 ms | foreign |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let ratio = row.ratio();
            let latency = |pick: fn((f64, f64)) -> f64| {
                of(&row.ours, |turn| turn.latency_ms.map_or(0.0, pick)).median
            };
            writeln!(
                text,
                "| {} | {} | {}: {} | {:.2} ({:.2}–{:.2}) | {:.2} | {} | {} | {} | {:.1} / {:.1} \
                 | {:.0} % |",
                row.name,
                rates(of(&row.ours, |turn| turn.rate)),
                row.limit_name,
                rates(of(&row.limit, |turn| turn.rate)),
                ratio.median,
                ratio.min,
                ratio.max,
                row.target,
                mark(ratio.median >= row.target),
                parts(cpu(&row.ours)),
                parts(cpu(&row.limit)),
                latency(|both| both.0),
                latency(|both| both.1),
                stats::times(of(&row.ours, |turn| turn.foreign).max, 100.0),
            )?;
        }
        if let Some(megabytes) = self.memory {
            writeln!(
                text,
                "| memory per 100,000 lots in a server | {megabytes:.0} MB | {MEMORY_MAX_MB:.0} MB \
                 | {:.2} | at most 1.00 | {} | | | | |",
                stats::ratio(megabytes, MEMORY_MAX_MB),
                mark(megabytes <= MEMORY_MAX_MB),
            )?;
        }
        Ok(())
    }
}

fn rates(spread: Spread) -> String {
    format!("{:.0} ({:.0}–{:.0})", spread.median, spread.min, spread.max)
}

fn parts([server, redis, postgres, client]: [f64; 4]) -> String {
    format!("{server:.0} / {redis:.0} / {postgres:.0} / {client:.0}")
}

/// Says what goes on.
pub fn say(text: &str) {
    // A closed terminal is no reason to stop.
    writeln!(std::io::stderr(), "bench: {text}").ok();
}
