//! What providers sent, in Postgres: kept as received before anything is believed.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::ProviderKind;
use crate::kernel::ids::{MessageId, PaymentId};
use crate::platform::db::DbError;

/// A message as it was received.
#[derive(Clone)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Who is said to have sent it.
    pub provider: ProviderKind,
    /// What it answers: `ipn`, `query`, `refund`.
    pub kind: MessageKind,
    /// When it came.
    pub received_at: Timestamp,
    /// From which address.
    pub remote_addr: Option<IpAddr>,
    /// Its text: the query of an IPN, the body of an answer. Never logged.
    pub body: String,
    /// The payment we asked about.
    pub payment_id: Option<PaymentId>,
}

/// How a message came.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, strum::IntoStaticStr, strum::EnumString,
)]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum MessageKind {
    /// The provider called us.
    Ipn,
    /// The answer to a question.
    Query,
    /// The answer to a refund request.
    Refund,
}

impl MessageKind {
    /// The kind's word in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Keeps messages before anything is believed.
pub async fn add(conn: &mut PgConnection, messages: &[NewMessage]) -> Result<(), DbError> {
    let ids: Vec<Uuid> = messages.iter().map(|message| message.id.get()).collect();
    let providers: Vec<&str> = messages.iter().map(|message| message.provider.as_str()).collect();
    let kinds: Vec<&str> = messages.iter().map(|message| message.kind.as_str()).collect();
    let times: Vec<_> = messages.iter().map(|message| message.received_at.to_sqlx()).collect();
    let addresses: Vec<Option<String>> =
        messages.iter().map(|m| m.remote_addr.map(|address| address.to_string())).collect();
    let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
    let payments: Vec<Option<Uuid>> =
        messages.iter().map(|message| message.payment_id.map(PaymentId::get)).collect();
    sqlx::query!(
        r#"
        insert into provider_messages (
            id, provider, kind, received_at, remote_addr, body, payment_id
        )
        select * from unnest(
            $1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
            $7::uuid[]
        )
        "#,
        &ids,
        &providers as _,
        &kinds as _,
        &times as _,
        &addresses as _,
        &bodies as _,
        &payments as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a message turned out to be.
#[derive(Debug, Clone, Copy)]
pub struct MessageVerdict {
    /// The message.
    pub id: MessageId,
    /// In a word.
    pub verdict: &'static str,
    /// The payment it speaks of.
    pub payment_id: Option<PaymentId>,
}

/// Notes what messages turned out to be.
pub async fn judge(
    tx: &mut PgConnection,
    verdicts: &[MessageVerdict],
    now: Timestamp,
) -> Result<(), DbError> {
    let ids: Vec<Uuid> = verdicts.iter().map(|verdict| verdict.id.get()).collect();
    let words: Vec<&str> = verdicts.iter().map(|verdict| verdict.verdict).collect();
    let payments: Vec<Option<Uuid>> =
        verdicts.iter().map(|verdict| verdict.payment_id.map(PaymentId::get)).collect();
    sqlx::query!(
        r#"
        update provider_messages m
        set verdict = v.verdict, judged_at = $4, payment_id = coalesce(v.payment_id, m.payment_id)
        from unnest($1::uuid[], $2::text[], $3::uuid[]) as v (id, verdict, payment_id)
        where m.id = v.id
        "#,
        &ids,
        &words as _,
        &payments as _,
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A message that nobody judged: we were stopped between keeping and judging it.
pub struct UnjudgedMessage {
    /// The message.
    pub id: MessageId,
    /// Who is said to have sent it.
    pub provider: ProviderKind,
    /// How it came.
    pub kind: MessageKind,
    /// Its text.
    pub body: String,
}

/// Messages received before `before` that nobody judged.
pub async fn unjudged(
    conn: &mut PgConnection,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<UnjudgedMessage>, DbError> {
    let messages = sqlx::query_as!(
        UnjudgedMessage,
        r#"
        select
            id as "id: MessageId",
            provider as "provider: ProviderKind",
            kind as "kind: MessageKind",
            body
        from provider_messages
        where verdict is null and received_at < $1
        order by received_at
        limit $2
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(messages)
}

/// Removes messages received before `before` that were not the provider's.
pub async fn purge_unsigned(
    conn: &mut PgConnection,
    before: Timestamp,
    limit: i64,
) -> Result<u64, DbError> {
    let purged = sqlx::query!(
        r#"
        delete from provider_messages where id in (
            select id from provider_messages
            where verdict = 'bad_signature' and received_at < $1
            limit $2
        )
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(purged.rows_affected())
}
