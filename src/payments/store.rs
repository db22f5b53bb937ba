//! Payments in Postgres.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;

use super::{FailureReason, MerchantRef, Payment, PaymentStatus, ProviderKind};
use crate::kernel::ids::{DriverId, ParkingSessionId, PaymentId};
use crate::kernel::money::Vnd;
use crate::platform::db::DbError;

struct PaymentRow {
    id: PaymentId,
    parking_session_id: ParkingSessionId,
    driver_id: Option<DriverId>,
    provider: ProviderKind,
    merchant_ref: String,
    amount_vnd: Vnd,
    status: PaymentStatus,
    recovery_point: String,
    return_url: String,
    client_ip: String,
    redirect_url: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    expires_at: jiff_sqlx::Timestamp,
    settled_at: Option<jiff_sqlx::Timestamp>,
    failure: Option<FailureReason>,
    provider_txn: Option<String>,
    provider_paid_at: Option<jiff_sqlx::Timestamp>,
    late: bool,
    held: bool,
    refunding_vnd: Vnd,
    refunded_vnd: Vnd,
}

impl From<PaymentRow> for Payment {
    fn from(row: PaymentRow) -> Payment {
        Payment {
            id: row.id,
            parking_session_id: row.parking_session_id,
            driver_id: row.driver_id,
            provider: row.provider,
            merchant_ref: MerchantRef::named(row.merchant_ref),
            amount: row.amount_vnd,
            status: row.status,
            is_instructed: row.recovery_point == "instructed",
            return_url: row.return_url,
            payer_ip: row.client_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            redirect_url: row.redirect_url,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.to_jiff(),
            settled_at: row.settled_at.map(jiff_sqlx::Timestamp::to_jiff),
            failure: row.failure,
            provider_txn: row.provider_txn,
            provider_paid_at: row.provider_paid_at.map(jiff_sqlx::Timestamp::to_jiff),
            is_late: row.late,
            is_held: row.held,
            refunding: row.refunding_vnd,
            refunded: row.refunded_vnd,
        }
    }
}

macro_rules! payments {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            PaymentRow,
            r#"
            select
                id as "id: PaymentId",
                parking_session_id as "parking_session_id: ParkingSessionId",
                driver_id as "driver_id: DriverId",
                provider as "provider: ProviderKind",
                merchant_ref,
                amount_vnd as "amount_vnd: Vnd",
                status as "status: PaymentStatus",
                recovery_point,
                return_url,
                client_ip,
                redirect_url,
                created_at,
                expires_at,
                settled_at,
                failure as "failure: FailureReason",
                provider_txn,
                provider_paid_at,
                late,
                held,
                refunding_vnd as "refunding_vnd: Vnd",
                refunded_vnd as "refunded_vnd: Vnd"
            from payments
            "# + $tail
            $(, $argument)*
        )
    };
}

fn payments_of(rows: Vec<PaymentRow>) -> Vec<Payment> {
    rows.into_iter().map(Payment::from).collect()
}

