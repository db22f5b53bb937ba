//! Remembered answers: the same key with the same body gets the same answer.
//!
//! A row per `(actor, key)` is written in the business transaction itself. A second request with
//! the key waits in Postgres for the first one to commit and then reads its answer on the same
//! connection. Only success is remembered: a refusal changed nothing, so trying again is safe and
//! may go better. Follows the IETF draft "The Idempotency-Key HTTP Header Field" (-07).
//! Rows are removed after [`KEPT_H`] hours.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use super::db::DbError;

/// Hours that an answer is remembered.
pub const KEPT_H: i64 = 72;

/// One request as idempotency sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks: `driver:<id>` or `staff:<id>`.
    pub actor: String,
    /// The `Idempotency-Key` header.
    pub key: String,
    /// Method and path.
    pub route: String,
    /// SHA-256 of the body in canonical form.
    pub hash: Vec<u8>,
}

impl Request {
    /// Describes a request; `body` is hashed as JSON with sorted keys.
    pub fn new(actor: String, key: String, route: &str, body: &serde_json::Value) -> Request {
        let mut hasher = Sha256::new();
        hasher.update(route.as_bytes());
        hasher.update([0]);
        hasher.update(body.to_string().as_bytes());
        Request { actor, key, route: route.to_owned(), hash: hasher.finalize().to_vec() }
    }
}

/// An answer that was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, to the letter.
    pub body: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: do the work, then call [`remember`] in the same transaction.
    Fresh,
    /// The same request was answered with this.
    Answered(Answer),
    /// Another request used the key.
    Reused,
}

/// Claims the key in the caller's transaction, waiting for another request that has it.
pub async fn claim(
    tx: &mut PgConnection,
    request: &Request,
    now: Timestamp,
) -> Result<Known, DbError> {
    let inserted = sqlx::query!(
        r#"
        insert into idempotency_keys (actor, key, route, request_hash, status, response, created_at)
        values ($1, $2, $3, $4, 0, '', $5)
        on conflict (actor, key) do nothing
        "#,
        request.actor,
        request.key,
        request.route,
        request.hash,
        now.to_sqlx() as _,
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Known::Fresh);
    }
    let row = sqlx::query!(
        "select request_hash, status, response from idempotency_keys where actor = $1 and key = $2",
        request.actor,
        request.key,
    )
    .fetch_one(tx)
    .await?;
    if row.request_hash != request.hash {
        return Ok(Known::Reused);
    }
    let status = u16::try_from(row.status).unwrap_or(500);
    Ok(Known::Answered(Answer { status, body: row.response }))
}

/// Keeps the answer in the transaction that did the work.
pub async fn remember(
    tx: &mut PgConnection,
    request: &Request,
    answer: &Answer,
) -> Result<(), DbError> {
    sqlx::query!(
        "update idempotency_keys set status = $3, response = $4 where actor = $1 and key = $2",
        request.actor,
        request.key,
        i16::try_from(answer.status).unwrap_or(500),
        answer.body,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes answers older than [`KEPT_H`] hours, a bounded number at a time.
pub async fn reap(conn: &mut PgConnection, now: Timestamp) -> Result<u64, DbError> {
    let old = now.checked_sub(jiff::SignedDuration::from_hours(KEPT_H)).unwrap_or(now);
    let reaped = sqlx::query!(
        r#"
        delete from idempotency_keys where (actor, key) in (
            select actor, key from idempotency_keys where created_at < $1 limit 10000
        )
        "#,
        old.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(reaped.rows_affected())
}
