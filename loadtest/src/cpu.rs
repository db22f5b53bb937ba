//! Processor time and memory, as the kernel counts them (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The kernel's clock tick for `/proc`: 100 a second on every Linux of today.
const TICK: Duration = Duration::from_millis(10);

/// The processes of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Pids {
    /// The API server.
    pub server: u32,
    /// The job worker.
    pub worker: u32,
    /// The payment sandbox.
    pub sandbox: u32,
    /// Redis.
    pub redis: u32,
    /// PostgreSQL's first process; the others are its children.
    pub postgres: u32,
}

/// Processor time spent until now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// The server under test: the product's or the bare one.
    pub server: Duration,
    /// Redis.
    pub redis: Duration,
    /// PostgreSQL with all its processes.
    pub postgres: Duration,
    /// This program, and pgbench when it has ended.
    pub client: Duration,
    /// Worker and sandbox.
    pub others: Duration,
    /// All processors together, also for programs that are not ours.
    pub busy: Duration,
}

impl Spent {
    /// Reads all counters. `server` is the server under test.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn now(pids: &Pids, server: u32) -> anyhow::Result<Self> {
        let own = process(std::process::id())?;
        let mut others = process(pids.worker)?.own + process(pids.sandbox)?.own;
        if server != pids.server {
            others += process(pids.server)?.own;
        }
        Ok(Self {
            server: process(server)?.own,
            redis: process(pids.redis)?.own,
            postgres: postgres(pids.postgres)?,
            client: own.own + own.children,
            others,
            busy: busy()?,
        })
    }

    /// What was spent since then.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            redis: self.redis.saturating_sub(before.redis),
            postgres: self.postgres.saturating_sub(before.postgres),
            client: self.client.saturating_sub(before.client),
            others: self.others.saturating_sub(before.others),
            busy: self.busy.saturating_sub(before.busy),
        }
    }

    /// Everything of ours.
    pub fn ours(&self) -> Duration {
        self.server + self.redis + self.postgres + self.client + self.others
    }
}

struct Times {
    own: Duration,
    /// Of children that have ended.
    children: Duration,
}

fn ticks(text: &str) -> Option<Duration> {
    TICK.checked_mul(text.parse().ok()?)
}

fn process(pid: u32) -> anyhow::Result<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    times(&stat).with_context(|| format!("/proc/{pid}/stat is not as expected"))
}

fn times(stat: &str) -> Option<Times> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || ticks(fields.next()?);
    let (user, system, child_user, child_system) = (next()?, next()?, next()?, next()?);
    Some(Times { own: user + system, children: child_user + child_system })
}

/// The first process, the children that it has, and those that have ended.
fn postgres(first: u32) -> anyhow::Result<Duration> {
    let times = process(first)?;
    let mut sum = times.own + times.children;
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"))
        .context("this kernel does not list children")?;
    for child in children.split_whitespace() {
        // One that has ended meanwhile is counted by its parent the next time.
        if let Ok(times) = process(child.parse()?) {
            sum += times.own;
        }
    }
    Ok(sum)
}

/// What all processors did except waiting.
fn busy() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let values: Vec<Duration> = line.split_whitespace().skip(1).filter_map(ticks).collect();
    // user nice system idle iowait irq softirq steal; guest time is within user and nice.
    let part = |index: usize| values.get(index).copied().unwrap_or_default();
    Ok([0, 1, 2, 5, 6, 7].map(part).iter().sum())
}

/// The memory that a process takes for itself, in bytes: its proportional set size.
///
/// # Errors
/// When the process is gone or the kernel does not tell.
pub fn memory(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .context("this kernel has no smaps_rollup")?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_after_a_name_with_anything_in_it() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0 99";
        let times = times(stat).unwrap();
        assert_eq!(times.own, Duration::from_millis(1200));
        assert_eq!(times.children, Duration::from_millis(70));
    }
}
