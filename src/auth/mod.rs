//! Who is calling, and what they may do.
//!
//! Drivers prove a phone number with a one-time code; staff have a password; operators' machines
//! carry an API key. A login is a family of refresh tokens; access tokens are short-lived JWTs that servers
//! verify without asking anyone. The permission of an operation is its handler's argument
//! ([`guard::Guard`]), decided by the pure table [`may`]. Whether a thing belongs to the caller is
//! for the domain that owns the thing: a foreign one is answered like an absent one.

pub mod api_keys;
pub mod ended;
pub mod guard;
pub mod http;
pub mod opaque;
pub mod otp;
pub mod otp_store;
pub mod password;
pub mod refresh;
pub mod send_code;
pub mod service;
pub mod state;
pub mod store;
pub mod tokens;

use crate::kernel::ids::{ApiKeyId, DriverId, LoginId, OperatorId, StaffId};
use crate::platform::db::DbError;
use crate::web::rate_limit::TooMany;

pub use password::hash_password;
pub use state::Auth;

/// A caller whose credentials were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person with a phone.
    Driver(Driver),
    /// A person who works for an operator or for the platform.
    Staff(Staff),
    /// An operator's machine.
    Device(Device),
}

impl Principal {
    /// The caller's name in idempotency keys, limits and the audit log: `driver:<id>`,
    /// `staff:<id>` or `key:<id>`.
    pub fn actor(&self) -> String {
        match self {
            Self::Driver(driver) => format!("driver:{}", driver.id),
            Self::Staff(staff) => format!("staff:{}", staff.id),
            Self::Device(device) => format!("key:{}", device.api_key_id),
        }
    }

    /// The login to end at a logout; machines have none.
    pub fn login(&self) -> Option<LoginId> {
        match self {
            Self::Driver(driver) => Some(driver.login),
            Self::Staff(staff) => Some(staff.login),
            Self::Device(_) => None,
        }
    }
}

/// A driver and the login they came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Who.
    pub id: DriverId,
    /// The login, which a logout ends.
    pub login: LoginId,
}

/// A member of staff and the login they came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staff {
    /// Who.
    pub id: StaffId,
    /// The login, which a logout ends.
    pub login: LoginId,
    /// What they do, and for whom.
    pub role: Role,
}

/// An operator's machine (a gate, a camera, a back office), known by its API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which key.
    pub api_key_id: ApiKeyId,
    /// Whose lots it reports on and runs.
    pub operator_id: OperatorId,
}

/// What a member of staff does, and for whom. Only finance works for the platform itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs an operator's lots and tariffs.
    Manager(OperatorId),
    /// Enters and releases vehicles at an operator's lots.
    Attendant(OperatorId),
    /// Keeps the platform's books.
    Finance,
}

/// A role's word in tokens and in the database.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RoleName {
    /// See [`Role::Manager`].
    Manager,
    /// See [`Role::Attendant`].
    Attendant,
    /// See [`Role::Finance`].
    Finance,
}

impl RoleName {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The role, if the name and the employer fit together.
    pub fn of(self, operator_id: Option<OperatorId>) -> Option<Role> {
        match (self, operator_id) {
            (Self::Manager, Some(operator)) => Some(Role::Manager(operator)),
            (Self::Attendant, Some(operator)) => Some(Role::Attendant(operator)),
            (Self::Finance, None) => Some(Role::Finance),
            (Self::Manager | Self::Attendant, None) | (Self::Finance, Some(_)) => None,
        }
    }
}

impl Role {
    /// The role without the employer.
    pub fn name(self) -> RoleName {
        match self {
            Self::Manager(_) => RoleName::Manager,
            Self::Attendant(_) => RoleName::Attendant,
            Self::Finance => RoleName::Finance,
        }
    }

    /// The employer, unless it is the platform.
    pub fn operator_id(self) -> Option<OperatorId> {
        match self {
            Self::Manager(operator) | Self::Attendant(operator) => Some(operator),
            Self::Finance => None,
        }
    }
}

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter)]
pub enum Permission {
    /// Read and change one's own profile and vehicles; reserve; pay.
    ActAsDriver,
    /// Start, extend, stop, correct and read stays: one's own, or those at the operator's lots.
    Park,
    /// Read a payment and its receipt: one's own, or any for finance.
    ReadPayment,
    /// Post readings of an operator's lots.
    ReportOccupancy,
    /// Read an operator's stays.
    ReadOperator,
    /// Read and change an operator's lots, capacities, hours and tariffs.
    ManageOperator,
    /// Read the books and give money back.
    KeepBooks,
}

