//! Child processes: started in a group of their own, recorded, stopped, and cleaned up after.
//!
//! A child must not outlive its parent. `setpriv --pdeathsig` sees to that where it exists; what
//! still stays behind is found in the pid file by the next start. A pid alone proves nothing, since
//! numbers are used again, so the file holds each process's start time as well.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};

/// How long a child may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A user of this machine that a server runs as.
#[derive(Clone, Copy)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// Whom root lends the servers to: PostgreSQL refuses to run as root. `None` for anybody
    /// else, who runs them as themselves.
    pub(super) fn to_lend() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| user_of(&passwd, name))
            .map(Some)
            .context("running as root needs a user named postgres or nobody for the servers")
    }
}

fn user_of(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

/// What to run.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) user: Option<User>,
    pub(super) log: PathBuf,
    /// What asks it to stop: servers of ours and Redis take `TERM`, PostgreSQL's fast stop `INT`.
    pub(super) stop: Signal,
}

impl Program {
    /// Starts it with its output in its log.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub(super) fn start(&self, pids: &PidFile) -> anyhow::Result<Child> {
        let log = open_log(&self.log)?;
        let mut command = self.command();
        command
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the whole group; the order of stopping is ours.
            .process_group(0)
            .kill_on_drop(true);
        if self.user.is_some() {
            // The folder we stand in may be closed to that user.
            command.current_dir("/");
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        if let Some(pid) = child.id() {
            pids.add(&self.name, pid)?;
        }
        Ok(child)
    }

    fn command(&self) -> Command {
        if let Some(setpriv) = setpriv() {
            let mut command = Command::new(setpriv);
            if let Some(user) = self.user {
                command
                    .arg(format!("--reuid={}", user.uid))
                    .arg(format!("--regid={}", user.gid))
                    .arg("--clear-groups");
            }
            let signal = if self.stop == Signal::INT { "INT" } else { "TERM" };
            command.arg("--pdeathsig").arg(signal).arg("--").arg(&self.path).args(&self.args);
            return command;
        }
        let mut command = Command::new(&self.path);
        command.args(&self.args);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Asks a child to stop, and kills it if it has not after [`STOP_PATIENCE`].
    pub(super) async fn stop(&self, child: &mut Child, pids: &PidFile) {
        if let Some(pid) = child.id() {
            signal(pid, self.stop);
        }
        if tokio::time::timeout(STOP_PATIENCE, child.wait()).await.is_err() {
            super::say(&format!("{} did not stop in time and is killed", self.name));
            if let Err(error) = child.kill().await {
                super::say(&format!("{} could not be killed: {error}", self.name));
            }
        }
        pids.remove(&self.name);
    }
}

/// Opens a log for appending; one that has grown past 16 MiB starts anew.
fn open_log(path: &Path) -> anyhow::Result<File> {
    const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.old")).context("cannot put a log aside")?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open the log {}", path.display()))
}

/// util-linux's `setpriv`, if it is there and knows `--pdeathsig`.
fn setpriv() -> Option<&'static str> {
    static FOUND: std::sync::LazyLock<Option<&'static str>> = std::sync::LazyLock::new(|| {
        let tried = std::process::Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success()).then_some("setpriv")
    });
    *FOUND
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Sends a signal; a process that is gone already needs none.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = pid_of(pid) {
        // Gone, or not ours: either way there is nothing left to do about it here.
        kill_process(pid, signal).ok();
    }
}

/// Whether a process of that number exists and is no zombie.
pub(super) fn is_alive(pid: u32) -> bool {
    let exists = pid_of(pid).is_some_and(
        |pid| !matches!(test_kill_process(pid), Err(error) if error == rustix::io::Errno::SRCH),
    );
    exists && stat_field(pid, 0).as_deref() != Some("Z")
}

/// The n-th field of `/proc/<pid>/stat` after the command's name (proc(5): state is the 0th).
fn stat_field(pid: u32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold some.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(index).map(str::to_owned)
}

/// When a process started, in the kernel's ticks: with the pid it names one process for good.
fn start_time(pid: u32) -> Option<String> {
    stat_field(pid, 19)
}

/// Stops processes that are not our children: first politely, then not.
pub(super) async fn stop_strangers(pids: &[u32], polite: Signal) {
    for (ask, patience) in [(polite, 100), (Signal::QUIT, 50), (Signal::KILL, 50)] {
        for pid in pids.iter().filter(|pid| is_alive(**pid)) {
            signal(*pid, ask);
        }
        for _ in 0..patience {
            if !pids.iter().any(|pid| is_alive(*pid)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The record of running children, for the start after a killed run.
#[derive(Clone)]
pub(super) struct PidFile {
    path: PathBuf,
    running: Arc<Mutex<BTreeMap<String, (u32, String)>>>,
}

impl PidFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, running: Arc::default() }
    }

    /// Stops what an earlier run left behind. Call it only under the lock.
    pub(super) async fn stop_leftovers(&self) {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return };
        let left: Vec<(String, u32)> = text.lines().filter_map(leftover).collect();
        if left.is_empty() {
            return;
        }
        let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
        super::say(&format!("stopping what a killed run left behind: {}", names.join(", ")));
        let pids: Vec<u32> = left.iter().map(|(_, pid)| *pid).collect();
        stop_strangers(&pids, Signal::TERM).await;
    }

    fn add(&self, name: &str, pid: u32) -> anyhow::Result<()> {
        let started = start_time(pid).unwrap_or_default();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(name.to_owned(), (pid, started));
        self.write(&running).context("cannot write the pid file")
    }

    fn remove(&self, name: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(name);
        if let Err(error) = self.write(&running) {
            super::say(&format!("cannot write the pid file: {error}"));
        }
    }

    fn write(&self, running: &BTreeMap<String, (u32, String)>) -> std::io::Result<()> {
        let lines: Vec<String> =
            running.iter().map(|(name, (pid, at))| format!("{name} {pid} {at}\n")).collect();
        std::fs::write(&self.path, lines.concat())
    }
}

/// A line of the pid file whose process still runs.
fn leftover(line: &str) -> Option<(String, u32)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let pid: u32 = words.next()?.parse().ok()?;
    let started = words.next()?;
    let same = start_time(pid).as_deref() == Some(started);
    (same && is_alive(pid)).then(|| (name.to_owned(), pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\n\
                      postgres:x:101:104::/:/bin/sh\n";
        let user = user_of(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(user_of(passwd, "nobody").is_none());
    }

    #[test]
    fn a_pid_that_was_used_again_is_no_leftover() {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        assert!(leftover(&format!("server {pid} {started}")).is_some());
        assert!(leftover(&format!("server {pid} {started}1")).is_none());
        assert!(leftover("server x y").is_none());
    }
}
