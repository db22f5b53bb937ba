//! What the numbers were measured on.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::time::Instant;

use sqlx::PgConnection;

/// A description without names or paths.
pub struct Machine {
    /// Processors.
    pub processors: usize,
    /// Their model.
    pub model: String,
    /// Main memory in GiB.
    pub memory_gib: u64,
    /// Median time of one `fdatasync` where the database lies, in microseconds.
    pub sync_us: u128,
    /// PostgreSQL's version and whether it waits for the disk.
    pub postgres: String,
    /// When, UTC.
    pub at: String,
}

/// Looks at this machine.
///
/// # Errors
/// When the disk cannot be written or PostgreSQL does not answer.
pub async fn look(folder: &Path, conn: &mut PgConnection) -> anyhow::Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned());
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let (postgres, at): (String, String) = sqlx::query_as(
        "select current_setting('server_version') || ', fsync ' || current_setting('fsync')
             || ', synchronous_commit ' || current_setting('synchronous_commit'),
             to_char(now() at time zone 'utc', 'YYYY-MM-DD HH24:MI')",
    )
    .fetch_one(conn)
    .await?;
    Ok(Machine {
        processors: processors(),
        model,
        memory_gib: kilobytes / 1024 / 1024,
        sync_us: sync_us(&folder.join("sync-probe"))?,
        postgres,
        at,
    })
}

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn sync_us(path: &Path) -> anyhow::Result<u128> {
    let mut file = File::create(path)?;
    let mut times = Vec::new();
    for _ in 0..101 {
        file.rewind()?;
        file.write_all(&[7; 8192])?;
        let started = Instant::now();
        file.sync_data()?;
        times.push(started.elapsed().as_micros());
    }
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
