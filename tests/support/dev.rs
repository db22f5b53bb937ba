//! `iparking dev` as a child process: private servers, its folder, its ports.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Generous: initdb, migrations and a demo on a machine that runs other tests as well.
pub const PATIENCE: Duration = Duration::from_mins(3);

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's tests build the sandbox; a run of this package alone may not have.
pub fn ensure_sandbox() {
    let sandbox = Path::new(env!("CARGO_BIN_EXE_iparking")).with_file_name("iparking-sandbox");
    if !sandbox.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "-p", "iparking-sandbox"])
            .current_dir(root())
            .status()
            .expect("cargo");
        assert!(built.success(), "the sandbox could not be built");
    }
}

/// A folder closed to other users, as `mktemp -d` makes it.
pub struct Var(pub PathBuf);

impl Var {
    pub fn new() -> Var {
        let made = Command::new("mktemp").arg("-d").output().expect("mktemp");
        Var(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join("dev").join(name)
    }

    pub fn endpoints(&self) -> Option<HashMap<String, String>> {
        let text = fs::read_to_string(self.file("endpoints.env")).ok()?;
        assert!(text.ends_with("ready=1\n"), "endpoints.env is whole or absent: {text}");
        Some(
            text.lines()
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

impl Drop for Var {
    fn drop(&mut self) {
        // As root, the servers' data may lie elsewhere, behind a link.
        if let Ok(elsewhere) = fs::read_link(self.file("servers")) {
            drop(fs::remove_dir_all(elsewhere));
        }
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Ports for the API (two servers) and the sandbox, below the range from which the kernel takes
/// ports for everybody else, so that they stay free until they are used.
pub fn free_ports() -> (u16, u16) {
    loop {
        let first: u16 = rand::random_range(20_000..32_000);
        if (first..first + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return (first, first + 2);
        }
    }
}

pub struct Dev {
    pub child: Child,
}

impl Dev {
    pub fn start(var: &Var, ports: (u16, u16), servers: u16) -> Dev {
        Dev::start_with(var, ports, servers, &[])
    }

    /// With settings of its own.
    pub fn start_with(
        var: &Var,
        (api, sandbox): (u16, u16),
        servers: u16,
        settings: &[(&str, &str)],
    ) -> Dev {
        let log =
            fs::File::options().create(true).append(true).open(var.0.join("output.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_iparking"))
            .arg("dev")
            .current_dir(root())
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env("IPARKING_VAR_DIR", &var.0)
            .env("IPARKING_API_PORT", api.to_string())
            .env("IPARKING_SANDBOX_PORT", sandbox.to_string())
            .env("IPARKING_SERVERS", servers.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("iparking dev starts");
        Dev { child }
    }

    pub fn wait_until_ready(&mut self, var: &Var) -> HashMap<String, String> {
        let started = Instant::now();
        loop {
            if let Some(endpoints) = var.endpoints() {
                return endpoints;
            }
            let output = || fs::read_to_string(var.0.join("output.log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("iparking dev ended ({status}):\n{}", output());
            }
            assert!(started.elapsed() < PATIENCE, "not ready in time:\n{}", output());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    pub fn wait_until_ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "iparking dev did not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.signal("TERM");
        drop(self.child.wait());
    }
}

pub fn kill(signal: &str, pid: u32) {
    // The shell's own `kill`: a small machine has no program of that name.
    drop(Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid} 2>/dev/null")).status());
}

pub fn pids(var: &Var) -> Vec<(String, u32)> {
    let text = fs::read_to_string(var.file("pids")).unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
        })
        .collect()
}
