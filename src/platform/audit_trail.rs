//! Acts that must be provable later: look-ups by plate, corrections, approvals.
//!
//! Each row's hash covers the row before it, so that a changed, moved or missing row shows. A
//! superuser could still rewrite the whole tail; an operator who needs more sends the newest hash
//! somewhere else now and then.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use super::db::DbError;

/// Serialises writers of the chain; any number that nobody else uses.
const LOCK: i64 = 0x6970_6172_6b00_0001;

/// The hash before the first row.
const GENESIS: [u8; 32] = [0; 32];

/// One row of the trail.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub id: i64,
    /// When it happened.
    pub at: jiff_sqlx::Timestamp,
    /// Who did it: `staff:<id>`, `driver:<id>`.
    pub actor: String,
    /// What was done: `sessions.search_by_plate`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// The hash of the row before it.
    pub previous_hash: Vec<u8>,
    /// Its own hash.
    pub hash: Vec<u8>,
}

/// A plate as a subject: keyed, so that the trail itself tells no movements, yet anyone who has
/// the key and a plate can prove who looked it up.
pub fn plate_subject(key: &str, plate_key: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return "plate".to_owned();
    };
    mac.update(plate_key.as_bytes());
    format!("plate:{}", hex::encode(mac.finalize().into_bytes()))
}

/// Adds a row in the caller's transaction.
pub async fn record(
    tx: &mut PgConnection,
    now: Timestamp,
    actor: &str,
    action: &str,
    subject: &str,
) -> Result<(), DbError> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *tx).await?;
    let previous: Vec<u8> =
        sqlx::query_scalar!("select hash from audit_log order by id desc limit 1")
            .fetch_optional(&mut *tx)
            .await?
            .unwrap_or_else(|| GENESIS.to_vec());
    // Postgres keeps microseconds: hash what will be read back.
    let at = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let hash = hash_of(&previous, at, actor, action, subject);
    sqlx::query!(
        r#"
        insert into audit_log (at, actor, action, subject, previous_hash, hash)
        values ($1, $2, $3, $4, $5, $6)
        "#,
        at.to_sqlx() as _,
        actor,
        action,
        subject,
        previous,
        hash,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Rows after number `after`, in order, for checking the chain in pieces.
pub async fn read(conn: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Record>, DbError> {
    let rows = sqlx::query_as!(
        Record,
        r#"
        select id, at, actor, action, subject, previous_hash, hash
        from audit_log where id > $1 order by id limit $2
        "#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The first row of `rows` that does not follow from the one before it; `previous` is the hash
/// before the first of them, or `None` at the start of the trail.
pub fn first_break(previous: Option<&[u8]>, rows: &[Record]) -> Option<i64> {
    let mut previous = previous.unwrap_or(&GENESIS);
    for row in rows {
        let at = row.at.to_jiff();
        let hash = hash_of(previous, at, &row.actor, &row.action, &row.subject);
        if row.previous_hash != previous || row.hash != hash {
            return Some(row.id);
        }
        previous = &row.hash;
    }
    None
}

fn hash_of(previous: &[u8], at: Timestamp, actor: &str, action: &str, subject: &str) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    for part in [&at.as_microsecond().to_string(), actor, action, subject] {
        // Lengths first, so that no two different rows have the same bytes.
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_vec()
}
