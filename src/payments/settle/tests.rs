//! The rules of settlement on rows in memory, and the naive version that they guard against.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::payments::dues::tests::ended;
use crate::payments::{FailureReason, PaymentStatus};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn payment(number: u128, session: u128, amount: i64) -> Payment {
    let id = PaymentId::from_uuid(Uuid::from_u128(number));
    Payment {
        id,
        parking_session_id: ParkingSessionId::from_uuid(Uuid::from_u128(session)),
        driver_id: None,
        provider: ProviderKind::Vnpay,
        merchant_ref: MerchantRef::of(id),
        amount: Vnd::new(amount),
        status: PaymentStatus::Pending,
        is_instructed: true,
        return_url: String::new(),
        payer_ip: "127.0.0.1".parse().unwrap(),
        redirect_url: None,
        created_at: at("2026-11-27T03:00:00Z"),
        expires_at: at("2026-11-27T03:15:00Z"),
        settled_at: None,
        failure: None,
        provider_txn: None,
        provider_paid_at: None,
        is_late: false,
        is_held: false,
        refunding: Vnd::ZERO,
        refunded: Vnd::ZERO,
    }
}

fn says(payment: &Payment, outcome: Outcome) -> Word {
    Word {
        message: MessageId::from_uuid(Uuid::nil()),
        provider: payment.provider,
        read: Ok(Notification {
            merchant_ref: payment.merchant_ref.clone(),
            provider_txn: Some("14226112".into()),
            amount: Some(payment.amount),
            outcome,
            paid_at: None,
        }),
    }
}

fn applied(locked: &mut Locked, words: &[Word]) -> Effects {
    let mut ids = 1000_u128;
    let new_id = || {
        ids += 1;
        RefundId::from_uuid(Uuid::from_u128(ids))
    };
    locked.apply(words, at("2026-11-27T03:05:00Z"), new_id).unwrap()
}

#[test]
fn the_same_ipn_eight_times_in_a_group_books_once() {
    let one = payment(1, 1, 25_000);
    let words = vec![says(&one, Outcome::Paid); 8];
    let mut locked = Locked::new(vec![one], vec![ended(1, 25_000)]);
    let effects = applied(&mut locked, &words);
    assert_eq!(effects.verdicts[0], Verdict::Settled);
    assert!(effects.verdicts[1..].iter().all(|verdict| *verdict == Verdict::AlreadyRecorded));
    assert_eq!(effects.transfers.len(), 1);
    assert!(effects.refunds.is_empty());
}

#[test]
fn late_success_pays_a_session_that_still_owes() {
    let mut one = payment(1, 1, 25_000);
    one.status = PaymentStatus::Expired;
    let word = says(&one, Outcome::Paid);
    let mut locked = Locked::new(vec![one], vec![ended(1, 25_000)]);
    let effects = applied(&mut locked, &[word]);
    assert_eq!(effects.verdicts, [Verdict::SettledLate]);
    assert!(effects.refunds.is_empty());
    assert!(locked.changed_sessions(&effects)[0].is_settled);
}

#[test]
fn of_two_successes_for_one_session_the_later_goes_back() {
    let (mut one, two) = (payment(1, 1, 25_000), payment(2, 1, 25_000));
    one.status = PaymentStatus::Expired;
    let words = [says(&two, Outcome::Paid), says(&one, Outcome::Paid)];
    let (first, second) = (one.id, two.id);
    let mut locked = Locked::new(vec![one, two], vec![ended(1, 25_000)]);
    let effects = applied(&mut locked, &words);
    assert_eq!(effects.verdicts, [Verdict::Settled, Verdict::SettledLate]);
    assert_eq!(effects.refunds.len(), 1);
    assert_eq!(effects.refunds[0].payment_id, first);
    assert_eq!(effects.refunds[0].reason, "late_success");
    let status = |id| {
        let changed = locked.changed_payments(&effects);
        changed.iter().find(|payment| payment.id == id).unwrap().status
    };
    assert_eq!(status(first), PaymentStatus::RefundPending);
    assert_eq!(status(second), PaymentStatus::Succeeded);
}

