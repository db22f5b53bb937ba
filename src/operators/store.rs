//! SQL of operators, staff and API keys.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::postgres::PgConnection;

use super::NewStaff;
use crate::kernel::ids::{ApiKeyId, OperatorId, StaffId};
use crate::platform::db::DbError;

/// The operator of this code.
pub async fn id_by_code(
    conn: &mut PgConnection,
    code: &str,
) -> Result<Option<OperatorId>, DbError> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: OperatorId" from operators where code = $1"#,
        code,
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// Employs someone; a known username gets the new password, role and employer.
pub async fn put_staff(
    conn: &mut PgConnection,
    id: StaffId,
    new: &NewStaff,
    password_hash: &str,
    now: Timestamp,
) -> Result<StaffId, DbError> {
    let id = sqlx::query_scalar!(
        r#"
        insert into staff (id, operator_id, username, password_hash, role, created_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (username) do update
        set password_hash = excluded.password_hash, role = excluded.role,
            operator_id = excluded.operator_id, disabled_at = null
        returning id as "id: StaffId"
        "#,
        id.get(),
        new.operator_id.map(OperatorId::get),
        new.username,
        password_hash,
        new.role.as_str(),
        now.to_sqlx() as _,
    )
    .fetch_one(conn)
    .await?;
    Ok(id)
}

/// Adds an API key by its hash; a known one stays.
pub async fn insert_api_key(
    conn: &mut PgConnection,
    id: ApiKeyId,
    operator: OperatorId,
    name: &str,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into api_keys (id, operator_id, name, key_hash, created_at)
        values ($1, $2, $3, $4, $5)
        on conflict (key_hash) do nothing
        "#,
        id.get(),
        operator.get(),
        name,
        hash.as_slice(),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Revokes an API key; servers forget it within half a minute.
pub async fn revoke_api_key(
    conn: &mut PgConnection,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        "update api_keys set revoked_at = $2 where id = $1 and revoked_at is null",
        id.get(),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Dismisses someone: their tokens stop working with the next request.
pub async fn disable_staff(
    conn: &mut PgConnection,
    id: StaffId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        "update staff set disabled_at = $2 where id = $1 and disabled_at is null",
        id.get(),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}