/// Whether `caller` may do operations that ask for `permission`.
pub fn may(caller: &Principal, permission: Permission) -> bool {
    use Permission as P;
    match caller {
        Principal::Driver(_) => match permission {
            P::ActAsDriver | P::Park | P::ReadPayment => true,
            P::ReportOccupancy | P::ReadOperator | P::ManageOperator | P::KeepBooks => false,
        },
        Principal::Staff(staff) => match staff.role {
            Role::Manager(_) => match permission {
                P::Park | P::ReportOccupancy | P::ReadOperator | P::ManageOperator => true,
                P::ActAsDriver | P::ReadPayment | P::KeepBooks => false,
            },
            Role::Attendant(_) => match permission {
                P::Park | P::ReadOperator => true,
                P::ActAsDriver
                | P::ReadPayment
                | P::ReportOccupancy
                | P::ManageOperator
                | P::KeepBooks => false,
            },
            Role::Finance => match permission {
                P::ReadPayment | P::KeepBooks => true,
                P::ActAsDriver
                | P::Park
                | P::ReportOccupancy
                | P::ReadOperator
                | P::ManageOperator => false,
            },
        },
        Principal::Device(_) => match permission {
            P::ReportOccupancy | P::ReadOperator | P::ManageOperator => true,
            P::ActAsDriver | P::Park | P::ReadPayment | P::KeepBooks => false,
        },
    }
}

/// Why a login, a renewal or a logout failed. Says no more than a stranger may know.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Unknown username or wrong password; a refresh token that is unknown, too old or over.
    #[error("the credentials are not valid")]
    BadCredentials,
    /// Wrong or used code, or no such challenge.
    #[error("the code is not valid")]
    OtpInvalid,
    /// The challenge is too old.
    #[error("the code has expired")]
    OtpExpired,
    /// The challenge is dead after too many guesses.
    #[error("too many guesses at one code")]
    OtpAttempts,
    /// A refresh token came a second time: the login was ended.
    #[error("a refresh token was used again")]
    Reused,
    /// Too many tries.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too many password checks at once.
    #[error("cannot check credentials now")]
    Busy,
    /// The database failed.
    #[error("the store of logins failed")]
    Store(#[from] DbError),
    /// A key, hash or secret does not work: a fault of the installation.
    #[error("the machinery of logins failed: {0}")]
    Machinery(&'static str),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use strum::IntoEnumIterator;
    use uuid::Uuid;

    use super::Permission as P;
    use super::*;

    fn caller(kind: &str) -> Principal {
        let id = Uuid::nil();
        let staff = |role| {
            Principal::Staff(Staff {
                id: StaffId::from_uuid(id),
                login: LoginId::from_uuid(id),
                role,
            })
        };
        match kind {
            "driver" => Principal::Driver(Driver {
                id: DriverId::from_uuid(id),
                login: LoginId::from_uuid(id),
            }),
            "manager" => staff(Role::Manager(OperatorId::from_uuid(id))),
            "attendant" => staff(Role::Attendant(OperatorId::from_uuid(id))),
            "finance" => staff(Role::Finance),
            _ => Principal::Device(Device {
                api_key_id: ApiKeyId::from_uuid(id),
                operator_id: OperatorId::from_uuid(id),
            }),
        }
    }

    #[rstest]
    #[case("driver", &[P::ActAsDriver, P::Park, P::ReadPayment])]
    #[case("manager", &[P::Park, P::ReportOccupancy, P::ReadOperator, P::ManageOperator])]
    #[case("attendant", &[P::Park, P::ReadOperator])]
    #[case("finance", &[P::ReadPayment, P::KeepBooks])]
    #[case("device", &[P::ReportOccupancy, P::ReadOperator, P::ManageOperator])]
    fn each_caller_may_do_exactly_this(#[case] kind: &str, #[case] allowed: &[Permission]) {
        for permission in Permission::iter() {
            assert_eq!(
                may(&caller(kind), permission),
                allowed.contains(&permission),
                "{kind} {permission:?}"
            );
        }
    }

    #[test]
    fn a_role_needs_the_employer_it_belongs_to() {
        let operator = OperatorId::from_uuid(Uuid::nil());
        for name in RoleName::iter() {
            assert_eq!(name.of(None).is_some(), name == RoleName::Finance);
            assert_eq!(name.of(Some(operator)).is_some(), name != RoleName::Finance);
        }
    }
}
