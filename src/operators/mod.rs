//! Operators: companies that run lots, their staff and their machines' keys.
//!
//! They are entered by the platform's own people (today by `iparking seed` and `iparking dev`);
//! there are no public endpoints for that.

pub mod service;
pub mod store;

use crate::auth::AuthError;
use crate::auth::RoleName;
use crate::kernel::ids::OperatorId;
use crate::platform::db::DbError;

/// Someone to be employed. No `Debug`: it holds a password.
pub struct NewStaff {
    /// Lower-case letters, digits, dots, dashes, underscores; 3 to 64.
    pub username: String,
    /// In the clear; only its hash is kept.
    pub password: String,
    /// What they do.
    pub role: RoleName,
    /// For whom; nobody for finance.
    pub operator_id: Option<OperatorId>,
}

/// Why staff or a key could not be added.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Finance works for no operator, everybody else for one.
    #[error("the role and the employer do not fit together")]
    RoleAndEmployer,
    /// The password could not be hashed.
    #[error("the password cannot be kept")]
    Password(#[source] AuthError),
    /// The database failed, or refuses the name.
    #[error("the store of operators failed")]
    Store(#[from] DbError),
}
