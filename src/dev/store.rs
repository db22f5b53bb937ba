//! The rows behind a development run's logins.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;

use crate::kernel::ids::{ApiKeyId, LotId, OperatorId, StaffId};

/// A member of staff to be entered.
pub(super) struct NewStaff<'a> {
    pub(super) id: StaffId,
    /// `None` for the platform's own people.
    pub(super) operator: Option<OperatorId>,
    pub(super) username: &'a str,
    pub(super) password_hash: String,
    pub(super) role: &'a str,
}

/// The operator of that code.
pub(super) async fn operator(
    conn: &mut PgConnection,
    code: &str,
) -> Result<OperatorId, sqlx::Error> {
    let id = sqlx::query_scalar!("select id from operators where code = $1", code)
        .fetch_one(conn)
        .await?;
    Ok(OperatorId::from_uuid(id))
}

/// The lot of that code.
pub(super) async fn lot(conn: &mut PgConnection, code: &str) -> Result<LotId, sqlx::Error> {
    let id =
        sqlx::query_scalar!("select id from lots where code = $1", code).fetch_one(conn).await?;
    Ok(LotId::from_uuid(id))
}

/// Enters a member of staff; one of that name gets the password, so that a run whose secrets were
/// made anew can be logged in to.
pub(super) async fn put_staff(
    conn: &mut PgConnection,
    new: &NewStaff<'_>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into staff (id, operator_id, username, password_hash, role, created_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (username) do update
        set password_hash = excluded.password_hash
        "#,
        new.id.get(),
        new.operator.map(OperatorId::get),
        new.username,
        new.password_hash,
        new.role,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Enters an API key if it is new.
pub(super) async fn put_api_key(
    conn: &mut PgConnection,
    id: ApiKeyId,
    operator: OperatorId,
    key_hash: &[u8],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into api_keys (id, operator_id, name, key_hash, created_at)
        values ($1, $2, 'iparking dev', $3, $4)
        on conflict (key_hash) do nothing
        "#,
        id.get(),
        operator.get(),
        key_hash,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
