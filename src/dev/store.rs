//! The rows that a development run is told about.

use sqlx::postgres::PgConnection;

use crate::kernel::ids::LotId;

/// The lot of that code.
pub(super) async fn lot(conn: &mut PgConnection, code: &str) -> Result<LotId, sqlx::Error> {
    let id =
        sqlx::query_scalar!("select id from lots where code = $1", code).fetch_one(conn).await?;
    Ok(LotId::from_uuid(id))
}
