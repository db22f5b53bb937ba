//! The permission as a handler's argument: a handler that takes `Guard<DriverOnly>` cannot be
//! reached by anyone else, and gets the driver.
//!
//! A driver's token is checked in memory, without a question to anyone. Staff are looked up each
//! time, so that a dismissal or a change of role works at once; machines' keys are remembered for
//! half a minute. Every guarded call is charged to its caller's limit here.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};

use super::api_keys::ApiKey;
use super::tokens::Rejected;
use super::{Auth, Driver, Permission, Principal, Role, Staff, may, service};
use crate::kernel::ids::OperatorId;
use crate::platform::App;
use crate::web::extract::client_addr;
use crate::web::problem::{Code, Problem};
use crate::web::rate_limit::{CallKind, RateLimits};

/// A kind of caller that an operation lets in.
pub trait Admits: 'static {
    /// What the handler gets.
    type Caller;
    /// What the caller must be allowed.
    const PERMISSION: Permission;
    /// Who is let in, for the refusal: "This call is for …".
    const FOR: &'static str;
    /// The caller as the handler wants them; `None` when the table lets someone in whom the
    /// handler cannot serve, which is a refusal as well.
    fn caller(principal: Principal) -> Option<Self::Caller>;
}

/// Proof that the caller may do this.
pub struct Guard<P: Admits> {
    caller: P::Caller,
    principal: Principal,
}

impl<P: Admits> Guard<P> {
    /// The caller, whoever they are.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// The caller's name in idempotency keys and the audit log.
    pub fn actor(&self) -> String {
        self.principal.actor()
    }
}

impl<P: Admits> Deref for Guard<P> {
    type Target = P::Caller;

    fn deref(&self) -> &P::Caller {
        &self.caller
    }
}

/// Someone who acts for an operator: its staff or one of its machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorCaller {
    /// For whom.
    pub operator_id: OperatorId,
}

/// A driver, or staff of an operator who enters vehicles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parker {
    /// For themselves.
    Driver(Driver),
    /// At the lots of their operator.
    Staff(Staff, OperatorId),
}

/// A driver, or finance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentReader {
    /// Their own payments.
    Driver(Driver),
    /// Any payment.
    Finance(Staff),
}

/// Drivers.
pub struct DriverOnly;
/// Drivers, and managers and attendants of operators.
pub struct AttendantOrDriver;
/// Drivers, and finance.
pub struct DriverOrFinance;
/// Operators' machines and managers, for readings.
pub struct OperatorDevice;
/// Operators' managers, attendants and machines, for reading.
pub struct OperatorStaff;
/// Operators' managers and machines, for changes.
pub struct OperatorManager;
/// The platform's finance people.
pub struct Finance;

fn operator(principal: Principal) -> Option<OperatorCaller> {
    let operator_id = match principal {
        Principal::Device(device) => Some(device.operator_id),
        Principal::Staff(staff) => staff.role.operator_id(),
        Principal::Driver(_) => None,
    };
    operator_id.map(|operator_id| OperatorCaller { operator_id })
}

impl Admits for DriverOnly {
    type Caller = Driver;
    const PERMISSION: Permission = Permission::ActAsDriver;
    const FOR: &'static str = "drivers";
    fn caller(principal: Principal) -> Option<Driver> {
        match principal {
            Principal::Driver(driver) => Some(driver),
            Principal::Staff(_) | Principal::Device(_) => None,
        }
    }
}

impl Admits for AttendantOrDriver {
    type Caller = Parker;
    const PERMISSION: Permission = Permission::Park;
    const FOR: &'static str = "drivers and operators' staff";
    fn caller(principal: Principal) -> Option<Parker> {
        match principal {
            Principal::Driver(driver) => Some(Parker::Driver(driver)),
            Principal::Staff(staff) => {
                staff.role.operator_id().map(|operator| Parker::Staff(staff, operator))
            }
            Principal::Device(_) => None,
        }
    }
}

impl Admits for DriverOrFinance {
    type Caller = PaymentReader;
    const PERMISSION: Permission = Permission::ReadPayment;
    const FOR: &'static str = "drivers and finance";
    fn caller(principal: Principal) -> Option<PaymentReader> {
        match principal {
            Principal::Driver(driver) => Some(PaymentReader::Driver(driver)),
            Principal::Staff(staff) => Some(PaymentReader::Finance(staff)),
            Principal::Device(_) => None,
        }
    }
}

impl Admits for OperatorDevice {
    type Caller = OperatorCaller;
    const PERMISSION: Permission = Permission::ReportOccupancy;
    const FOR: &'static str = "operators' machines and managers";
    fn caller(principal: Principal) -> Option<OperatorCaller> {
        operator(principal)
    }
}

