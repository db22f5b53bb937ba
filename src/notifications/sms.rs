//! Text messages, through whichever gateway the settings name.

use serde::Serialize;

use crate::platform::App;
use crate::platform::outbound::OutboundError;

/// Why a message did not go out, as far as we know. Names neither number nor text.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// No answer from the gateway.
    #[error("the gateway of text messages gave no answer")]
    NoAnswer(#[from] OutboundError),
    /// The gateway said no.
    #[error("the gateway of text messages answered {0}")]
    Refused(u16),
}

#[derive(Serialize)]
struct Message<'a> {
    to: &'a str,
    text: &'a str,
}

/// Hands a message to the gateway. `to` is an E.164 number. Neither is ever logged.
pub async fn send(app: &App, to: &str, text: &str) -> Result<(), SmsError> {
    let endpoint = &app.config().sms.endpoint;
    let answer = app.outbound().post_json("sms", endpoint, &Message { to, text }).await?;
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(SmsError::Refused(answer.status)) }
}
