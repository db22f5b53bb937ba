//! The ledger's rows.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Account, Transfer};
use crate::kernel::ids::TransferId;
use crate::platform::App;
use crate::platform::db::DbError;

/// Posts transfers in the caller's transaction, in two statements however many they are.
///
/// A `(kind, source)` that was posted before makes the statement fail with the constraint
/// `ledger_transfers_once`: callers decide by their own state that an event is new.
pub async fn post(
    app: &App,
    tx: &mut PgConnection,
    now: Timestamp,
    transfers: &[Transfer],
) -> Result<Vec<TransferId>, DbError> {
    if transfers.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = transfers.iter().map(|_| app.new_id::<Uuid>()).collect();
    let kinds: Vec<String> = transfers.iter().map(|transfer| transfer.kind.to_owned()).collect();
    let sources: Vec<Uuid> = transfers.iter().map(|transfer| transfer.source_id).collect();
    let texts: Vec<String> =
        transfers.iter().map(|transfer| transfer.description.clone()).collect();
    let corrected: Vec<Option<Uuid>> =
        transfers.iter().map(|transfer| transfer.corrects.map(TransferId::get)).collect();
    sqlx::query!(
        r#"
        insert into ledger_transfers (id, kind, source_id, posted_at, description, corrects)
        select t.id, t.kind, t.source_id, $6, t.description, t.corrects
        from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::uuid[])
            as t (id, kind, source_id, description, corrects)
        "#,
        &ids,
        &kinds,
        &sources,
        &texts,
        &corrected as _,
        now.to_sqlx() as _,
    )
    .execute(&mut *tx)
    .await?;
    let mut owners = Vec::new();
    let mut accounts = Vec::new();
    let mut amounts = Vec::new();
    for (id, transfer) in ids.iter().zip(transfers) {
        for entry in &transfer.entries {
            owners.push(*id);
            accounts.push(entry.account.code().to_owned());
            amounts.push(entry.amount.get());
        }
    }
    sqlx::query!(
        r#"
        insert into ledger_entries (transfer_id, account_code, amount_vnd)
        select * from unnest($1::uuid[], $2::text[], $3::bigint[])
        "#,
        &owners,
        &accounts,
        &amounts,
    )
    .execute(tx)
    .await?;
    Ok(ids.into_iter().map(TransferId::from_uuid).collect())
}

/// Opens an account if it is not there yet.
pub async fn open_account(
    conn: &mut PgConnection,
    account: &Account,
    name: &str,
    kind: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into ledger_accounts (code, name, kind, created_at) values ($1, $2, $3, $4)
        on conflict (code) do nothing
        "#,
        account.code(),
        name,
        kind,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The transfer of an event, if it was posted.
pub async fn transfer_of(
    conn: &mut PgConnection,
    kind: &str,
    source_id: Uuid,
) -> Result<Option<TransferId>, DbError> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: TransferId" from ledger_transfers where kind = $1 and source_id = $2"#,
        kind,
        source_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// One account with its sums.
#[derive(Debug, Clone)]
pub struct AccountBalance {
    /// The account's code.
    pub code: String,
    /// Its Vietnamese name.
    pub name: String,
    /// asset, liability, income or expense.
    pub kind: String,
    /// Sum of all debits, VND.
    pub debit_vnd: i64,
    /// Sum of all credits, VND, as a positive number.
    pub credit_vnd: i64,
}

/// All accounts with the sums of what was posted up to `as_of`.
pub async fn balances(
    conn: &mut PgConnection,
    as_of: Timestamp,
) -> Result<Vec<AccountBalance>, DbError> {
    let rows = sqlx::query_as!(
        AccountBalance,
        r#"
        select a.code, a.name, a.kind,
            coalesce(sum(s.amount_vnd) filter (where s.amount_vnd > 0), 0)::bigint as "debit_vnd!",
            coalesce(-sum(s.amount_vnd) filter (where s.amount_vnd < 0), 0)::bigint as "credit_vnd!"
        from ledger_accounts a
        left join (
            select e.account_code, e.amount_vnd
            from ledger_entries e
            join ledger_transfers t on t.id = e.transfer_id
            where t.posted_at <= $1
        ) s on s.account_code = a.code
        group by a.code, a.name, a.kind
        order by a.code
        "#,
        as_of.to_sqlx() as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// One line of an account's statement.
#[derive(Debug, Clone)]
pub struct StatementLine {
    /// The entry's running number; rises with time.
    pub entry_id: i64,
    /// The transfer it belongs to.
    pub transfer_id: TransferId,
    /// Which business event.
    pub kind: String,
    /// The event's own id.
    pub source_id: Uuid,
    /// When it was posted.
    pub posted_at: jiff_sqlx::Timestamp,
    /// In words.
    pub description: String,
    /// Positive: debit. Negative: credit.
    pub amount_vnd: i64,
}

/// Whether there is such an account.
pub async fn account_exists(conn: &mut PgConnection, code: &str) -> Result<bool, DbError> {
    let found = sqlx::query_scalar!(
        r#"select exists (select 1 from ledger_accounts where code = $1) as "found!""#,
        code,
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Accounts by code: code, name and kind of each.
pub async fn accounts(
    conn: &mut PgConnection,
    skip: i64,
    limit: i64,
) -> Result<Vec<(String, String, String)>, DbError> {
    let rows = sqlx::query!(
        "select code, name, kind from ledger_accounts order by code offset $1 limit $2",
        skip,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.code, row.name, row.kind)).collect())
}

/// Which lines of an account.
#[derive(Debug, Clone, Default)]
pub struct StatementFilter {
    /// Only those posted at or after.
    pub from: Option<Timestamp>,
    /// Only those posted before.
    pub to: Option<Timestamp>,
    /// Only those with a lower running number.
    pub before: Option<i64>,
}

/// An account's lines, newest first.
pub async fn statement(
    conn: &mut PgConnection,
    code: &str,
    filter: &StatementFilter,
    limit: i64,
) -> Result<Vec<StatementLine>, DbError> {
    let lines = sqlx::query_as!(
        StatementLine,
        r#"
        select e.id as entry_id, t.id as "transfer_id: TransferId", t.kind, t.source_id,
            t.posted_at, t.description, e.amount_vnd
        from ledger_entries e
        join ledger_transfers t on t.id = e.transfer_id
        where e.account_code = $1
            and ($2::timestamptz is null or t.posted_at >= $2)
            and ($3::timestamptz is null or t.posted_at < $3)
            and ($4::bigint is null or e.id < $4)
        order by e.id desc
        limit $5
        "#,
        code,
        filter.from.map(ToSqlx::to_sqlx) as _,
        filter.to.map(ToSqlx::to_sqlx) as _,
        filter.before,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(lines)
}
