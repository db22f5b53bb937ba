//! One middleware around every request: its id, its span, its metrics, and problems for refusals
//! that come from the library itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use metrics::{Counter, Histogram};
use tracing::Instrument;
use uuid::Uuid;

use super::problem::{Code, Problem};
use crate::platform::{App, telemetry};

/// Wraps a request. The id goes out as `x-request-id`, into every log line and every job that the
/// request causes.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let app = request.app_data::<web::Data<App>>().cloned();
    let id = app.map(|app| app.new_id::<Uuid>()).unwrap_or_default().to_string();
    let method = request.method().clone();
    let route = Route::of(&request);
    let span = tracing::info_span!(
        "http.request", request_id = %id, http.method = %method, http.route = &*route.pattern,
    );
    let work =
        async { next.call(request).await.map(|done| as_problem(done.map_into_boxed_body())) };
    let mut response =
        telemetry::with_request_id(id.clone(), work).instrument(span.clone()).await?;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    let status = response.status();
    route.count(&method, status, started.elapsed());
    if status.is_server_error() {
        span.in_scope(|| tracing::warn!(http.status = status.as_u16(), "request was not served"));
    }
    Ok(response)
}

thread_local! {
    static ROUTES: RefCell<HashMap<Box<str>, Rc<Route>>> = RefCell::default();
    static SECONDS: Histogram = metrics::histogram!("http_request_seconds");
}

/// A route pattern and this thread's handles to its metrics: finding them anew for each request
/// costs as much as a small handler.
struct Route {
    pattern: Box<str>,
    requests: RefCell<Vec<(&'static str, StatusCode, Counter)>>,
}

impl Route {
    /// The route that a request will take.
    fn of(request: &ServiceRequest) -> Rc<Route> {
        ROUTES.with_borrow_mut(|routes| {
            // Only patterns are kept, so a path that is found is a pattern without parameters.
            if let Some(route) = routes.get(request.path()) {
                return Rc::clone(route);
            }
            let pattern = request.match_pattern().unwrap_or_else(|| "unmatched".to_owned());
            let pattern = pattern.into_boxed_str();
            let route = routes.entry(pattern.clone());
            Rc::clone(
                route.or_insert_with(|| Rc::new(Route { pattern, requests: RefCell::default() })),
            )
        })
    }

    fn count(&self, method: &Method, status: StatusCode, took: Duration) {
        SECONDS.with(|seconds| seconds.record(took));
        let method = method_label(method);
        let mut requests = self.requests.borrow_mut();
        let known = requests.iter().find(|known| known.0 == method && known.1 == status);
        if let Some((_, _, counter)) = known {
            counter.increment(1);
            return;
        }
        let labels = [
            ("route", self.pattern.to_string()),
            ("method", method.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let counter = metrics::counter!("http_requests_total", &labels);
        counter.increment(1);
        requests.push((method, status, counter));
    }
}

/// A method's name in metrics. Any token can be a method: a caller's inventions share one name.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The library's own refusals (no such route, method not allowed, bad framing) as problems.
fn as_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let has_body = response.headers().get(CONTENT_TYPE).is_some_and(|media| {
        let media = media.as_bytes();
        media.starts_with(b"application/") || media.starts_with(b"text/html")
    });
    if has_body || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
        StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
        status if status.is_client_error() => Code::InvalidRequest,
        _ => Code::InternalError,
    };
    let allow = response.headers().get("allow").cloned();
    let (request, _) = response.into_parts();
    let mut problem = Problem::new(code).error_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(HeaderName::from_static("allow"), allow);
    }
    ServiceResponse::new(request, problem)
}
