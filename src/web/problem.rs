//! Refusals as RFC 9457 `application/problem+json`, and the one table of all codes.
//!
//! `docs/ERRORS.md` says for each code what the client should do; a test keeps the two equal.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use crate::platform::db::DbError;
use crate::platform::groups::GroupError;
use crate::platform::telemetry;

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// What was refused and why, in one word that clients can rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// The word in the `code` member.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                let status: u16 = match self { $(Code::$name => $status,)+ };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The `title` member: the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request", 400, "The request is malformed";
    InvalidJson = "invalid_json", 400, "The body is not the JSON that is expected";
    IdempotencyKeyMissing = "idempotency_key_missing", 400, "The Idempotency-Key header is missing";
    Unauthenticated = "unauthenticated", 401, "A valid login or key is needed";
    TokenExpired = "token_expired", 401, "The access token has expired";
    BadCredentials = "bad_credentials", 401, "The credentials are not right";
    OtpInvalid = "otp_invalid", 401, "The code is not right";
    OtpExpired = "otp_expired", 401, "The code has expired";
    RefreshTokenReused = "refresh_token_reused", 401, "The refresh token was used before";
    Forbidden = "forbidden", 403, "This login may not do that";
    NotFound = "not_found", 404, "There is no such thing here";
    MethodNotAllowed = "method_not_allowed", 405, "This address does not take that method";
    RequestTimeout = "request_timeout", 408, "The request took too long to arrive";
    Conflict = "conflict", 409, "The state has changed";
    RequestInProgress = "request_in_progress", 409, "The same request is still being worked on";
    LotFull = "lot_full", 409, "No space is free";
    LotClosed = "lot_closed", 409, "The lot is closed";
    VehicleAlreadyHeld = "vehicle_already_held", 409, "The vehicle has a hold already";
    NoTariff = "no_tariff", 409, "No tariff is in force for that";
    HoldLimitReached = "hold_limit_reached", 409, "No further hold is possible";
    ReservationNotHeld = "reservation_not_held", 409, "The hold is not live";
    ReservationExpired = "reservation_expired", 409, "The hold has run out";
    PlateAlreadyParked = "plate_already_parked", 409, "The vehicle is parked already";
    SessionNotActive = "session_not_active", 409, "The parking session is not active";
    SessionNotEnded = "session_not_ended", 409, "The parking session has not ended";
    CorrectionWindowClosed = "correction_window_closed", 409, "It is too late to correct this";
    NothingToPay = "nothing_to_pay", 409, "Nothing is owed";
    PaymentInProgress = "payment_in_progress", 409, "Another payment for this is under way";
    ExtendNotOffered = "extend_not_offered", 409, "This lot does not sell time in advance";
    PaymentNotRefundable = "payment_not_refundable", 409, "This payment has nothing to give back";
    CapacityInUse = "capacity_in_use", 409, "More spaces are in use than that";
    QuoteExpired = "quote_expired", 409, "The quote has expired";
    PayloadTooLarge = "payload_too_large", 413, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be application/json";
    ValidationFailed = "validation_failed", 422, "Some fields are not acceptable";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The Idempotency-Key belongs to another request";
    VehicleClassNotServed = "vehicle_class_not_served", 422, "The lot does not take this class of vehicle";
    VehicleNotFound = "vehicle_not_found", 422, "The driver has no such vehicle";
    QuoteNotFound = "quote_not_found", 422, "There is no such quote";
    QuoteMismatch = "quote_mismatch", 422, "The quote is for something else";
    RefundExceedsPayment = "refund_exceeds_payment", 422, "More than was paid cannot go back";
    TariffStartInPast = "tariff_start_in_past", 422, "A tariff cannot start in the past";
    AmountOutOfRange = "amount_out_of_range", 422, "The amount is outside what is possible";
    UnknownProvider = "unknown_provider", 422, "There is no such payment provider";
    ReadingInvalid = "reading_invalid", 422, "Some readings are impossible";
    OtpTooManyAttempts = "otp_too_many_attempts", 429, "The code was tried too often";
    HoldCooldown = "hold_cooldown", 429, "Too many holds ran out lately";
    RateLimited = "rate_limited", 429, "Too many requests";
    InternalError = "internal_error", 500, "Something is wrong on our side";
    ServiceUnavailable = "service_unavailable", 503, "Not available at the moment";
}

/// One field that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: `readings[3].occupied`.
    pub field: String,
    /// Which rule it breaks, in words.
    pub rule: String,
}

impl FieldError {
    /// A field and the rule that it breaks.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), rule: rule.into() }
    }
}

/// A refusal. What the client reads is here; what the log reads is logged where it happened.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    members: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A refusal with the code's own title as its detail.
    pub fn new(code: Code) -> Problem {
        let retry_after_s = matches!(code.status().as_u16(), 429 | 503).then_some(1);
        Problem {
            code,
            detail: Cow::Borrowed(code.title()),
            errors: Vec::new(),
            retry_after_s,
            members: serde_json::Map::new(),
        }
    }

    /// Says what happened this time, in words safe for the client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Problem {
        self.detail = detail.into();
        self
    }

    /// Names the fields at fault.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.errors = errors;
        self
    }

    /// Says after how many seconds trying again makes sense.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Problem {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Adds a member of its own, as RFC 9457 section 3.2 allows.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// A 422 about one field.
    pub fn field(field: &str, rule: impl Into<String>) -> Problem {
        Problem::new(Code::ValidationFailed).errors(vec![FieldError::new(field, rule)])
    }

    /// The refusal for things that are absent or not the caller's to see.
    pub fn not_found() -> Problem {
        Problem::new(Code::NotFound)
    }

    /// A defect of ours: logged with its causes, answered without them.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let chain = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        tracing::error!(error = %chain, "request failed by a fault of ours");
        Problem::new(Code::InternalError)
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Problem {
        if error.is_passing() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(error = %error, cause, "the database could not serve a request");
            return Problem::new(Code::ServiceUnavailable).detail(
                "Send the same request again, with the same Idempotency-Key if it has one.",
            );
        }
        Problem::internal(&error)
    }
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Problem {
        tracing::warn!(error = %error, "a group writer could not serve a request");
        Problem::new(Code::ServiceUnavailable)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = self.members.clone();
        let instance = telemetry::current_request_id().unwrap_or_default();
        body.insert("type".into(), format!("/problems/{}", self.code.as_str()).into());
        body.insert("title".into(), self.code.title().into());
        body.insert("status".into(), self.code.status().as_u16().into());
        body.insert("detail".into(), self.detail.as_ref().into());
        body.insert("instance".into(), format!("/requests/{instance}").into());
        body.insert("code".into(), self.code.as_str().into());
        if !self.errors.is_empty() {
            body.insert("errors".into(), serde_json::to_value(&self.errors).unwrap_or_default());
        }
        let mut response = HttpResponseBuilder::new(self.code.status());
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            response.insert_header(("www-authenticate", "Bearer"));
        }
        if self.code == Code::RequestTimeout {
            response.force_close();
        }
        response.body(serde_json::Value::Object(body).to_string())
    }
}
