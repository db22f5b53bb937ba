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

#[path = "support/dev.rs"]
#[allow(dead_code, unreachable_pub)]
mod dev;

use std::process::{Command, Stdio};
use std::time::Duration;

use dev::{Dev, Var, ensure_sandbox, free_ports, kill, pids, root};

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
