//! Sending a one-time code: at once, and by a job when that fails.

use serde::{Deserialize, Serialize};

use super::otp::Code;
use super::otp_store;
use super::state::server_secret;
use crate::kernel::ids::ChallengeId;
use crate::notifications::sms;
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::jobs::{self, NewJob};

/// The kind of the job that sends a code.
pub const SEND_CODE: &str = "send_code";

/// Seconds after which a code that could not be sent at once is sent by its job.
const SEND_AGAIN_S: i64 = 5;

/// How long the request for a code waits for the carrier.
const SEND_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What the job that sends a code needs: never the code itself.
#[derive(Serialize, Deserialize)]
struct SendCode {
    challenge_id: ChallengeId,
}

/// Sends a new code before its request is answered, so that it is on its way when the app asks
/// for it. Whatever goes wrong, the job tries again.
pub(super) async fn send_at_once(app: &App, id: ChallengeId) {
    let sending = {
        let app = app.clone();
        async move {
            send_challenge(&app, id).await?;
            let done: Result<(), DbError> =
                on_conn!(app.db(), |conn| jobs::cancel(conn, &send_key(id)).await);
            done.map_err(SendCodeError::from)
        }
    };
    let sending = app.run_to_end(sending);
    // An answer that waits longer than this for the carrier helps nobody.
    let sent = tokio::time::timeout(SEND_PATIENCE, sending).await;
    if let Ok(Some(Err(error))) = sent {
        tracing::warn!(error = %error, "a code was not sent at once");
    }
}

/// The job that sends a code if it could not be sent at once.
pub(super) fn job(id: ChallengeId, now: jiff::Timestamp) -> NewJob {
    let at = now.checked_add(jiff::SignedDuration::from_secs(SEND_AGAIN_S)).unwrap_or(now);
    NewJob::at(at, SEND_CODE, SendCode { challenge_id: id }).once(send_key(id))
}

fn send_key(id: ChallengeId) -> String {
    format!("{SEND_CODE}:{id}")
}

/// Why a code was not sent; the job is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SendCodeError {
    /// Not a payload of ours.
    #[error("the job's payload cannot be read")]
    Payload,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] DbError),
    /// The gateway of text messages failed.
    #[error(transparent)]
    Sms(#[from] sms::SmsError),
    /// The server's secret does not work.
    #[error("the server's secret cannot key a code")]
    Secret,
}

/// The job [`SEND_CODE`]: sends the code of a challenge, if it is still good. Run twice, the
/// person gets the same code twice.
pub async fn send_code(app: &App, payload: &serde_json::Value) -> Result<(), SendCodeError> {
    let SendCode { challenge_id } =
        SendCode::deserialize(payload).map_err(|_unreadable| SendCodeError::Payload)?;
    send_challenge(app, challenge_id).await
}

async fn send_challenge(app: &App, challenge_id: ChallengeId) -> Result<(), SendCodeError> {
    let now = app.now();
    let challenge: Result<_, DbError> =
        on_conn!(app.db(), |conn| otp_store::challenge_to_send(conn, challenge_id, now).await);
    let Some(challenge) = challenge? else { return Ok(()) };
    let code =
        Code::of(server_secret(app), challenge_id, &challenge.seed).ok_or(SendCodeError::Secret)?;
    let text = code.message(app.config().auth.otp_s);
    sms::send(app, &challenge.phone, &text).await?;
    Ok(())
}
