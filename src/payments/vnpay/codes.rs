//! VNPAY's code tables in our words. A code that stands in no table means "ask again".

use crate::payments::{FailureReason, Outcome, RefundOutcome};

/// What a callback says. Money is ours only when both codes are `00` (the official C# sample;
/// the PHP one uses "or", which would settle status 07). Codes that contradict each other are
/// not believed either way, nor is one that we do not know: asking decides.
pub fn callback_outcome(response_code: &str, transaction_status: &str) -> Outcome {
    match (response_code, transaction_status) {
        ("00", "00") => Outcome::Paid,
        ("07", _) | (_, "07") => Outcome::HeldForFraud,
        (code, "02") => failure(code).map_or(Outcome::Pending, Outcome::Failed),
        (code, "04") if failure(code).is_some() => Outcome::Failed(FailureReason::Reversed),
        _ => Outcome::Pending,
    }
}

/// What the answer to a question says about a payment: only the status counts, because the
/// response code speaks of the question itself.
pub fn queried_outcome(transaction_status: &str) -> Outcome {
    match transaction_status {
        "00" => Outcome::Paid,
        "02" => Outcome::Failed(FailureReason::Declined),
        "04" => Outcome::Failed(FailureReason::Reversed),
        "07" => Outcome::HeldForFraud,
        _ => Outcome::Pending,
    }
}

/// What the state of a refund transaction says.
pub fn refund_state(transaction_status: &str) -> RefundOutcome {
    match transaction_status {
        "05" => RefundOutcome::Accepted,
        "06" => RefundOutcome::Done,
        "09" => RefundOutcome::Refused,
        _ => RefundOutcome::Unknown,
    }
}

/// What the answer to a refund request says. `00` without a state that we know is still
/// accepted. `91` and `95` say that there is nothing to give back; all others (bad terminal,
/// format or signature, `99`) may come from our own settings, so the refund stays open.
pub fn refund_outcome(response_code: &str, transaction_status: &str) -> RefundOutcome {
    match response_code {
        "00" => match refund_state(transaction_status) {
            RefundOutcome::Unknown => RefundOutcome::Accepted,
            known => known,
        },
        "91" | "95" => RefundOutcome::Refused,
        "94" => RefundOutcome::AlreadyRequested,
        _ => RefundOutcome::Unknown,
    }
}

fn failure(response_code: &str) -> Option<FailureReason> {
    let reason = match response_code {
        "09" | "12" => FailureReason::CardRefused,
        "10" | "13" | "79" => FailureReason::AuthenticationFailed,
        "11" => FailureReason::ExpiredAtGateway,
        "24" => FailureReason::CustomerCancelled,
        "51" => FailureReason::InsufficientFunds,
        "65" => FailureReason::LimitExceeded,
        "75" => FailureReason::BankMaintenance,
        "99" => FailureReason::Declined,
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("00", "00", Outcome::Paid)]
    #[case("00", "07", Outcome::HeldForFraud)]
    #[case("07", "00", Outcome::HeldForFraud)]
    #[case("00", "02", Outcome::Pending)]
    #[case("24", "00", Outcome::Pending)]
    #[case("24", "02", Outcome::Failed(FailureReason::CustomerCancelled))]
    #[case("51", "02", Outcome::Failed(FailureReason::InsufficientFunds))]
    #[case("99", "04", Outcome::Failed(FailureReason::Reversed))]
    #[case("00", "01", Outcome::Pending)]
    #[case("42", "02", Outcome::Pending)]
    #[case("00", "", Outcome::Pending)]
    #[case("", "", Outcome::Pending)]
    #[case("00", "000", Outcome::Pending)]
    fn only_two_zeros_are_money_and_the_unknown_waits(
        #[case] response: &str,
        #[case] status: &str,
        #[case] outcome: Outcome,
    ) {
        assert_eq!(callback_outcome(response, status), outcome);
    }

    #[test]
    fn no_other_pair_of_codes_is_money() {
        let codes: Vec<String> = (0..100).map(|code| format!("{code:02}")).collect();
        for response in &codes {
            for status in &codes {
                let paid = callback_outcome(response, status) == Outcome::Paid;
                assert_eq!(paid, response == "00" && status == "00", "{response} {status}");
            }
        }
    }

    #[rstest]
    #[case("00", "05", RefundOutcome::Accepted)]
    #[case("00", "06", RefundOutcome::Done)]
    #[case("00", "09", RefundOutcome::Refused)]
    #[case("00", "", RefundOutcome::Accepted)]
    #[case("94", "", RefundOutcome::AlreadyRequested)]
    #[case("95", "", RefundOutcome::Refused)]
    #[case("97", "", RefundOutcome::Unknown)]
    #[case("99", "06", RefundOutcome::Unknown)]
    fn a_refund_is_refused_only_when_the_gateway_says_so(
        #[case] response: &str,
        #[case] status: &str,
        #[case] outcome: RefundOutcome,
    ) {
        assert_eq!(refund_outcome(response, status), outcome);
    }
}
