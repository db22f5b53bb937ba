//! The SMS carrier: takes what the product sends, shows it to whoever asks, forgets the oldest.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::Sandbox;
use crate::problem::{Problem, parse_json};

/// Messages kept; about 20 MB of one-time codes.
const MESSAGES_MAX: usize = 100_000;
/// Characters in a message: ten concatenated parts.
const TEXT_CHARS_MAX: usize = 1_600;
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// One message as the carrier accepted it.
#[derive(Debug, Clone, Serialize)]
pub struct Message {
    to: String,
    text: String,
    sent_at: Timestamp,
}

/// The newest messages, in memory only: codes die within minutes anyway.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<VecDeque<Message>>);

impl Outbox {
    fn push(&self, message: Message) {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() >= MESSAGES_MAX {
            messages.pop_front();
        }
        messages.push_back(message);
    }

    fn newest(&self, phone: Option<&str>, limit: usize) -> Vec<Message> {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |m: &&Message| phone.is_none_or(|phone| m.to == phone);
        messages.iter().rev().filter(wanted).take(limit).cloned().collect()
    }
}

/// What the product sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    to: String,
    text: String,
}

/// Which messages to show.
#[derive(Deserialize)]
pub struct ListQuery {
    phone: Option<String>,
    limit: Option<usize>,
}

/// `POST /sms`
pub async fn send(app: web::Data<Sandbox>, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let body: SendBody = parse_json(&body)?;
    let digits = body.to.strip_prefix('+').unwrap_or_default();
    if !(8..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::bad_request("bad_phone", "`to` must be E.164, like +84912345678"));
    }
    if body.text.is_empty() || body.text.chars().count() > TEXT_CHARS_MAX {
        return Err(Problem::bad_request("bad_text", "`text` must have 1 to 1600 characters"));
    }
    let sent_at = app.clock.now();
    app.sms.push(Message { to: body.to, text: body.text, sent_at });
    Ok(HttpResponse::Accepted().json(serde_json::json!({ "sent_at": sent_at })))
}

/// `GET /sms?phone=+84...`
pub async fn list(app: web::Data<Sandbox>, query: web::Query<ListQuery>) -> HttpResponse {
    let phone = query.phone.as_deref().map(normalise);
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let items = app.sms.newest(phone.as_deref(), limit);
    HttpResponse::Ok().json(serde_json::json!({ "items": items }))
}

/// An unescaped `+` in a query arrives as a space; people also leave it out or write 09...
fn normalise(phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    match digits.strip_prefix('0') {
        Some(rest) => format!("+84{rest}"),
        None => format!("+{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_found_however_its_plus_arrived() {
        for text in ["+84912345678", " 84912345678", "84912345678", "0912345678"] {
            assert_eq!(normalise(text), "+84912345678", "{text}");
        }
    }

    #[test]
    fn the_outbox_is_bounded_and_newest_first() {
        let outbox = Outbox::default();
        for n in 0..=MESSAGES_MAX {
            let message =
                Message { to: "+84".into(), text: n.to_string(), sent_at: Timestamp::UNIX_EPOCH };
            outbox.push(message);
        }
        let newest = outbox.newest(Some("+84"), 2);
        let texts: Vec<_> = newest.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(texts, ["100000", "99999"]);
        assert_eq!(outbox.newest(None, usize::MAX).len(), MESSAGES_MAX);
    }
}
