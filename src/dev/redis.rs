//! The private Redis: a live picture that can be rebuilt, so it keeps nothing on disk.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::layout::Layout;
use super::process::{Program, User};

const START_PATIENCE: Duration = Duration::from_secs(30);

/// Where its socket is.
fn socket(layout: &Layout) -> PathBuf {
    layout.sockets.join("redis.sock")
}

/// The address of the private Redis.
pub(super) fn url(layout: &Layout) -> String {
    format!("redis+unix://{}", socket(layout).display())
}

/// The server as a child.
pub(super) fn program(layout: &Layout, user: Option<User>) -> Program {
    let socket = socket(layout).to_string_lossy().into_owned();
    let dir = layout.servers.to_string_lossy().into_owned();
    let args = [
        ["--port", "0"],
        ["--unixsocket", &socket],
        ["--unixsocketperm", "700"],
        ["--save", ""],
        ["--appendonly", "no"],
        ["--dir", &dir],
        ["--maxmemory", "512mb"],
        ["--maxmemory-policy", "noeviction"],
    ];
    Program {
        name: "redis".to_owned(),
        path: PathBuf::from("redis-server"),
        args: args.into_iter().flatten().map(str::to_owned).collect(),
        env: Vec::new(),
        user,
        log: layout.log("redis"),
        stop: Signal::TERM,
    }
}

/// Waits until Redis answers.
///
/// # Errors
/// When it does not in time.
pub(super) async fn wait_until_up(url: &str) -> anyhow::Result<()> {
    let client = redis::Client::open(url).context("the private Redis's address is wrong")?;
    let started = tokio::time::Instant::now();
    loop {
        let answered = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await
        };
        match answered.await {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > START_PATIENCE => {
                return Err(error).context("the private Redis does not answer");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
