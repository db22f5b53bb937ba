//! The rows of the table, in the order in which they share a running product.

mod reserve;
mod search;
mod settle;

use std::rc::Rc;

use anyhow::Context as _;

use crate::Options;
use crate::bed::{self, Bed};
use crate::client::{self, Done, Load};
use crate::cpu::{self, Spent};
use crate::machine;
use crate::pgbench;
use crate::report::{Measured, Report, Row, say};
use crate::seed;
use crate::stats;

/// Measures everything that was asked for, prints the table and writes the report.
///
/// # Errors
/// When the product does not start, or an answer is not what it must be.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    bed::clear(&options.var_dir)?;
    say("starting the product with the real lots");
    let mut bed = Bed::start(&options.server, &options.var_dir).await?;
    let mut report =
        Report::new(machine::look(&options.var_dir, &mut bed.database().await?).await?);
    seed::prepare(&mut bed.database().await?).await?;
    let small = memory_of_server(&bed, options).await?;
    let needs_5000 = ["search", "reserve", "hot", "settle"].iter().any(|row| options.wants(row));
    if needs_5000 {
        bed = with_lots(bed, options, 5_000).await?;
    }
    if options.wants("search") {
        report.add(search::row(&bed, options, 5_000, 0.55).await?);
    }
    if options.wants("reserve") || options.wants("hot") {
        bed = reserve::prepare(bed, options).await?;
    }
    if options.wants("reserve") {
        report.add(reserve::spread(&bed, options).await?);
    }
    if options.wants("hot") {
        report.add(reserve::hot(&bed, options).await?);
    }
    if options.wants("settle") {
        report.add(settle::row(&bed, options).await?);
    }
    if options.wants("search") || options.wants("memory") {
        bed = with_lots(bed, options, 100_119).await?;
        if options.wants("memory") {
            let large = memory_of_server(&bed, options).await?;
            report.memory = Some(stats::megabytes_per_100k(large.saturating_sub(small), 100_000));
        }
        if options.wants("search") {
            report.add(search::row(&bed, options, 100_119, 0.45).await?);
        }
    }
    if options.wait {
        say(&format!("waiting; the API is on port {}; Ctrl-C ends it", bed.port));
        std::future::pending::<()>().await;
    }
    bed.stop().await?;
    bed::clear(&options.var_dir)?;
    report.publish(options)
}

async fn with_lots(bed: Bed, options: &Options, count: i64) -> anyhow::Result<Bed> {
    say(&format!("copying the real lots over the city until there are {count}"));
    seed::lots(&mut bed.database().await?, count).await?;
    bed.restart(&options.server, &options.var_dir).await
}

/// The server's memory after it has answered some searches.
async fn memory_of_server(bed: &Bed, options: &Options) -> anyhow::Result<u64> {
    if !options.wants("memory") {
        return Ok(0);
    }
    let load = Rc::new(search::load(bed, 20));
    client::run(bed.port, options.connections, &load, options.turn()).await?;
    cpu::memory(bed.pids.server)
}

/// A turn of the client against `port`, with what it cost. `server` is the process under test.
async fn http_turn(
    bed: &Bed,
    options: &Options,
    (port, server): (u16, u32),
    load: &Rc<Load>,
) -> anyhow::Result<(Done, Measured)> {
    let before = Spent::now(&bed.pids, server)?;
    let started = std::time::Instant::now();
    let mut done = client::run(port, options.connections, load, options.turn()).await?;
    let wall = started.elapsed();
    let spent = Spent::now(&bed.pids, server)?.since(&before);
    done.latencies_us.sort_unstable();
    let measured = Measured::new(
        stats::rate(done.counted, done.elapsed),
        &spent,
        done.answered,
        wall,
        Some((
            stats::quantile_ms(&done.latencies_us, 500),
            stats::quantile_ms(&done.latencies_us, 990),
        )),
    );
    Ok((done, measured))
}

/// A turn of pgbench, with what it cost.
async fn pgbench_turn(bed: &Bed, options: &Options, script: &str) -> anyhow::Result<Measured> {
    let path = options.var_dir.join("bench.sql");
    std::fs::write(&path, script).context("cannot write pgbench's script")?;
    let path = path.to_string_lossy().into_owned();
    let url = bed.setting("DATABASE_URL")?;
    let before = Spent::now(&bed.pids, bed.pids.server)?;
    let started = std::time::Instant::now();
    let done = pgbench::run(url, &path, options.connections, options.turn().as_secs()).await?;
    let wall = started.elapsed();
    let spent = Spent::now(&bed.pids, bed.pids.server)?.since(&before);
    Ok(Measured::new(done.rate, &spent, done.count, wall, None))
}

/// Says which turn comes.
fn say_turn(row: &Row, turn: u32, options: &Options) {
    let last = |all: &[Measured]| all.last().map_or(0.0, |measured| measured.rate);
    if turn > 1 {
        let (ours, limit) = (last(&row.ours), last(&row.limit));
        say(&format!(
            "{}: turn {} of {}: {ours:.0}/s, limit {limit:.0}/s, ratio {:.2}",
            row.name,
            turn - 1,
            options.turns,
            stats::ratio(ours, limit),
        ));
    } else {
        say(&format!(
            "{}: {} turns of {} s each",
            row.name,
            options.turns,
            options.turn().as_secs()
        ));
    }
}
