//! The books, for finance.

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::store::{self, AccountBalance, StatementLine};
use crate::auth::guard::{Finance, Guard};
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::web::extract::{Page, Path, Query, page_limit, read_cursor, write_cursor};
use crate::web::problem::Problem;

/// `?as_of=`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialBalanceQuery {
    as_of: Option<Timestamp>,
}

#[derive(Serialize)]
struct TrialBalance {
    as_of: Timestamp,
    balanced: bool,
    items: Vec<TrialBalanceItem>,
    total_debit_vnd: i64,
    total_credit_vnd: i64,
}

#[derive(Serialize)]
struct TrialBalanceItem {
    code: String,
    name: String,
    kind: String,
    debit_vnd: i64,
    credit_vnd: i64,
    balance_vnd: i64,
}

impl From<AccountBalance> for TrialBalanceItem {
    fn from(account: AccountBalance) -> TrialBalanceItem {
        TrialBalanceItem {
            code: account.code,
            name: account.name,
            kind: account.kind,
            debit_vnd: account.debit_vnd,
            credit_vnd: account.credit_vnd,
            balance_vnd: account.debit_vnd.saturating_sub(account.credit_vnd),
        }
    }
}

/// `GET /v1/finance/trial-balance`
pub async fn trial_balance(
    app: web::Data<App>,
    _finance: Guard<Finance>,
    query: Query<TrialBalanceQuery>,
) -> Result<HttpResponse, Problem> {
    let as_of = query.0.as_of.unwrap_or_else(|| app.now());
    let accounts: Result<Vec<AccountBalance>, DbError> =
        on_conn!(app.db(), |conn| store::balances(conn, as_of).await);
    let items: Vec<TrialBalanceItem> = accounts?.into_iter().map(Into::into).collect();
    let total = |of: fn(&TrialBalanceItem) -> i64| {
        items.iter().fold(0_i64, |sum, item| sum.saturating_add(of(item)))
    };
    let (total_debit_vnd, total_credit_vnd) = (total(|i| i.debit_vnd), total(|i| i.credit_vnd));
    Ok(HttpResponse::Ok().json(TrialBalance {
        as_of,
        balanced: total_debit_vnd == total_credit_vnd,
        items,
        total_debit_vnd,
        total_credit_vnd,
    }))
}

/// `?limit=&cursor=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct AccountView {
    code: String,
    name: String,
    kind: String,
}

/// `GET /v1/finance/accounts`: by code. The cursor is the position in that order.
pub async fn accounts(
    app: web::Data<App>,
    _finance: Guard<Finance>,
    query: Query<AccountsQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let skip = number_in(query.0.cursor.as_deref())?.unwrap_or(0);
    let ask = limit.saturating_add(1);
    let rows: Result<Vec<(String, String, String)>, DbError> =
        on_conn!(app.db(), |conn| store::accounts(conn, skip, ask).await);
    let mut items: Vec<AccountView> =
        rows?.into_iter().map(|(code, name, kind)| AccountView { code, name, kind }).collect();
    let kept = usize::try_from(limit).unwrap_or(0);
    let next_cursor = (items.len() > kept).then(|| cursor_of(skip.saturating_add(limit)));
    items.truncate(kept);
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// `?from=&to=&limit=&cursor=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: Option<i64>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct EntryView {
    transfer_id: Uuid,
    kind: String,
    source_id: Uuid,
    posted_at: Timestamp,
    description: String,
    debit_vnd: i64,
    credit_vnd: i64,
}

impl From<StatementLine> for EntryView {
    fn from(line: StatementLine) -> EntryView {
        EntryView {
            transfer_id: line.transfer_id.get(),
            kind: line.kind,
            source_id: line.source_id,
            posted_at: line.posted_at.to_jiff(),
            description: line.description,
            debit_vnd: line.amount_vnd.max(0),
            credit_vnd: line.amount_vnd.min(0).saturating_neg(),
        }
    }
}

/// `GET /v1/finance/accounts/{code}/entries`: newest first.
pub async fn entries(
    app: web::Data<App>,
    _finance: Guard<Finance>,
    code: Path<String>,
    query: Query<EntriesQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let filter = store::StatementFilter {
        from: query.0.from,
        to: query.0.to,
        before: number_in(query.0.cursor.as_deref())?,
    };
    let ask = limit.saturating_add(1);
    let found: Result<Option<Vec<StatementLine>>, DbError> = on_conn!(app.db(), |conn| {
        if store::account_exists(conn, &code.0).await? {
            store::statement(conn, &code.0, &filter, ask).await.map(Some)
        } else {
            Ok(None)
        }
    });
    let mut lines = found?.ok_or_else(Problem::not_found)?;
    let kept = usize::try_from(limit).unwrap_or(0);
    let more = lines.len() > kept;
    lines.truncate(kept);
    let next_cursor = lines.last().filter(|_| more).map(|line| cursor_of(line.entry_id));
    let items: Vec<EntryView> = lines.into_iter().map(Into::into).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Cursors carry a UUID; here its low half is a running number.
fn number_in(cursor: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(id) = read_cursor(cursor)? else { return Ok(None) };
    match i64::try_from(id.as_u128()) {
        Ok(number) => Ok(Some(number)),
        Err(_too_large) => Err(Problem::field("cursor", "the next_cursor of an earlier page")),
    }
}

fn cursor_of(number: i64) -> String {
    write_cursor(Uuid::from_u128(u128::try_from(number).unwrap_or(0)))
}
