//! SQL of logins: drivers by phone, staff by name, refresh tokens, API keys.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::postgres::PgConnection;

use super::refresh::Known;
use super::{Device, Role, RoleName};
use crate::kernel::ids::{ApiKeyId, DriverId, LoginId, OperatorId, StaffId};
use crate::platform::db::DbError;

/// Whose login it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A driver.
    Driver(DriverId),
    /// A member of staff, and their present role.
    Staff(StaffId, Role),
}

/// A member of staff as the password grant needs them.
pub struct StaffSecret {
    /// Who.
    pub id: StaffId,
    /// Their role.
    pub role: Role,
    /// Argon2id, in PHC form.
    pub password_hash: String,
}

/// The driver with this number; a new one under `new_id` if there is none.
pub async fn driver_with_phone(
    tx: &mut PgConnection,
    new_id: DriverId,
    phone: &str,
    now: Timestamp,
) -> Result<DriverId, DbError> {
    let row = sqlx::query!(
        r#"
        insert into drivers (id, phone, created_at) values ($1, $2, $3)
        on conflict (phone) do update set phone = excluded.phone
        returning id as "id: DriverId"
        "#,
        new_id.get(),
        phone,
        now.to_sqlx() as _,
    )
    .fetch_one(tx)
    .await?;
    Ok(row.id)
}

/// A member of staff by username; `None` when unknown or disabled.
pub async fn staff_by_username(
    conn: &mut PgConnection,
    username: &str,
) -> Result<Option<StaffSecret>, DbError> {
    let row = sqlx::query!(
        r#"
        select id as "id: StaffId", role, operator_id as "operator_id: OperatorId", password_hash
        from staff where username = $1 and disabled_at is null
        "#,
        username,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| {
        let role = role(&row.role, row.operator_id)?;
        Some(StaffSecret { id: row.id, role, password_hash: row.password_hash })
    }))
}

/// The present role of a member of staff; `None` when unknown or disabled.
pub async fn staff_role(conn: &mut PgConnection, id: StaffId) -> Result<Option<Role>, DbError> {
    let row = sqlx::query!(
        r#"
        select role, operator_id as "operator_id: OperatorId"
        from staff where id = $1 and disabled_at is null
        "#,
        id.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.and_then(|row| role(&row.role, row.operator_id)))
}

fn role(name: &str, operator_id: Option<OperatorId>) -> Option<Role> {
    name.parse::<RoleName>().ok()?.of(operator_id)
}

/// Adds a login.
pub async fn insert_login(
    tx: &mut PgConnection,
    id: LoginId,
    owner: Owner,
    now: Timestamp,
) -> Result<(), DbError> {
    let (driver, staff) = match owner {
        Owner::Driver(driver) => (Some(driver.get()), None),
        Owner::Staff(staff, _) => (None, Some(staff.get())),
    };
    sqlx::query!(
        "insert into logins (id, driver_id, staff_id, created_at) values ($1, $2, $3, $4)",
        id.get(),
        driver,
        staff,
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds a refresh token; the same one again changes nothing.
pub async fn insert_refresh_token(
    tx: &mut PgConnection,
    hash: &[u8; 32],
    login: LoginId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into refresh_tokens (token_hash, login_id, created_at, expires_at)
        values ($1, $2, $3, $4)
        on conflict (token_hash) do nothing
        "#,
        hash.as_slice(),
        login.get(),
        now.to_sqlx() as _,
        expires_at.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What is known of a refresh token, whose it is, locked against its parallel use.
pub struct ShownToken {
    /// The family.
    pub login: LoginId,
    /// Whose; `None` when the member of staff is gone.
    pub owner: Option<Owner>,
    /// For the judgement.
    pub known: Known,
}

/// Looks a shown refresh token up and locks it. `successor` is the hash of the one token that can
/// follow it.
pub async fn shown_token(
    tx: &mut PgConnection,
    hash: &[u8; 32],
    successor: &[u8; 32],
) -> Result<Option<ShownToken>, DbError> {
    let row = sqlx::query!(
        r#"
        select
            r.login_id as "login: LoginId", r.expires_at, r.used_at, l.ended_at,
            l.driver_id as "driver: DriverId", s.id as "staff?: StaffId",
            s.role as "role?", s.operator_id as "operator_id?: OperatorId"
        from refresh_tokens r
        join logins l on l.id = r.login_id
        left join staff s on s.id = l.staff_id and s.disabled_at is null
        where r.token_hash = $1
        for update of r
        "#,
        hash.as_slice(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // Asked after the lock: whoever held it may just have made the successor.
    let successor_used = sqlx::query_scalar!(
        r#"select used_at is not null as "used!" from refresh_tokens where token_hash = $1"#,
        successor.as_slice(),
    )
    .fetch_optional(tx)
    .await?
    .unwrap_or(false);
    let owner = row.driver.map(Owner::Driver).or_else(|| {
        let role = role(row.role.as_deref()?, row.operator_id)?;
        Some(Owner::Staff(row.staff?, role))
    });
    Ok(Some(ShownToken {
        login: row.login,
        owner,
        known: Known {
            expires_at: row.expires_at.to_jiff(),
            used_at: row.used_at.map(jiff_sqlx::Timestamp::to_jiff),
            successor_used,
            login_ended: row.ended_at.is_some(),
        },
    }))
}

/// Marks a refresh token as used.
pub async fn use_refresh_token(
    tx: &mut PgConnection,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        "update refresh_tokens set used_at = $2 where token_hash = $1",
        hash.as_slice(),
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The login of a refresh token.
pub async fn login_of_token(
    conn: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<LoginId>, DbError> {
    let login = sqlx::query_scalar!(
        r#"select login_id as "login: LoginId" from refresh_tokens where token_hash = $1"#,
        hash.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(login)
}

/// Ends a login, if it has not ended. `why` is `logout` or `reuse`.
pub async fn end_login(
    conn: &mut PgConnection,
    id: LoginId,
    why: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        "update logins set ended_at = $2, ended_why = $3 where id = $1 and ended_at is null",
        id.get(),
        now.to_sqlx() as _,
        why,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Logins that ended after an instant.
pub async fn logins_ended_since(
    conn: &mut PgConnection,
    since: Timestamp,
) -> Result<Vec<(LoginId, Timestamp)>, DbError> {
    let rows = sqlx::query!(
        r#"select id as "id: LoginId", ended_at as "ended_at!" from logins where ended_at >= $1"#,
        since.to_sqlx() as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.ended_at.to_jiff())).collect())
}

/// The device of a living API key.
pub async fn device_by_key(
    conn: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<Device>, DbError> {
    let device = sqlx::query_as!(
        Device,
        r#"
        select id as "api_key_id: ApiKeyId", operator_id as "operator_id: OperatorId"
        from api_keys where key_hash = $1 and revoked_at is null
        "#,
        hash.as_slice(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(device)
}

/// Removes challenges and refresh tokens that nobody can use any more.
pub async fn forget_old(
    conn: &mut PgConnection,
    challenges_before: Timestamp,
    tokens_before: Timestamp,
) -> Result<u64, DbError> {
    let challenges = sqlx::query!(
        "delete from otp_challenges where created_at < $1",
        challenges_before.to_sqlx() as _,
    )
    .execute(&mut *conn)
    .await?;
    let tokens = sqlx::query!(
        "delete from refresh_tokens where expires_at < $1",
        tokens_before.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(challenges.rows_affected().saturating_add(tokens.rows_affected()))
}