#[test]
fn a_fare_that_fell_meanwhile_sends_the_rest_back() {
    let one = payment(1, 1, 25_000);
    let word = says(&one, Outcome::Paid);
    let mut locked = Locked::new(vec![one], vec![ended(1, 20_000)]);
    let effects = applied(&mut locked, &[word]);
    assert_eq!(effects.refunds[0].amount, Vnd::new(5_000));
    assert_eq!(effects.transfers.len(), 1);
}

#[test]
fn checks_stand_in_the_order_of_the_sheet() {
    let one = payment(1, 1, 25_000);
    let stranger = payment(9, 1, 25_000);
    let mut wrong = says(&one, Outcome::Paid);
    wrong.read.as_mut().unwrap().amount = Some(Vnd::new(24_999));
    let mut unreadable = says(&one, Outcome::Paid);
    unreadable.read.as_mut().unwrap().amount = None;
    let mut unsigned = says(&one, Outcome::Paid);
    unsigned.read = Err(BadCallback::Unsigned);
    let mut foreign = says(&one, Outcome::Paid);
    foreign.read = Err(BadCallback::ForeignAccount);
    let cancelled = Outcome::Failed(FailureReason::CustomerCancelled);
    let words = [
        unsigned,
        foreign,
        says(&stranger, Outcome::Paid),
        wrong.clone(),
        unreadable,
        says(&one, Outcome::Pending),
        says(&one, Outcome::HeldForFraud),
        says(&one, cancelled),
        says(&one, cancelled),
        says(&one, Outcome::Paid),
        // Wrong amount is told before "already recorded".
        wrong,
    ];
    let mut locked = Locked::new(vec![one], vec![ended(1, 25_000)]);
    let effects = applied(&mut locked, &words);
    let expected = [
        Verdict::BadSignature,
        Verdict::UnknownPayment,
        Verdict::UnknownPayment,
        Verdict::AmountDiffers,
        Verdict::AmountDiffers,
        Verdict::Unclear,
        Verdict::Held,
        Verdict::Closed,
        Verdict::AlreadyRecorded,
        Verdict::SettledLate,
        Verdict::AmountDiffers,
    ];
    assert_eq!(effects.verdicts, expected);
    assert_eq!(effects.transfers.len(), 1);
    assert!(effects.messages[0].payment_id.is_none());
    assert!(effects.messages[3].payment_id.is_some());
}

/// Three payments of one session; whatever is said about them in whatever order, the books agree.
fn words() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0_usize..3, 0_u8..5), 0..30)
}

proptest! {
    #[test]
    fn whatever_is_said_money_is_booked_once_and_what_nobody_owes_goes_back(said in words()) {
        let mut payments: Vec<Payment> = (1..=3).map(|n| payment(n, 1, 25_000)).collect();
        payments[1].status = PaymentStatus::Expired;
        payments[2].status = PaymentStatus::Cancelled;
        let words: Vec<Word> = said
            .iter()
            .map(|(which, outcome)| {
                says(&payments[*which], match outcome {
                    0 => Outcome::Paid,
                    1 => Outcome::Failed(FailureReason::CustomerCancelled),
                    2 => Outcome::Failed(FailureReason::Declined),
                    3 => Outcome::HeldForFraud,
                    _ => Outcome::Pending,
                })
            })
            .collect();
        let paid: BTreeSet<usize> =
            said.iter().filter(|(_, outcome)| *outcome == 0).map(|(which, _)| *which).collect();
        let mut locked = Locked::new(payments, vec![ended(1, 25_000)]);
        let effects = applied(&mut locked, &words);
        prop_assert_eq!(effects.transfers.len(), paid.len());
        let refunded: Vnd = effects.refunds.iter().map(|refund| refund.amount).sum();
        let surplus = 25_000 * i64::try_from(paid.len().saturating_sub(1)).unwrap();
        prop_assert_eq!(refunded, Vnd::new(surplus));
        let dues = locked.sessions.values().next().unwrap();
        prop_assert_eq!(dues.is_settled, !paid.is_empty());
    }
}
