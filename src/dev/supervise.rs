//! Keeps children running: one that ends without being asked is started again, and said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::postgres::Postgres;
use super::process::{PidFile, Program};

/// Between two starts of a child that keeps ending: short at first, never longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// A child that ran so long counts as healthy again.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// A child that is kept running until it is stopped.
pub(super) struct Supervised {
    pub(super) name: String,
    stop: CancellationToken,
    failures: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Starts a child and keeps it running.
    pub(super) fn start(program: Program, before: Before, pids: &PidFile) -> Self {
        let stop = CancellationToken::new();
        let failures = Arc::new(AtomicU32::new(0));
        let name = program.name.clone();
        let keeper = Keeper {
            program,
            before,
            pids: pids.clone(),
            stop: stop.clone(),
            failures: Arc::clone(&failures),
        };
        let task = tokio::spawn(keeper.run());
        Self { name, stop, failures, task }
    }

    /// How often it ended without being asked or could not be started.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Stops it and waits until it is gone.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            super::say(&format!("the keeper of {} failed: {error}", self.name));
        }
    }
}

/// What must be done before each start of a child.
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// Clear away what a killed PostgreSQL left.
    Clear(Postgres),
}

struct Keeper {
    program: Program,
    before: Before,
    pids: PidFile,
    stop: CancellationToken,
    failures: Arc<AtomicU32>,
}

impl Keeper {
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        loop {
            let started = Instant::now();
            if self.one_life().await {
                return;
            }
            if self.stop.is_cancelled() {
                return;
            }
            self.failures.fetch_add(1, Ordering::Relaxed);
            if started.elapsed() > HEALTHY_AFTER {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// From a start to the end; whether it ended because it was asked to.
    async fn one_life(&self) -> bool {
        if let Before::Clear(postgres) = &self.before
            && let Err(error) = postgres.clear().await
        {
            super::say(&format!("{error:#}"));
            return false;
        }
        let mut child = match self.program.start(&self.pids) {
            Ok(child) => child,
            Err(error) => {
                super::say(&format!("{error:#}"));
                return false;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {
                self.program.stop(&mut child, &self.pids).await;
                true
            }
            ended = child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                super::say(&format!(
                    "{} ended ({how}) and is started again; its log: {}",
                    self.program.name,
                    self.program.log.display()
                ));
                false
            }
        }
    }
}
