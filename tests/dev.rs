//! `make run` and `make demo` as a user runs them: private servers, kept data, a killed run.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Generous: initdb, migrations and a demo on a machine that runs other tests as well.
const PATIENCE: Duration = Duration::from_mins(3);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace's tests build the sandbox; a run of this package alone may not have.
fn ensure_sandbox() {
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
struct Var(PathBuf);

impl Var {
    fn new() -> Var {
        let made = Command::new("mktemp").arg("-d").output().expect("mktemp");
        Var(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("dev").join(name)
    }

    fn endpoints(&self) -> Option<HashMap<String, String>> {
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
fn free_ports() -> (u16, u16) {
    loop {
        let first: u16 = rand::random_range(20_000..32_000);
        if (first..first + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return (first, first + 2);
        }
    }
}

struct Dev {
    child: Child,
}

impl Dev {
    fn start(var: &Var, (api, sandbox): (u16, u16), servers: u16) -> Dev {
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
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("iparking dev starts");
        Dev { child }
    }

    fn wait_until_ready(&mut self, var: &Var) -> HashMap<String, String> {
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

    fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    fn wait_until_ended(&mut self) -> ExitStatus {
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

fn kill(signal: &str, pid: u32) {
    // The shell's own `kill`: a small machine has no program of that name.
    drop(Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid} 2>/dev/null")).status());
}

fn pids(var: &Var) -> Vec<(String, u32)> {
    let text = fs::read_to_string(var.file("pids")).unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap())
        })
        .collect()
}

fn demo(var: &Var) -> String {
    let shown = Command::new(root().join("scripts/demo.sh"))
        .env("IPARKING_VAR_DIR", &var.0)
        .stdin(Stdio::null())
        .output()
        .expect("the demo starts");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let errors = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "the demo failed:\n{text}\n{errors}");
    text
}

#[test]
fn make_run_and_make_demo_walk_the_main_job_and_keep_its_data_through_a_kill() {
    ensure_sandbox();
    let var = Var::new();
    let ports = free_ports();
    let mut dev = Dev::start(&var, ports, 1);
    let first = dev.wait_until_ready(&var);
    for key in [
        "api",
        "metrics",
        "sandbox",
        "operator_api_key",
        "operator_lot_id",
        "operator2_api_key",
        "finance_username",
        "finance_password",
        "operator_username",
        "operator_password",
    ] {
        let value = first.get(key).unwrap_or_else(|| panic!("endpoints.env has no {key}"));
        assert!(!value.is_empty() && !value.starts_with('-'), "{key}={value}");
    }
    assert!(demo(&var).contains("the books balance"));

    // A second run on the same folder is refused and disturbs nothing.
    let mut second = Dev::start(&var, free_ports(), 1);
    assert!(!second.wait_until_ended().success());
    drop(second);

    // Everything is killed at once, the supervisor first.
    let children = pids(&var);
    assert!(children.iter().any(|(name, _)| name == "postgres"));
    dev.signal("KILL");
    for (_, pid) in &children {
        kill("KILL", *pid);
    }
    dev.wait_until_ended();
    drop(dev);

    let mut dev = Dev::start(&var, ports, 2);
    let again = loop {
        // The killed run's file may still be there for a moment.
        let endpoints = dev.wait_until_ready(&var);
        if endpoints.get("api").is_some_and(|api| api.contains(',')) {
            break endpoints;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for key in ["operator_api_key", "operator_lot_id", "finance_password"] {
        assert_eq!(first.get(key), again.get(key), "{key} must survive");
    }
    demo(&var);
    dev.signal("INT");
    assert!(dev.wait_until_ended().success(), "Ctrl-C is a clean end");
    assert!(var.endpoints().is_none(), "nothing claims to be ready any more");
    let left: Vec<_> = pids(&var);
    assert!(left.is_empty(), "children are left: {left:?}");
}
