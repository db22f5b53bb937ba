//! The limits of PostgreSQL: `pgbench` on the same private server, over the same socket.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// Debian keeps it out of `PATH`.
fn program() -> PathBuf {
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join("pgbench"))
        .find(|program| program.exists());
    let of_debian = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        versions
            .flatten()
            .map(|version| version.path().join("bin").join("pgbench"))
            .filter(|program| program.exists())
            .max()
    };
    in_path.or_else(of_debian).unwrap_or_else(|| PathBuf::from("pgbench"))
}

/// Transactions a second of a script.
///
/// # Errors
/// When a transaction failed, or pgbench is missing.
pub async fn run(
    database_url: &str,
    script: &str,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Transactions> {
    let output = Command::new(program())
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--define=i=0"])
        .arg(format!("--client={connections}"))
        .arg(format!("--time={seconds}"))
        .arg(format!("--file={script}"))
        .arg(database_url)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot start pgbench: it comes with PostgreSQL (Debian: postgresql)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    read(&said).with_context(|| format!("pgbench said something unexpected:\n{said}"))
}

/// What pgbench counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transactions {
    /// All of them.
    pub count: u64,
    /// A second, without the time to connect.
    pub rate: f64,
}

fn read(said: &str) -> Option<Transactions> {
    let after = |start: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(start))?;
        line.split_whitespace().next()
    };
    Some(Transactions {
        count: after("number of transactions actually processed: ")?.parse().ok()?,
        rate: after("tps = ")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_pgbench_is_read() {
        let said = "transaction type: a.sql\nnumber of transactions actually processed: 4711\n\
                    latency average = 2.0 ms\ntps = 1234.500000 (without initial connection time)\n";
        assert_eq!(read(said), Some(Transactions { count: 4711, rate: 1234.5 }));
    }
}
