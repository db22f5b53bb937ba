//! Comparison with books that are not ours.

use std::collections::HashMap;

use serde::Deserialize;

use super::{OurMovement, Report, our_movements};
use crate::platform::App;
use crate::platform::db::DbError;

/// A provider's books as the sandbox shows them.
#[derive(Debug, Deserialize)]
pub struct Books {
    /// Every movement of money, and orders without one.
    pub items: Vec<BookLine>,
}

/// One line of a provider's books.
#[derive(Debug, Clone, Deserialize)]
pub struct BookLine {
    /// The merchant's reference of the payment.
    pub merchant_ref: String,
    /// `payment` or `refund`.
    pub kind: String,
    /// VND.
    pub amount_vnd: i64,
    /// `paid` for money taken; `processing` or `done` for money on its way back.
    pub state: String,
}

/// What a provider holds of one payment, by its own books.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Theirs {
    captured_vnd: i64,
    refunded_vnd: i64,
}

/// Compares a provider's books with ours, payment by payment (I07, I08).
pub async fn provider(
    app: &App,
    name: &str,
    books: &Books,
    report: &mut Report,
) -> Result<(), DbError> {
    let ours = our_movements(app, name).await?;
    let (unknown, differing) = compare(&ours, &books.items);
    report.add("I07", "money that a provider took is money that we know of", unknown);
    report.add("I08", "our books and the provider's say the same of each payment", differing);
    Ok(())
}

fn compare(ours: &[OurMovement], lines: &[BookLine]) -> (Vec<String>, Vec<String>) {
    let mut theirs: HashMap<&str, Theirs> = HashMap::new();
    for line in lines {
        let entry = theirs.entry(&line.merchant_ref).or_default();
        match (line.kind.as_str(), line.state.as_str()) {
            ("payment", "paid") => {
                entry.captured_vnd = entry.captured_vnd.saturating_add(line.amount_vnd);
            }
            ("refund", "processing" | "done") => {
                entry.refunded_vnd = entry.refunded_vnd.saturating_add(line.amount_vnd);
            }
            _ => {}
        }
    }
    let mut differing = Vec::new();
    for our in ours {
        let their = theirs.remove(our.merchant_ref.as_str()).unwrap_or_default();
        // A refund that we still follow may have reached them or not.
        let most = our.refunded_vnd.saturating_add(our.refunding_vnd);
        let refunds_agree = (our.refunded_vnd..=most).contains(&their.refunded_vnd);
        if our.captured_vnd != their.captured_vnd || !refunds_agree {
            differing.push(format!(
                "payment {}: ours {} in, {} back (+{} under way); theirs {} in, {} back",
                our.payment_id,
                our.captured_vnd,
                our.refunded_vnd,
                our.refunding_vnd,
                their.captured_vnd,
                their.refunded_vnd,
            ));
        }
    }
    let unknown = theirs
        .into_iter()
        .filter(|(_, their)| *their != Theirs::default())
        .map(|(reference, their)| {
            format!("{reference}: {} in, {} back", their.captured_vnd, their.refunded_vnd)
        })
        .collect();
    (unknown, differing)
}
