//! Refunds in Postgres.

use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;

use super::{Refund, RefundStatus};
use crate::kernel::ids::{PaymentId, RefundId, StaffId};
use crate::kernel::money::Vnd;
use crate::platform::db::DbError;

struct RefundRow {
    id: RefundId,
    payment_id: PaymentId,
    merchant_ref: String,
    amount_vnd: Vnd,
    status: RefundStatus,
    reason: String,
    requested_by: Option<StaffId>,
    created_at: jiff_sqlx::Timestamp,
    unanswered: i32,
    provider_ref: Option<String>,
    accepted_at: Option<jiff_sqlx::Timestamp>,
    done_at: Option<jiff_sqlx::Timestamp>,
    failure: Option<String>,
}

impl From<RefundRow> for Refund {
    fn from(row: RefundRow) -> Refund {
        Refund {
            id: row.id,
            payment_id: row.payment_id,
            request_ref: row.merchant_ref,
            amount: row.amount_vnd,
            status: row.status,
            reason: row.reason,
            requested_by: row.requested_by,
            created_at: row.created_at.to_jiff(),
            unanswered: row.unanswered,
            provider_ref: row.provider_ref,
            accepted_at: row.accepted_at.map(jiff_sqlx::Timestamp::to_jiff),
            done_at: row.done_at.map(jiff_sqlx::Timestamp::to_jiff),
            failure: row.failure,
        }
    }
}

macro_rules! refunds {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            RefundRow,
            r#"
            select
                id as "id: RefundId",
                payment_id as "payment_id: PaymentId",
                merchant_ref,
                amount_vnd as "amount_vnd: Vnd",
                status as "status: RefundStatus",
                reason,
                requested_by as "requested_by: StaffId",
                created_at,
                unanswered,
                provider_ref,
                accepted_at,
                done_at,
                failure
            from refunds
            "# + $tail
            $(, $argument)*
        )
    };
}

/// Writes a new refund; its payment is locked and counts it as on its way.
pub async fn insert(tx: &mut PgConnection, refund: &Refund) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into refunds (
            id, payment_id, merchant_ref, amount_vnd, status, reason, requested_by, created_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        "#,
        refund.id.get(),
        refund.payment_id.get(),
        refund.request_ref,
        refund.amount.get(),
        refund.status.as_str(),
        refund.reason,
        refund.requested_by.map(StaffId::get),
        refund.created_at.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A refund by its id.
pub async fn find(conn: &mut PgConnection, id: RefundId) -> Result<Option<Refund>, DbError> {
    let row = refunds!("where id = $1", id.get()).fetch_optional(conn).await?;
    Ok(row.map(Refund::from))
}

/// Whether an earlier refund of the same payment is still open. Refunds go out one by one,
/// because a gateway that is asked shows only the newest.
pub async fn waits_for_another(tx: &mut PgConnection, refund: &Refund) -> Result<bool, DbError> {
    let waits = sqlx::query_scalar!(
        r#"
        select exists (
            select 1 from refunds
            where payment_id = $1 and id < $2 and status in ('pending', 'accepted')
        ) as "waits!"
        "#,
        refund.payment_id.get(),
        refund.id.get(),
    )
    .fetch_one(tx)
    .await?;
    Ok(waits)
}

/// Whether `provider_ref` is another refund of the same payment.
pub async fn is_another(
    tx: &mut PgConnection,
    refund: &Refund,
    provider_ref: &str,
) -> Result<bool, DbError> {
    let known = sqlx::query_scalar!(
        r#"
        select exists (
            select 1 from refunds where payment_id = $1 and id <> $2 and provider_ref = $3
        ) as "known!"
        "#,
        refund.payment_id.get(),
        refund.id.get(),
        provider_ref,
    )
    .fetch_one(tx)
    .await?;
    Ok(known)
}

/// Writes what changes in a refund whose payment the transaction has locked.
pub async fn save(tx: &mut PgConnection, refund: &Refund) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        update refunds
        set status = $2,
            unanswered = $3,
            provider_ref = $4,
            accepted_at = $5,
            done_at = $6,
            failure = $7
        where id = $1
        "#,
        refund.id.get(),
        refund.status.as_str(),
        refund.unanswered,
        refund.provider_ref,
        refund.accepted_at.map(ToSqlx::to_sqlx) as _,
        refund.done_at.map(ToSqlx::to_sqlx) as _,
        refund.failure,
    )
    .execute(tx)
    .await?;
    Ok(())
}
