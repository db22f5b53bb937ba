//! RFC 9457 answers for everything that is not a gateway's own wire format.

use std::fmt;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError, web};

/// An error as the caller reads it.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    /// 400: the request cannot be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, detail: detail.into() }
    }

    /// 404: no such provider, order or path.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code, detail: detail.into() }
    }

    /// 409: the order's state does not allow it.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code, detail: detail.into() }
    }

    /// The machine-readable name of the error.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The text for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn of_status(status: StatusCode, detail: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::REQUEST_TIMEOUT => "request_timeout",
            _ if status.is_server_error() => "internal",
            _ => "bad_request",
        };
        Self { status, code, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = serde_json::json!({
            "type": format!("urn:iparking-sandbox:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        HttpResponse::build(self.status)
            .content_type("application/problem+json")
            .body(body.to_string())
    }
}

/// Parses a small JSON object whatever its content type: `curl -d` sends a form's.
pub fn parse_json<T: serde::de::DeserializeOwned>(body: &web::Bytes) -> Result<T, Problem> {
    let bad = |error: serde_json::Error| Problem::bad_request("bad_body", error.to_string());
    // Through an object, because serde would read a struct from an array as well.
    let members: serde_json::Map<_, _> = serde_json::from_slice(body).map_err(bad)?;
    serde_json::from_value(serde_json::Value::Object(members)).map_err(bad)
}

/// Gives the framework's own refusals (405, 413, bad query ...) a problem body as well.
pub async fn render_errors<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    // The request must not be cloned here: the router needs to be its only owner.
    let response = next.call(request).await.map_err(|error| {
        let status = error.as_response_error().status_code();
        Problem::of_status(status, error.to_string())
    })?;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || has_own_body(&response) {
        return Ok(response.map_into_left_body());
    }
    let detail = response.response().error().map_or_else(
        || status.canonical_reason().unwrap_or("error").to_owned(),
        ToString::to_string,
    );
    let problem = Problem::of_status(status, detail).error_response();
    Ok(response.into_response(problem).map_into_right_body())
}

fn has_own_body<B>(response: &ServiceResponse<B>) -> bool {
    let own = |value: &HeaderValue| {
        value.as_bytes().starts_with(b"application/problem+json")
            || value.as_bytes().starts_with(b"text/html")
    };
    response.headers().get(CONTENT_TYPE).is_some_and(own)
}