/// Writes a new payment. Violates `payments_one_pending` while the session has another one.
pub async fn insert(tx: &mut PgConnection, payment: &Payment) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into payments (
            id, parking_session_id, driver_id, provider, merchant_ref, amount_vnd, status,
            return_url, client_ip, created_at, expires_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        "#,
        payment.id.get(),
        payment.parking_session_id.get(),
        payment.driver_id.map(DriverId::get),
        payment.provider.as_str(),
        payment.merchant_ref.as_str(),
        payment.amount.get(),
        payment.status.as_str(),
        payment.return_url,
        payment.payer_ip.to_string(),
        payment.created_at.to_sqlx() as _,
        payment.expires_at.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Keeps how the driver pays and ends the creation.
pub async fn set_instructions(
    tx: &mut PgConnection,
    id: PaymentId,
    redirect_url: &str,
) -> Result<(), DbError> {
    sqlx::query!(
        "update payments set redirect_url = $2, recovery_point = 'instructed' where id = $1",
        id.get(),
        redirect_url,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A payment by its id.
pub async fn find(conn: &mut PgConnection, id: PaymentId) -> Result<Option<Payment>, DbError> {
    let row = payments!("where id = $1", id.get()).fetch_optional(conn).await?;
    Ok(row.map(Payment::from))
}

/// A payment by our name for it.
pub async fn find_by_ref(
    conn: &mut PgConnection,
    provider: ProviderKind,
    merchant_ref: &str,
) -> Result<Option<Payment>, DbError> {
    let row =
        payments!("where merchant_ref = $1 and provider = $2", merchant_ref, provider.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(row.map(Payment::from))
}

/// Where the driver pays, by our name for the payment at whichever provider.
pub async fn redirect_url_of(
    conn: &mut PgConnection,
    merchant_ref: &str,
) -> Result<Option<String>, DbError> {
    let found = sqlx::query_scalar!(
        "select redirect_url from payments where merchant_ref = $1",
        merchant_ref,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.flatten())
}

/// Which payments of a list it shall hold; newest first, those before `before`.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    /// Only this driver's.
    pub driver: Option<DriverId>,
    /// Only this session's.
    pub session: Option<ParkingSessionId>,
    /// Only those in this state.
    pub status: Option<PaymentStatus>,
    /// Only those created at or after.
    pub from: Option<Timestamp>,
    /// Only those created before.
    pub to: Option<Timestamp>,
    /// Only those older than this one.
    pub before: Option<PaymentId>,
}

/// A page of payments.
pub async fn page(
    conn: &mut PgConnection,
    filter: &PaymentFilter,
    limit: i64,
) -> Result<Vec<Payment>, DbError> {
    let rows = payments!(
        r#"
        where ($1::uuid is null or driver_id = $1)
            and ($2::uuid is null or parking_session_id = $2)
            and ($3::text is null or status = $3)
            and ($4::timestamptz is null or created_at >= $4)
            and ($5::timestamptz is null or created_at < $5)
            and ($6::uuid is null or id < $6)
        order by id desc
        limit $7
        "#,
        filter.driver.map(DriverId::get),
        filter.session.map(ParkingSessionId::get),
        filter.status.map(PaymentStatus::as_str),
        filter.from.map(ToSqlx::to_sqlx) as _,
        filter.to.map(ToSqlx::to_sqlx) as _,
        filter.before.map(PaymentId::get),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(payments_of(rows))
}

/// The sessions that these payments are about, each once and in the order of locking.
pub async fn sessions_of_refs(
    tx: &mut PgConnection,
    refs: &[String],
) -> Result<Vec<ParkingSessionId>, DbError> {
    let ids = sqlx::query_scalar!(
        r#"
        select distinct parking_session_id as "id: ParkingSessionId"
        from payments
        where merchant_ref = any($1)
        order by 1
        "#,
        refs,
    )
    .fetch_all(tx)
    .await?;
    Ok(ids)
}

/// Locks payments by our names for them, in the order of their sessions.
pub async fn lock_by_refs(tx: &mut PgConnection, refs: &[String]) -> Result<Vec<Payment>, DbError> {
    let rows =
        payments!("where merchant_ref = any($1) order by parking_session_id, id for update", refs)
            .fetch_all(tx)
            .await?;
    Ok(payments_of(rows))
}

/// Locks the payments of a session that were collected, newest first.
pub async fn lock_collected(
    tx: &mut PgConnection,
    session: ParkingSessionId,
) -> Result<Vec<Payment>, DbError> {
    let rows = payments!(
        r#"
        where parking_session_id = $1 and settled_at is not null
        order by id desc
        limit 100
        for update
        "#,
        session.get()
    )
    .fetch_all(tx)
    .await?;
    Ok(payments_of(rows))
}

/// Locks a payment.
pub async fn lock(tx: &mut PgConnection, id: PaymentId) -> Result<Option<Payment>, DbError> {
    let row = payments!("where id = $1 for update", id.get()).fetch_optional(tx).await?;
    Ok(row.map(Payment::from))
}

/// Writes what changes in payments that the transaction has locked, all in one statement.
pub async fn save(tx: &mut PgConnection, payments: &[&Payment]) -> Result<(), DbError> {
    fn column<T>(payments: &[&Payment], value: impl Fn(&Payment) -> T) -> Vec<T> {
        payments.iter().map(|payment| value(payment)).collect()
    }
    if payments.is_empty() {
        return Ok(());
    }
    let ids = column(payments, |payment| payment.id.get());
    let statuses = column(payments, |payment| payment.status.as_str().to_owned());
    let settled = column(payments, |payment| payment.settled_at.map(ToSqlx::to_sqlx));
    let failures = column(payments, |payment| payment.failure.map(|f| f.as_str().to_owned()));
    let txns = column(payments, |payment| payment.provider_txn.clone());
    let paid = column(payments, |payment| payment.provider_paid_at.map(ToSqlx::to_sqlx));
    let late = column(payments, |payment| payment.is_late);
    let held = column(payments, |payment| payment.is_held);
    let refunding = column(payments, |payment| payment.refunding.get());
    let refunded = column(payments, |payment| payment.refunded.get());
    sqlx::query!(
        r#"
        update payments p
        set status = c.status,
            settled_at = c.settled_at,
            failure = c.failure,
            provider_txn = c.provider_txn,
            provider_paid_at = c.provider_paid_at,
            late = c.late,
            held = c.held,
            refunding_vnd = c.refunding_vnd,
            refunded_vnd = c.refunded_vnd
        from unnest(
            $1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::timestamptz[],
            $7::boolean[], $8::boolean[], $9::bigint[], $10::bigint[]
        ) as c (
            id, status, settled_at, failure, provider_txn, provider_paid_at,
            late, held, refunding_vnd, refunded_vnd
        )
        where p.id = c.id
        "#,
        &ids,
        &statuses,
        &settled as _,
        &failures as _,
        &txns as _,
        &paid as _,
        &late,
        &held,
        &refunding,
        &refunded,
    )
    .execute(tx)
    .await?;
    Ok(())
}
