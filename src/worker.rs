//! The background worker: which function does which kind of job, and the schedules.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::auth;
use crate::payments::follow::JobEnd;
use crate::payments::service::Payments;
use crate::platform::db::DbError;
use crate::platform::jobs::{self, ClaimedJob, NewJob};
use crate::platform::{App, idempotency, telemetry};
use crate::{in_tx, occupancy, on_conn, parking_sessions, payments, reservations};

/// What becomes of a job that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is removed.
    Done,
    /// It runs again at this time, as if it were new.
    Again(Timestamp),
}

/// Work that comes back by itself: kind and seconds between runs.
const SCHEDULES: &[(&str, i64)] = &[
    ("end_forgotten_sessions", 60),
    ("expire_holds", 1),
    ("forget_old_logins", 86_400),
    ("forget_old_readings", 3_600),
    ("reap_idempotency_keys", 3_600),
];

/// Does one job. Every kind is written to be run twice.
async fn work(app: &App, payments: &Payments, job: &ClaimedJob) -> anyhow::Result<Outcome> {
    let now = app.now();
    if let Some(ended) = payments::jobs::run(payments, &job.kind, &job.payload).await {
        return Ok(match ended? {
            JobEnd::Done => Outcome::Done,
            JobEnd::Again(at) => Outcome::Again(at),
        });
    }
    match job.kind.as_str() {
        auth::send_code::SEND_CODE => {
            auth::send_code::send_code(app, &job.payload).await?;
            Ok(Outcome::Done)
        }
        "end_forgotten_sessions" => {
            parking_sessions::service::end_forgotten(app).await?;
            Ok(Outcome::Done)
        }
        "expire_holds" => {
            reservations::service::expire_holds(app).await?;
            Ok(Outcome::Done)
        }
        "forget_old_logins" => {
            auth::service::forget_old(app).await?;
            Ok(Outcome::Done)
        }
        "forget_old_readings" => {
            occupancy::report::forget_old_readings(app).await?;
            Ok(Outcome::Done)
        }
        "reap_idempotency_keys" => {
            let reaped: Result<u64, DbError> =
                on_conn!(app.db(), |conn| idempotency::reap(conn, now).await);
            reaped?;
            Ok(Outcome::Done)
        }
        unknown => anyhow::bail!("no worker knows the kind {unknown}"),
    }
    .map(|outcome| match (outcome, schedule_of(&job.kind)) {
        (Outcome::Done, Some(every_s)) => Outcome::Again(after(now, every_s)),
        (outcome, _) => outcome,
    })
}

fn schedule_of(kind: &str) -> Option<i64> {
    SCHEDULES.iter().find(|(name, _)| *name == kind).map(|(_, every_s)| *every_s)
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
}

/// Makes sure that each schedule has its one row.
pub async fn plant_schedules(app: &App) -> Result<(), DbError> {
    let now = app.now();
    let rows: Vec<NewJob> = SCHEDULES
        .iter()
        .chain(payments::jobs::SCHEDULES)
        .map(|(kind, _)| NewJob::at(now, kind, ()).once(format!("schedule:{kind}")))
        .collect();
    in_tx!(app.db(), "worker.plant_schedules", |tx| jobs::enqueue(app, tx, &rows).await)
}

/// Works until `stop`, then finishes what it has begun.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = app.config().worker.clone();
    let places = Arc::new(Semaphore::new(settings.concurrency));
    let tracker = TaskTracker::new();
    let pause = Duration::from_millis(settings.poll_ms);
    let payments = Payments::start(&app)?;
    let mut planted = false;
    while !stop.is_cancelled() {
        if !planted {
            planted = plant_schedules(&app).await.is_ok();
        }
        let free = i64::try_from(places.available_permits()).unwrap_or(0);
        let claimed = if free > 0 { claim(&app, free).await } else { Ok(Vec::new()) };
        let busy = match claimed {
            Ok(claimed) => {
                let any = !claimed.is_empty();
                for job in claimed {
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
                    let (app, payments) = (app.clone(), payments.clone());
                    tracker.spawn(async move {
                        run_one(&app, &payments, job).await;
                        drop(place);
                    });
                }
                any
            }
            Err(error) => {
                tracing::warn!(error = %error, "jobs could not be claimed");
                false
            }
        };
        if !busy {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// Runs every job that is due, and those that they cause, until none is left; gives their number.
/// For tests and for `iparking worker --drain`.
pub async fn run_due(app: &App) -> anyhow::Result<usize> {
    let payments = Payments::start(app)?;
    let mut ran = 0_usize;
    loop {
        let claimed = claim(app, 64).await?;
        if claimed.is_empty() {
            return Ok(ran);
        }
        for job in claimed {
            ran = ran.saturating_add(1);
            run_one(app, &payments, job).await;
        }
    }
}

async fn claim(app: &App, limit: i64) -> Result<Vec<ClaimedJob>, DbError> {
    let now = app.now();
    let lease_s = app.config().worker.lease_s;
    in_tx!(app.db(), "worker.claim", |tx| jobs::claim(tx, now, limit, lease_s).await)
}

/// Does one job under its lease and notes what became of it. A panic counts as a failure.
async fn run_one(app: &App, payments: &Payments, job: ClaimedJob) {
    let request_id = job.request_id.clone().unwrap_or_else(|| job.id.to_string());
    let span = tracing::info_span!(
        "job", job.id = %job.id, job.kind = %job.kind, job.attempts = job.attempts, request_id = %request_id,
    );
    let task = {
        let (app, payments, job) = (app.clone(), payments.clone(), job.clone());
        let lease = Duration::from_secs(u64::try_from(app.config().worker.lease_s).unwrap_or(60));
        let work = async move { tokio::time::timeout(lease, work(&app, &payments, &job)).await };
        tokio::spawn(telemetry::with_request_id(request_id, work).instrument(span.clone()))
    };
    let outcome = match task.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_elapsed)) => Err(anyhow::anyhow!("the job outlived its lease")),
        Err(_panicked) => Err(anyhow::anyhow!("the job panicked")),
    };
    note(app, &job, outcome).instrument(span).await;
}

async fn note(app: &App, job: &ClaimedJob, outcome: anyhow::Result<Outcome>) {
    let now = app.now();
    let word = match &outcome {
        Ok(_) => "done",
        Err(_) => "failed",
    };
    metrics::counter!("jobs_total", "kind" => job.kind.clone(), "outcome" => word).increment(1);
    let noted: Result<bool, DbError> = match outcome {
        Ok(Outcome::Done) => {
            on_conn!(app.db(), |conn| jobs::done(conn, job.id).await.map(|()| false))
        }
        Ok(Outcome::Again(at)) => {
            on_conn!(app.db(), |conn| jobs::again(conn, job.id, at).await.map(|()| false))
        }
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "job failed");
            let text = error.to_string();
            on_conn!(app.db(), |conn| jobs::failed(conn, now, job, &text).await)
        }
    };
    match noted {
        Ok(false) => {}
        Ok(true) => {
            metrics::counter!("jobs_dead_total", "kind" => job.kind.clone()).increment(1);
            tracing::error!("job is dead: it was tried too often");
        }
        // The lease runs out and the job runs again.
        Err(error) => tracing::warn!(error = %error, "a job's outcome could not be noted"),
    }
}
