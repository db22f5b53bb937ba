//! Background work as rows in Postgres, inserted in the transaction that causes it.
//!
//! A worker claims a due job with `for update skip locked` and a lease and closes the transaction
//! before it starts to work. A worker that dies loses its lease, and the job runs again: every
//! job is written to be run twice. A job that keeps failing is put aside as dead, visible and
//! alerting.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use serde::Serialize;
use sqlx::postgres::PgConnection;

use super::App;
use super::db::DbError;
use crate::kernel::ids::JobId;

/// Attempts before a job is dead. With [`backoff_s`] that is about two days.
pub const ATTEMPTS_MAX: i32 = 25;

/// A job to be inserted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// What to do: a name in the worker's table.
    pub kind: &'static str,
    /// With what; holds ids, rarely more.
    pub payload: serde_json::Value,
    /// When it is due.
    pub run_at: Timestamp,
    /// At most one waiting job has this key; a second one is not inserted.
    pub unique_key: Option<String>,
}

impl NewJob {
    /// A job that is due now.
    pub fn now(app: &App, kind: &'static str, payload: impl Serialize) -> NewJob {
        NewJob::at(app.now(), kind, payload)
    }

    /// A job that is due at an instant.
    pub fn at(run_at: Timestamp, kind: &'static str, payload: impl Serialize) -> NewJob {
        let payload = serde_json::to_value(payload).unwrap_or(serde_json::Value::Null);
        NewJob { kind, payload, run_at, unique_key: None }
    }

    /// Gives the job its unique key.
    #[must_use]
    pub fn once(mut self, unique_key: String) -> NewJob {
        self.unique_key = Some(unique_key);
        self
    }
}

/// A job that this worker has.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// Its id.
    pub id: JobId,
    /// A name in the worker's table.
    pub kind: String,
    /// Its argument.
    pub payload: serde_json::Value,
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// The request that caused it.
    pub request_id: Option<String>,
}

/// Inserts jobs in the caller's transaction, each with the id of the request at work.
pub async fn enqueue(app: &App, tx: &mut PgConnection, jobs: &[NewJob]) -> Result<(), DbError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let now = app.now();
    let request_id = super::telemetry::current_request_id();
    let ids: Vec<uuid::Uuid> = jobs.iter().map(|_| app.new_id::<uuid::Uuid>()).collect();
    let kinds: Vec<String> = jobs.iter().map(|job| job.kind.to_owned()).collect();
    let payloads: Vec<serde_json::Value> = jobs.iter().map(|job| job.payload.clone()).collect();
    let due: Vec<jiff_sqlx::Timestamp> = jobs.iter().map(|job| job.run_at.to_sqlx()).collect();
    let keys: Vec<Option<String>> = jobs.iter().map(|job| job.unique_key.clone()).collect();
    sqlx::query!(
        r#"
        insert into jobs (id, kind, payload, run_at, unique_key, request_id, created_at)
        select j.id, j.kind, j.payload, j.run_at, j.unique_key, $6, $7
        from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::timestamptz[], $5::text[])
            as j (id, kind, payload, run_at, unique_key)
        on conflict (unique_key) do nothing
        "#,
        &ids,
        &kinds,
        &payloads,
        &due as _,
        &keys as _,
        request_id,
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes up to `limit` due jobs under a lease. `now` is the application's clock, so that tests
/// can make jobs due; the lease runs on the database's.
pub async fn claim(
    tx: &mut PgConnection,
    now: Timestamp,
    limit: i64,
    lease_s: i64,
) -> Result<Vec<ClaimedJob>, DbError> {
    let jobs = sqlx::query_as!(
        ClaimedJob,
        r#"
        update jobs
        set lease_until = clock_timestamp() + make_interval(secs => $3::bigint::double precision),
            attempts = attempts + 1
        where id in (
            select id from jobs
            where run_at <= $1
                and dead_at is null
                and (lease_until is null or lease_until < clock_timestamp())
            order by run_at
            limit $2
            for update skip locked
        )
        returning id as "id: JobId", kind, payload, attempts, request_id
        "#,
        now.to_sqlx() as _,
        limit,
        lease_s,
    )
    .fetch_all(tx)
    .await?;
    Ok(jobs)
}

/// Removes a job that is done.
pub async fn done(conn: &mut PgConnection, id: JobId) -> Result<(), DbError> {
    sqlx::query!("delete from jobs where id = $1", id.get()).execute(conn).await?;
    Ok(())
}

/// Removes a job that nobody has yet, by its unique key: its work was done in another way.
pub async fn cancel(conn: &mut PgConnection, unique_key: &str) -> Result<(), DbError> {
    sqlx::query!(
        "delete from jobs where unique_key = $1 and (lease_until is null or lease_until < clock_timestamp())",
        unique_key,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts a job back for later, or aside when it was tried too often. True when it is dead now.
pub async fn failed(
    conn: &mut PgConnection,
    now: Timestamp,
    job: &ClaimedJob,
    error: &str,
) -> Result<bool, DbError> {
    let dead = job.attempts >= ATTEMPTS_MAX;
    let wait = SignedDuration::from_secs(backoff_s(job.attempts));
    let run_at = now.checked_add(wait).unwrap_or(now);
    sqlx::query!(
        r#"
        update jobs
        set lease_until = null,
            run_at = $2,
            last_error = left($3, 500),
            dead_at = case when $4 then $5::timestamptz end
        where id = $1
        "#,
        job.id.get(),
        run_at.to_sqlx() as _,
        error,
        dead,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(dead)
}

/// Puts a job back to run again at `run_at`, its attempts forgotten: for work that is followed
/// until it is known and for schedules.
pub async fn again(conn: &mut PgConnection, id: JobId, run_at: Timestamp) -> Result<(), DbError> {
    sqlx::query!(
        "update jobs set lease_until = null, attempts = 0, run_at = $2 where id = $1",
        id.get(),
        run_at.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Seconds to wait after so many attempts: 2, 4, 8 … at most two hours, with a spread that keeps
/// jobs which failed together from coming back together.
pub fn backoff_s(attempts: i32) -> i64 {
    let exponent = u32::try_from(attempts.clamp(1, 13)).unwrap_or(1);
    let base = 2_i64.saturating_pow(exponent).min(7_200);
    base.saturating_add(rand::random_range(0..=base / 4))
}

/// How many jobs wait and how many are dead, for metrics and the audit.
pub async fn counts(conn: &mut PgConnection) -> Result<(i64, i64), DbError> {
    let row = sqlx::query!(
        r#"
        select count(*) filter (where dead_at is null) as "waiting!",
            count(*) filter (where dead_at is not null) as "dead!"
        from jobs
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.waiting, row.dead))
}
