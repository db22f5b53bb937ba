//! Extractors whose faults are problems: bodies, queries, paths, keys, addresses, pages.

use std::future::{Future, Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::{Code, FieldError, Problem};
use super::slow_sender;
use crate::platform::App;

/// The most bytes of an ordinary body. The largest one that drivers send has 2 KiB.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// A JSON body of at most `MAX` bytes that arrived within the time limit.
///
/// The library has no deadline for bodies: a slow sender would hold its connection for ever
/// (measured), so the body is read here, with `server.body_timeout_ms`.
pub struct Json<T, const MAX: usize = BODY_BYTES_MAX> {
    /// The parsed body.
    pub value: T,
    /// The same as plain JSON with sorted keys, for the hash of idempotent requests.
    pub canonical: serde_json::Value,
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest for Json<T, MAX> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim())
            .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
        let payload = payload.take();
        let app = request.app_data::<web::Data<App>>();
        let limit = app.map_or(5_000, |app| app.config().server.body_timeout_ms);
        let request = request.clone();
        Box::pin(async move {
            if !is_json {
                return Err(Problem::new(Code::UnsupportedMediaType));
            }
            let limit = Duration::from_millis(limit);
            let body = read_body(payload, MAX, limit).await;
            if matches!(&body, Err(problem) if problem.code() == Code::RequestTimeout) {
                slow_sender::cut_off_soon(&request);
            }
            parse_json(&body?)
        })
    }
}

/// Reads a body of at most `bytes_max` within `limit`.
pub async fn read_body(
    mut payload: Payload,
    bytes_max: usize,
    limit: Duration,
) -> Result<BytesMut, Problem> {
    let reading = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_error| Problem::new(Code::InvalidRequest))?;
            if body.len().saturating_add(chunk.len()) > bytes_max {
                return Err(Problem::new(Code::PayloadTooLarge)
                    .detail(format!("At most {bytes_max} bytes are taken.")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Problem::new(Code::RequestTimeout)),
    }
}

fn parse_json<T: DeserializeOwned, const MAX: usize>(body: &[u8]) -> Result<Json<T, MAX>, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_error| Problem::new(Code::InvalidJson).detail("The body is not UTF-8."))?;
    let canonical: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("Not JSON at line {}, column {}.", error.line(), error.column());
        Problem::new(Code::InvalidJson).detail(place)
    })?;
    // Postgres cannot store U+0000, and no field has a use for it.
    if text.contains("\\u0000") {
        return Err(Problem::new(Code::InvalidJson).detail("U+0000 is not taken."));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(&mut parser) {
        Ok(value) => Ok(Json { value, canonical }),
        Err(error) => {
            let field = error.path().to_string();
            let rule = error.inner().to_string();
            // serde appends " at line 1 column 9", which tells a client nothing.
            let rule = rule.split(" at line ").next().unwrap_or_default().to_owned();
            Err(Problem::new(Code::ValidationFailed).errors(vec![FieldError::new(field, rule)]))
        }
    }
}

/// The query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse_query(request.query_string()).map(Query))
    }
}

/// Parses a query string; a fault is a 422 that says what is wrong.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    if query.contains("%00") || query.contains('\0') {
        return Err(Problem::field("query", "without U+0000"));
    }
    web::Query::<T>::from_query(query).map(web::Query::into_inner).map_err(|error| {
        let text = match &error {
            actix_web::error::QueryPayloadError::Deserialize(inner) => inner.to_string(),
            _ => error.to_string(),
        };
        Problem::field("query", text)
    })
}

/// Parts of the path. What cannot be an id is an address where nothing is: 404.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let parsed = web::Path::<T>::from_request(request, payload).into_inner();
        ready(parsed.map(|path| Path(path.into_inner())).map_err(|_error| Problem::not_found()))
    }
}

/// The `Idempotency-Key` header: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub String);

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let Some(header) = request.headers().get("idempotency-key") else {
            return ready(Err(Problem::new(Code::IdempotencyKeyMissing)));
        };
        let visible = |text: &&str| {
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        ready(match header.to_str().ok().filter(visible) {
            Some(key) => Ok(IdempotencyKey(key.to_owned())),
            None => Err(Problem::new(Code::InvalidRequest)
                .detail("Idempotency-Key: 1 to 255 visible ASCII characters.")),
        })
    }
}

/// The caller's address: the connection's, or the proxy's word where configuration trusts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

impl FromRequest for ClientAddr {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(Ok(client_addr(request)))
    }
}

/// The caller's address, for code that has the request at hand.
pub fn client_addr(request: &HttpRequest) -> ClientAddr {
    let trusted = request
        .app_data::<web::Data<App>>()
        .is_some_and(|app| app.config().server.trust_forwarded_for);
    // The last address is the one that our own proxy saw; those before it are the caller's claim.
    let forwarded = trusted
        .then(|| request.headers().get("x-forwarded-for"))
        .flatten()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .and_then(|last| last.trim().parse().ok());
    let peer = request.peer_addr().map(|peer| peer.ip());
    ClientAddr(forwarded.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// How many items a list gives when not asked for a number.
pub const PAGE_DEFAULT: i64 = 20;

/// The most items that a list gives.
pub const PAGE_MAX: i64 = 100;

/// `limit` as asked for, or a 422.
pub fn page_limit(limit: Option<i64>) -> Result<i64, Problem> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::field("limit", format!("from 1 to {PAGE_MAX}")))
    }
}

/// The id after which the next page starts, from the opaque cursor that the last page gave.
pub fn read_cursor(cursor: Option<&str>) -> Result<Option<Uuid>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let id = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Problem::field("cursor", "the next_cursor of an earlier page")),
    }
}

/// The opaque cursor for the page after `last`.
pub fn write_cursor(last: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(last.as_bytes())
}

/// A page of a list. Ask the store for `limit + 1` rows; the extra one tells that more follow.
#[derive(Debug, serde::Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `rows` to the limit; `id` gives the key of a row for the cursor.
    pub fn of(mut rows: Vec<T>, limit: i64, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| write_cursor(id(last)));
        Page { items: rows, next_cursor }
    }
}
