//! The private PostgreSQL: made once, reached through a Unix socket in a private folder.
//!
//! `fsync` stays on: data kept by one run is data that the next one may rely on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::process::Command;

use super::layout::{Layout, remove_if_there};
use super::process::{self, Program, User};

/// How long the server may take to answer, crash recovery included.
const START_PATIENCE: Duration = Duration::from_secs(90);
const DATABASE: &str = "iparking";

/// Where the server's data and socket are.
#[derive(Clone)]
pub(super) struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    user: Option<User>,
}

impl Postgres {
    /// Finds the programs of PostgreSQL.
    ///
    /// # Errors
    /// When it is not installed.
    pub(super) fn find(layout: &Layout, user: Option<User>) -> anyhow::Result<Self> {
        Ok(Self {
            bin: find_bin().context("PostgreSQL is not installed: run scripts/install.sh")?,
            data: layout.servers.join("postgres"),
            sockets: layout.sockets.clone(),
            user,
        })
    }

    /// The address of one of its databases.
    fn url_of(&self, database: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("host", &self.sockets.to_string_lossy())
            .finish();
        format!("postgres://iparking@localhost/{database}?{query}")
    }

    /// The address of our database.
    pub(super) fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// Makes the data folder if there is none.
    ///
    /// # Errors
    /// When `initdb` fails; its words are in the error.
    pub(super) async fn make_data(&self) -> anyhow::Result<()> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        super::say("making the database (once)");
        // Made beside its place and then renamed: a cut-off start leaves nothing half made.
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).context("cannot remove a half-made database")?;
        }
        let mut command = Command::new(self.bin.join("initdb"));
        command
            .args(["--username=iparking", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg("-D")
            .arg(&fresh)
            .current_dir("/")
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let made = command.output().await.context("cannot start initdb")?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        }
        std::fs::rename(&fresh, &self.data).context("cannot move the new database into place")
    }

    /// The server as a child.
    pub(super) fn program(&self, layout: &Layout, servers: u16) -> Program {
        // Each API server and the worker has a pool; migrations, audits and people come on top.
        let connections = 20 * (u32::from(servers) + 1) + 60;
        let settings = [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", self.sockets.display()),
            "unix_socket_permissions=0700".to_owned(),
            format!("max_connections={connections}"),
            "shared_buffers=128MB".to_owned(),
            "max_wal_size=2GB".to_owned(),
            // Whoever runs the server may read statements in its log; none holds a parameter.
            "log_parameter_max_length=0".to_owned(),
            "log_parameter_max_length_on_error=0".to_owned(),
        ];
        let mut args = vec!["-D".to_owned(), self.data.to_string_lossy().into_owned()];
        for setting in settings {
            args.extend(["-c".to_owned(), setting]);
        }
        Program {
            name: "postgres".to_owned(),
            path: self.bin.join("postgres"),
            args,
            env: Vec::new(),
            user: self.user,
            log: layout.log("postgres"),
            stop: Signal::INT,
        }
    }

    /// Clears the way for a start after a killed one. Processes that still work in our data folder
    /// are stopped; the lock files go when nobody does, because the number in them may by now belong
    /// to some other program, or to a dead process that nobody has reaped, and PostgreSQL would
    /// take either for itself.
    ///
    /// # Errors
    /// When a process of the old server cannot be stopped, or the file not be removed.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        let left = self.processes_in_data();
        if !left.is_empty() {
            super::say("stopping the PostgreSQL of a killed run");
            process::stop_strangers(&left, Signal::INT).await;
            if !self.processes_in_data().is_empty() {
                bail!("processes of an earlier PostgreSQL still use {}", self.data.display());
            }
        }
        remove_if_there(&self.sockets.join(".s.PGSQL.5432.lock"))?;
        remove_if_there(&self.data.join("postmaster.pid"))
    }

    /// PostgreSQL's processes stand in their data folder, so `/proc` tells whose they are.
    fn processes_in_data(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.data)
                    && std::fs::read_link(format!("/proc/{pid}/exe"))
                        .is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "postgres"))
            })
            .collect()
    }

    /// Waits until the server answers, and makes our database if it is missing.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub(super) async fn make_database(&self) -> anyhow::Result<()> {
        let mut connection = connect(&self.url_of("postgres")).await?;
        let there: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut connection)
                .await?;
        if !there {
            sqlx::query("create database iparking").execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }
}

/// Connects to a server that may still be starting.
async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options: sqlx::postgres::PgConnectOptions =
        url.parse().context("the private database's address is wrong")?;
    let options = options.disable_statement_logging();
    let started = tokio::time::Instant::now();
    loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => return Ok(connection),
            Err(error) if started.elapsed() > START_PATIENCE => {
                return Err(error).context("the private PostgreSQL does not answer");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The folder of `postgres`, `initdb` and the rest: where `PATH` leads, else Debian's place.
fn find_bin() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path)
        .filter_map(|folder| folder.join("postgres").canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .find(|bin| bin.join("initdb").exists());
    in_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        versions
            .flatten()
            .filter_map(|entry| {
                let version: u32 = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .filter(|(_, bin)| bin.join("postgres").exists() && bin.join("initdb").exists())
            .max_by_key(|(version, _)| *version)
            .map(|(_, bin)| bin)
    })
}