impl Admits for OperatorStaff {
    type Caller = OperatorCaller;
    const PERMISSION: Permission = Permission::ReadOperator;
    const FOR: &'static str = "operators";
    fn caller(principal: Principal) -> Option<OperatorCaller> {
        operator(principal)
    }
}

impl Admits for OperatorManager {
    type Caller = OperatorCaller;
    const PERMISSION: Permission = Permission::ManageOperator;
    const FOR: &'static str = "operators' managers and machines";
    fn caller(principal: Principal) -> Option<OperatorCaller> {
        operator(principal)
    }
}

impl Admits for Finance {
    type Caller = Staff;
    const PERMISSION: Permission = Permission::KeepBooks;
    const FOR: &'static str = "finance";
    fn caller(principal: Principal) -> Option<Staff> {
        match principal {
            Principal::Staff(staff) if staff.role == Role::Finance => Some(staff),
            Principal::Staff(_) | Principal::Driver(_) | Principal::Device(_) => None,
        }
    }
}

impl<P: Admits> FromRequest for Guard<P> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let named = name(&request).await?;
            // Refused before the first wait: the other arguments of a handler are read side by
            // side, and a body's faults must not be told to someone who may not send one.
            let caller = if may(&named, P::PERMISSION) { P::caller(named) } else { None };
            let Some(caller) = caller else {
                return Err(
                    Problem::new(Code::Forbidden).detail(format!("This call is for {}.", P::FOR))
                );
            };
            let principal = confirm(&request, named).await?;
            charge(&request, &principal).await?;
            Ok(Self { caller, principal })
        })
    }
}

/// Finds out who sends a request, or says why they are not believed.
pub async fn identify(request: &HttpRequest) -> Result<Principal, Problem> {
    let named = name(request).await?;
    confirm(request, named).await
}

fn parts(request: &HttpRequest) -> Result<(&App, &Auth), Problem> {
    match (request.app_data::<web::Data<App>>(), request.app_data::<web::Data<Auth>>()) {
        (Some(app), Some(auth)) => Ok((app, auth)),
        _ => Err(Problem::new(Code::InternalError)),
    }
}

/// Who the credential names. Waits only for a key that was not seen lately.
async fn name(request: &HttpRequest) -> Result<Principal, Problem> {
    let (app, auth) = parts(request)?;
    let credential = bearer(request).ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    if ApiKey::looks_like_one(credential) {
        let device = match ApiKey::parse(credential) {
            Some(key) => service::device(app, auth, &key).await?,
            None => None,
        };
        return match device {
            Some(device) => Ok(Principal::Device(device)),
            None => Err(rejected(request, Rejected::Invalid)),
        };
    }
    match auth.access().verify(credential, app.now()) {
        Ok(verified) if !auth.ended().contains(verified.login) => Ok(verified.caller),
        Ok(_ended) => Err(rejected(request, Rejected::Invalid)),
        Err(why) => Err(rejected(request, why)),
    }
}

/// Whether staff are employed still, and in the role that the token names.
async fn confirm(request: &HttpRequest, named: Principal) -> Result<Principal, Problem> {
    if let Principal::Staff(staff) = named {
        let (app, _) = parts(request)?;
        if service::staff_role(app, staff.id).await? != Some(staff.role) {
            return Err(rejected(request, Rejected::Invalid));
        }
    }
    Ok(named)
}

/// The refusal of a credential, charged to the address it came from.
fn rejected(request: &HttpRequest, why: Rejected) -> Problem {
    if let Some(limits) = request.app_data::<web::Data<RateLimits>>()
        && let Err(too_many) =
            limits.charge_address_here(CallKind::BadCredentials, client_addr(request).0)
    {
        return too_many.into();
    }
    Problem::new(match why {
        Rejected::Invalid => Code::Unauthenticated,
        Rejected::Expired => Code::TokenExpired,
    })
}

/// The credential of `Authorization: Bearer …` (RFC 6750 section 2.1); there must be one header.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (Some(header), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, credential) = header.to_str().ok()?.split_once(' ')?;
    let credential = credential.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

async fn charge(request: &HttpRequest, principal: &Principal) -> Result<(), Problem> {
    let Some(limits) = request.app_data::<web::Data<RateLimits>>() else { return Ok(()) };
    if !limits.are_on() {
        return Ok(());
    }
    let kind = match principal {
        Principal::Device(_) => CallKind::Device,
        Principal::Driver(_) | Principal::Staff(_) => {
            if matches!(*request.method(), Method::GET | Method::HEAD) {
                CallKind::Read
            } else {
                CallKind::Change
            }
        }
    };
    Ok(limits.charge(kind, &principal.actor()).await?)
}
