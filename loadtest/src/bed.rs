//! The product under test: `iparking dev` with private servers and a folder of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::cpu::Pids;
use crate::report::say;

/// How long everything may take to start; 100,000 lots are loaded in it.
const START_PATIENCE: Duration = Duration::from_mins(5);
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// A running product.
pub struct Bed {
    child: Child,
    dev: PathBuf,
    /// The API's port.
    pub port: u16,
    /// Its processes.
    pub pids: Pids,
    settings: BTreeMap<String, String>,
}

impl Bed {
    /// Starts the product on the data in `var`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready; its last words are in the error.
    pub async fn start(program: &Path, var: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(var).context("cannot make the folder of the private servers")?;
        let log = var.join("bench.log");
        let output = File::create(&log)?;
        let (port, sandbox_port) = (free_port().await?, free_port().await?);
        let mut child = Command::new(program)
            .arg("dev")
            .env("IPARKING_VAR_DIR", var)
            .env("IPARKING_API_PORT", port.to_string())
            .env("IPARKING_SANDBOX_PORT", sandbox_port.to_string())
            .env("IPARKING_SERVERS", "1")
            .env("IPARKING_RATE_LIMITS", "off")
            // One driver here stands for many: see `seed`.
            .env("IPARKING__RESERVATIONS__LIVE_PER_DRIVER_MAX", "1000000")
            .env("IPARKING__AUTH__ACCESS_TOKEN_S", "86400")
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", program.display()))?;
        let dev = var.join("dev");
        let started = Instant::now();
        loop {
            let endpoints = fs::read_to_string(dev.join("endpoints.env")).unwrap_or_default();
            if endpoints.lines().any(|line| line == "ready=1") {
                break;
            }
            let ended = child.try_wait()?.is_some();
            if ended || started.elapsed() > START_PATIENCE {
                let words = fs::read_to_string(&log).unwrap_or_default();
                bail!("iparking dev did not get ready:\n{words}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let pids = pids(&fs::read_to_string(dev.join("pids"))?)?;
        let settings = pairs(&fs::read_to_string(dev.join("settings.env"))?);
        Ok(Self { child, dev, port, pids, settings })
    }

    /// A setting of the product, as `iparking dev` chose it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn setting(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.settings.get(name).map(String::as_str);
        value.with_context(|| format!("iparking dev chose no {name}"))
    }

    /// The text of the key that signs tokens, and its id.
    ///
    /// # Errors
    /// When there is none.
    pub fn signing_key(&self) -> anyhow::Result<(String, String)> {
        let mut keys: Vec<PathBuf> = fs::read_dir(self.dev.join("keys"))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "pem"))
            .collect();
        keys.sort();
        let path = keys.pop().context("there is no signing key")?;
        let id = path.file_stem().context("a key without a name")?.to_string_lossy().into_owned();
        Ok((id, fs::read_to_string(path)?))
    }

    /// A connection to the product's database.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn database(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(self.setting("DATABASE_URL")?).await?)
    }

    /// Stops everything in order; the data stays.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        }
        let ended = tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await;
        ended.context("iparking dev does not stop")??;
        Ok(())
    }

    /// Stops it and starts it again on the same data, so that it reads what was written behind
    /// its back.
    ///
    /// # Errors
    /// As [`Bed::stop`] and [`Bed::start`].
    pub async fn restart(self, program: &Path, var: &Path) -> anyhow::Result<Self> {
        say("restarting the product on the new data");
        self.stop().await?;
        Self::start(program, var).await
    }
}

impl Drop for Bed {
    /// After an error: asks the product to stop. It is not waited for.
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            let mut kill = std::process::Command::new("kill");
            kill.arg("-TERM").arg(pid.to_string()).status().ok();
        }
    }
}

/// Removes the folder of an earlier run, and what it links to.
///
/// # Errors
/// When something cannot be removed.
pub fn clear(var: &Path) -> anyhow::Result<()> {
    let servers = var.join("dev").join("servers");
    if let Ok(target) = fs::read_link(&servers) {
        remove(&target)?;
    }
    remove(var)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// When none is.
pub async fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}

/// `name='value'` lines, as a shell reads them.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

/// `name pid start` lines.
fn pids(text: &str) -> anyhow::Result<Pids> {
    let find = |wanted: &str| -> anyhow::Result<u32> {
        let mut lines = text.lines().map(|line| line.split(' '));
        let pid = lines.find_map(|mut words| {
            (words.next() == Some(wanted)).then(|| words.next()?.parse().ok()).flatten()
        });
        pid.with_context(|| format!("iparking dev has no process named {wanted}"))
    };
    Ok(Pids {
        server: find("server-1")?,
        worker: find("worker")?,
        sandbox: find("sandbox")?,
        redis: find("redis")?,
        postgres: find("postgres")?,
    })
}
