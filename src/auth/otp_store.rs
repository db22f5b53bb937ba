//! SQL of one-time codes.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::postgres::PgConnection;

use super::otp::Sent;
use crate::kernel::ids::ChallengeId;
use crate::kernel::phone::Phone;
use crate::platform::db::DbError;

/// Counts the codes sent lately, after everybody else who asks for this number has finished.
pub async fn codes_sent(
    tx: &mut PgConnection,
    phone: &Phone,
    now: Timestamp,
) -> Result<Sent, DbError> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 20261127))", phone.e164())
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query!(
        r#"
        select
            max(created_at) as newest,
            count(*) filter (where created_at > $2::timestamptz - interval '1 hour') as "in_hour!",
            min(created_at) filter (where created_at > $2::timestamptz - interval '1 hour')
                as oldest_in_hour,
            count(*) as "in_day!",
            min(created_at) as oldest_in_day,
            (
                select count(*) from otp_challenges
                where created_at > $2::timestamptz - interval '1 hour'
            ) as "all_in_hour!"
        from otp_challenges
        where phone = $1
            and created_at > $2::timestamptz - interval '1 day'
        "#,
        phone.e164(),
        now.to_sqlx() as _,
    )
    .fetch_one(tx)
    .await?;
    Ok(Sent {
        newest: row.newest.map(jiff_sqlx::Timestamp::to_jiff),
        in_hour: row.in_hour,
        oldest_in_hour: row.oldest_in_hour.map(jiff_sqlx::Timestamp::to_jiff),
        in_day: row.in_day,
        oldest_in_day: row.oldest_in_day.map(jiff_sqlx::Timestamp::to_jiff),
        all_in_hour: row.all_in_hour,
    })
}

/// Adds a challenge.
pub async fn insert_challenge(
    tx: &mut PgConnection,
    id: ChallengeId,
    phone: &Phone,
    seed: &[u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into otp_challenges (id, phone, code_seed, created_at, expires_at)
        values ($1, $2, $3, $4, $5)
        "#,
        id.get(),
        phone.e164(),
        seed.as_slice(),
        now.to_sqlx() as _,
        expires_at.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A challenge that may still be answered.
pub struct Challenge {
    /// The number that was asked for, E.164.
    pub phone: String,
    /// What the code is computed from.
    pub seed: Vec<u8>,
}

/// The challenge that a code is still to be sent for.
pub async fn challenge_to_send(
    conn: &mut PgConnection,
    id: ChallengeId,
    now: Timestamp,
) -> Result<Option<Challenge>, DbError> {
    let challenge = sqlx::query_as!(
        Challenge,
        r#"
        select phone, code_seed as seed from otp_challenges
        where id = $1 and used_at is null and expires_at > $2
        "#,
        id.get(),
        now.to_sqlx() as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(challenge)
}

/// Charges one guess to a living challenge and locks it.
pub async fn guess_at_challenge(
    tx: &mut PgConnection,
    id: ChallengeId,
    attempts_max: i32,
    now: Timestamp,
) -> Result<Option<Challenge>, DbError> {
    let challenge = sqlx::query_as!(
        Challenge,
        r#"
        update otp_challenges set attempts = attempts + 1
        where id = $1 and used_at is null and expires_at > $2 and attempts < $3
        returning phone, code_seed as seed
        "#,
        id.get(),
        now.to_sqlx() as _,
        attempts_max,
    )
    .fetch_optional(tx)
    .await?;
    Ok(challenge)
}

/// Why a challenge cannot be answered: its expiry, and whether its guesses are used up.
pub async fn challenge_state(
    conn: &mut PgConnection,
    id: ChallengeId,
    attempts_max: i32,
) -> Result<Option<(Timestamp, bool)>, DbError> {
    let row = sqlx::query!(
        r#"
        select expires_at, (used_at is null and attempts >= $2) as "guessed_out!"
        from otp_challenges where id = $1
        "#,
        id.get(),
        attempts_max,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.expires_at.to_jiff(), row.guessed_out)))
}

/// Marks a challenge as answered.
pub async fn use_challenge(
    tx: &mut PgConnection,
    id: ChallengeId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        "update otp_challenges set used_at = $2 where id = $1",
        id.get(),
        now.to_sqlx() as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
