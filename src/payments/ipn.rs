//! Providers' own calls: stored raw, verified, settled, answered in the provider's words.

use actix_web::{HttpRequest, HttpResponse, web};

use super::ProviderKind;
use super::message_store::{MessageKind, NewMessage};
use super::service::{PaymentError, Payments};
use super::settle::{Verdict, Word};
use super::vnpay::IpnAnswer;
use crate::web::extract::client_addr;
use crate::web::rate_limit::{CallKind, RateLimits, address_bucket};

/// The longest query that is looked at: four times a full IPN with every optional parameter.
const QUERY_BYTES_MAX: usize = 8 * 1024;

/// `GET /v1/payments/ipn/vnpay`. Always HTTP 200; `RspCode` tells. What we cannot take at the
/// moment is 99, upon which VNPAY calls again.
pub async fn vnpay_ipn(
    request: HttpRequest,
    payments: web::Data<Payments>,
    limits: web::Data<RateLimits>,
) -> HttpResponse {
    let address = client_addr(&request).0;
    let answer = if limits.charge_here(CallKind::ProviderMessage, &address_bucket(address)).is_err()
    {
        count(ProviderKind::Vnpay, "rate_limited");
        IpnAnswer::OurError
    } else if request.query_string().len() > QUERY_BYTES_MAX {
        count(ProviderKind::Vnpay, "too_long");
        IpnAnswer::InvalidSignature
    } else {
        let app = payments.app();
        let message = NewMessage {
            id: app.new_id(),
            provider: ProviderKind::Vnpay,
            kind: MessageKind::Ipn,
            received_at: app.now(),
            remote_addr: Some(address),
            body: request.query_string().to_owned(),
            payment_id: None,
        };
        let work = {
            let payments = payments.clone();
            async move { receive(&payments, message).await }
        };
        match app.run_to_end(work).await {
            Some(Ok(verdict)) => vnpay_answer(verdict),
            Some(Err(error)) => {
                tracing::warn!(error = %error, "an IPN was not taken");
                count(ProviderKind::Vnpay, "error");
                IpnAnswer::OurError
            }
            None => IpnAnswer::OurError,
        }
    };
    HttpResponse::Ok().content_type("application/json").body(answer.body())
}

/// Keeps the message, then believes it or not, then applies it.
async fn receive(payments: &Payments, message: NewMessage) -> Result<Verdict, PaymentError> {
    let (id, provider) = (message.id, message.provider);
    let read = payments.providers().adapter(provider).read_callback(&message.body);
    payments.keep(message).await?;
    let verdict = payments.settle(Word { message: id, provider, read }).await?;
    count(provider, verdict.as_str());
    Ok(verdict)
}

fn count(provider: ProviderKind, verdict: &'static str) {
    let labels = [("provider", provider.as_str()), ("verdict", verdict)];
    metrics::counter!("ipn_total", &labels).increment(1);
}

fn vnpay_answer(verdict: Verdict) -> IpnAnswer {
    match verdict {
        // Also what we do not understand is recorded; we ask about it ourselves.
        Verdict::Settled
        | Verdict::SettledLate
        | Verdict::Closed
        | Verdict::Held
        | Verdict::Unclear => IpnAnswer::Recorded,
        Verdict::AlreadyRecorded => IpnAnswer::AlreadyRecorded,
        Verdict::UnknownPayment => IpnAnswer::OrderNotFound,
        Verdict::AmountDiffers => IpnAnswer::InvalidAmount,
        Verdict::BadSignature => IpnAnswer::InvalidSignature,
    }
}
