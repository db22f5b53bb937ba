//! A gateway of text messages that keeps what it is given.

use std::time::Duration;

use serde_json::Value;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Where text messages of a test arrive.
pub struct SmsInbox {
    server: MockServer,
}

impl SmsInbox {
    pub async fn open() -> SmsInbox {
        let server = MockServer::start().await;
        let accepted = ResponseTemplate::new(202);
        Mock::given(method("POST")).and(path("/sms")).respond_with(accepted).mount(&server).await;
        SmsInbox { server }
    }

    /// For `sms.endpoint`.
    pub fn url(&self) -> String {
        format!("{}/sms", self.server.uri())
    }

    /// Every message so far as number and text, oldest first.
    pub async fn messages(&self) -> Vec<(String, String)> {
        let requests = self.server.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| {
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                let text = |member: &str| body[member].as_str().unwrap().to_owned();
                (text("to"), text("text"))
            })
            .collect()
    }

    /// The newest code sent to a number.
    pub async fn code_to(&self, phone: &str) -> String {
        for _ in 0..200 {
            let messages = self.messages().await;
            if let Some((_, text)) = messages.iter().rev().find(|(to, _)| to == phone) {
                let digits: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
                assert_eq!(digits.len(), 6, "{text}");
                return digits;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no message arrived in 20 s");
    }
}
