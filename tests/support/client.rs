//! An HTTP client that checks every answer against `openapi.yaml`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::contract::Contract;

/// Talks to one server.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    http: reqwest::Client,
}

/// A request being put together.
pub struct Request {
    method: Method,
    path: String,
    contract_checked: bool,
    body: Option<Value>,
    builder: reqwest::RequestBuilder,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// The body as JSON; null when it is not.
    pub json: Value,
}

impl Client {
    #[allow(clippy::disallowed_methods)]
    pub fn new(base: &str) -> Client {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            // A connection of its own for each request: one that the server just closed, after
            // refusing a header or a body that was too large, must not be used again.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Client { base: base.to_owned(), http }
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        let builder = self.http.request(method.clone(), format!("{}{path}", self.base));
        Request { method, path: path.to_owned(), contract_checked: true, body: None, builder }
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }
}

impl Request {
    pub fn token(mut self, token: &str) -> Request {
        self.builder = self.builder.bearer_auth(token);
        self
    }

    /// Sets the `Idempotency-Key`.
    pub fn key(self, key: &str) -> Request {
        self.header("idempotency-key", key)
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn json(mut self, body: Value) -> Request {
        self.builder = self.builder.json(&body);
        self.body = Some(body);
        self
    }

    pub fn raw(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Request {
        self.builder = self.builder.header("content-type", content_type).body(body);
        self
    }

    /// For answers outside the contract (the private port).
    pub fn unchecked(mut self) -> Request {
        self.contract_checked = false;
        self
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the server answers")
    }

    /// As [`Request::send`], but a broken connection is an error and not a failed test.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.builder.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Answer { status, headers, text, json };
        if self.contract_checked {
            check_contract(&self.method, &self.path, self.body.as_ref(), &answer);
        }
        Ok(answer)
    }
}

fn check_contract(method: &Method, path: &str, body: Option<&Value>, answer: &Answer) {
    let contract = Contract::load();
    let media = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
    let method = method.as_str();
    contract.check(method, path, answer.status, media, answer.text.as_bytes());
    contract.check_headers(method, path, answer.status, |name| answer.headers.contains_key(name));
    if let Some(body) = body.filter(|_| answer.status < 300) {
        contract.check_accepted(method, path, body);
    }
}

impl Answer {
    /// Asserts the status; shows the body when it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Asserts a problem with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Answer {
        assert_eq!(
            (self.status, self.json["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        let media = self.headers.get("content-type").unwrap();
        assert_eq!(media, "application/problem+json");
        self
    }

    pub fn str(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_else(|| panic!("no text {member}: {}", self.text))
    }

    pub fn int(&self, member: &str) -> i64 {
        self.json[member].as_i64().unwrap_or_else(|| panic!("no number {member}: {}", self.text))
    }
}
