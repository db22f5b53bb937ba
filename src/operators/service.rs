//! Employing people and giving machines their keys.

use super::store;
use super::{NewStaff, OperatorError};
use crate::auth::api_keys::ApiKey;
use crate::auth::hash_password;
use crate::kernel::ids::{ApiKeyId, OperatorId, StaffId};
use crate::on_conn;
use crate::platform::App;

/// Employs someone; a known username gets the new password, role and employer. Hashes a password,
/// so it takes tens of milliseconds.
pub async fn employ(app: &App, new: NewStaff) -> Result<StaffId, OperatorError> {
    if new.role.of(new.operator_id).is_none() {
        return Err(OperatorError::RoleAndEmployer);
    }
    let hash =
        hash_password(&new.password, &app.random_bytes()).map_err(OperatorError::Password)?;
    let (id, now) = (app.new_id::<StaffId>(), app.now());
    on_conn!(app.db(), |conn| {
        store::put_staff(conn, id, &new, &hash, now).await.map_err(OperatorError::from)
    })
}

/// Makes a new API key. It is shown here and never again.
pub async fn new_api_key(
    app: &App,
    operator: OperatorId,
    name: &str,
) -> Result<ApiKey, OperatorError> {
    let key = ApiKey::new(app.random_bytes());
    keep_api_key(app, operator, name, &key).await?;
    Ok(key)
}

/// Makes a key known that was made elsewhere; a known one stays as it is.
pub async fn keep_api_key(
    app: &App,
    operator: OperatorId,
    name: &str,
    key: &ApiKey,
) -> Result<(), OperatorError> {
    let (id, now, hash) = (app.new_id::<ApiKeyId>(), app.now(), key.hash());
    on_conn!(app.db(), |conn| {
        store::insert_api_key(conn, id, operator, name, &hash, now)
            .await
            .map_err(OperatorError::from)
    })
}
