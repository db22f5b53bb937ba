//! Endpoints of logging in and out, and our public keys.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::guard::identify;
use super::otp::Code as OtpCode;
use super::password::PASSWORD_BYTES_MAX;
use super::refresh::RefreshToken;
use super::service::{self, Tokens};
use super::{Auth, AuthError};
use crate::kernel::ids::{ChallengeId, LoginId};
use crate::kernel::phone::Phone;
use crate::platform::App;
use crate::web::extract::{ClientAddr, Json};
use crate::web::problem::{Code, Problem};
use crate::web::rate_limit::{CallKind, RateLimits, address_bucket};

/// Longest username that is looked at.
const USERNAME_BYTES_MAX: usize = 200;

/// `POST /v1/auth/otp`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtpRequest {
    phone: String,
}

#[derive(Serialize)]
struct OtpChallenge {
    challenge_id: ChallengeId,
    expires_at: Timestamp,
    resend_after_s: i64,
}

/// Has a one-time code sent.
pub async fn request_otp(
    app: web::Data<App>,
    limits: web::Data<RateLimits>,
    address: ClientAddr,
    body: Json<OtpRequest>,
) -> Result<HttpResponse, Problem> {
    let phone = Phone::parse(&body.value.phone)
        .map_err(|error| Problem::field("phone", error.to_string()))?;
    let sent = service::request_code(&app, &limits, &phone, address.0).await?;
    Ok(HttpResponse::Accepted().insert_header((CACHE_CONTROL, "no-store")).json(OtpChallenge {
        challenge_id: sent.id,
        expires_at: sent.expires_at,
        resend_after_s: service::resend_after_s(),
    }))
}

/// `POST /v1/auth/token`.
#[derive(Deserialize)]
#[serde(tag = "grant_type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenRequest {
    /// A driver with a code.
    Otp {
        /// Of `POST /v1/auth/otp`.
        challenge_id: ChallengeId,
        /// Six digits.
        code: String,
    },
    /// Anyone who was logged in.
    RefreshToken {
        /// As it was given.
        refresh_token: String,
    },
    /// A member of staff.
    Password {
        /// In any case.
        username: String,
        /// As it was set.
        password: String,
    },
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    refresh_token: String,
}

/// Logs in or stays logged in.
pub async fn issue_token(
    app: web::Data<App>,
    auth: web::Data<Auth>,
    limits: web::Data<RateLimits>,
    address: ClientAddr,
    body: Json<TokenRequest>,
) -> Result<HttpResponse, Problem> {
    limits.charge(CallKind::Login, &address_bucket(address.0)).await?;
    let tokens = match body.value {
        TokenRequest::Otp { challenge_id, code } => {
            let code = OtpCode::parse(&code).ok_or_else(|| Problem::field("code", "six digits"))?;
            service::log_driver_in(&app, &auth, challenge_id, code).await?
        }
        TokenRequest::RefreshToken { refresh_token } => {
            let shown = RefreshToken::parse(&refresh_token).ok_or(AuthError::BadCredentials)?;
            service::renew(&app, &auth, &shown).await?
        }
        TokenRequest::Password { username, password } => {
            if username.len() > USERNAME_BYTES_MAX {
                return Err(Problem::field("username", "at most 200 bytes"));
            }
            if password.len() > PASSWORD_BYTES_MAX {
                return Err(Problem::field("password", "at most 256 bytes"));
            }
            service::log_staff_in(&app, &auth, &limits, &username, password, address.0).await?
        }
    };
    Ok(answer(&tokens))
}

fn answer(tokens: &Tokens) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(TokenResponse {
        access_token: tokens.access_token.clone(),
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: tokens.refresh_token.expose(),
    })
}

/// `POST /v1/auth/logout`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogoutRequest {
    refresh_token: String,
}

/// Which logins to end: the refresh token's in the body, the access token's in the header, both.
pub struct LogoutWish {
    refresh_token: Option<String>,
    login: Option<LoginId>,
}

impl FromRequest for LogoutWish {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let has_body = request.headers().contains_key(CONTENT_TYPE);
        let body = has_body.then(|| Json::<LogoutRequest>::from_request(request, payload));
        let request = request.clone();
        Box::pin(async move {
            let refresh_token = match body {
                Some(body) => Some(body.await?.value.refresh_token),
                None => None,
            };
            let login = match (request.headers().contains_key(AUTHORIZATION), &refresh_token) {
                (true, None) => identify(&request).await?.login(),
                // The body says it already; an access token that ran out does not matter.
                (true, Some(_)) => identify(&request).await.ok().and_then(|who| who.login()),
                (false, Some(_)) => None,
                (false, None) => return Err(Problem::new(Code::Unauthenticated)),
            };
            Ok(Self { refresh_token, login })
        })
    }
}

/// Ends a login. Ending what is no login is fine: the wish is fulfilled.
pub async fn logout(
    app: web::Data<App>,
    auth: web::Data<Auth>,
    limits: web::Data<RateLimits>,
    address: ClientAddr,
    wish: LogoutWish,
) -> Result<HttpResponse, Problem> {
    limits.charge(CallKind::Login, &address_bucket(address.0)).await?;
    if let Some(login) = wish.login {
        service::log_out(&app, &auth, login).await?;
    }
    if let Some(token) = &wish.refresh_token {
        service::log_out_by_token(&app, &auth, token).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// `GET /.well-known/jwks.json`.
pub async fn jwks(auth: web::Data<Auth>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .json(auth.access().jwks())
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Problem {
        match error {
            AuthError::BadCredentials => Problem::new(Code::BadCredentials),
            AuthError::OtpInvalid => Problem::new(Code::OtpInvalid),
            AuthError::OtpExpired => Problem::new(Code::OtpExpired),
            AuthError::OtpAttempts => Problem::new(Code::OtpTooManyAttempts)
                .detail("Ask for a new code.")
                .retry_after_s(u64::try_from(service::resend_after_s()).unwrap_or(60)),
            AuthError::Reused => Problem::new(Code::RefreshTokenReused)
                .detail("The login was ended, because two parties hold it. Log in again."),
            AuthError::TooMany(too_many) => too_many.into(),
            AuthError::Busy => Problem::new(Code::ServiceUnavailable).retry_after_s(2),
            AuthError::Store(error) => error.into(),
            AuthError::Machinery(_) => Problem::internal(&error),
        }
    }
}
