//! One-time codes by text message: their making and their limits (OWASP ASVS 5, V6.5 and V6.6).
//!
//! The code is computed from a random seed in the challenge's row and the server's secret, so
//! neither the table nor the job that sends it tells the code. Limits per number are counted in
//! the database, exactly, because they guard money and strangers' phones; those per address are in
//! Redis. The answer never depends on whether the number has an account.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use crate::kernel::ids::ChallengeId;

/// Guesses per challenge; after that it is dead.
pub const ATTEMPTS_MAX: i32 = 5;
/// Seconds until a new code may be asked for.
pub const RESEND_AFTER_S: i64 = 60;
const PER_NUMBER_AND_HOUR_MAX: i64 = 5;
const PER_NUMBER_AND_DAY_MAX: i64 = 10;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A six-digit code in the clear: only in the message and in a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u64);

impl Code {
    /// The code of a challenge; `None` if the secret cannot key an HMAC.
    pub fn of(secret: &[u8], challenge: ChallengeId, seed: &[u8]) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(b"iparking one-time code\0");
        mac.update(challenge.get().as_bytes());
        mac.update(seed);
        let bytes = mac.finalize().into_bytes();
        let number = bytes.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        // 2^64 is not a multiple of a million; the difference is 5 parts in 10^14.
        Some(Self(number % 1_000_000))
    }

    /// Reads six digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let six_digits = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        if six_digits { text.parse().ok().map(Self) } else { None }
    }

    /// The text message, without diacritics so that it is one message of 160 characters.
    pub fn message(self, valid_s: i64) -> String {
        let minutes = valid_s.saturating_add(59) / 60;
        format!(
            "iParking: ma xac nhan cua ban la {:06}. Hieu luc {minutes} phut. \
             Khong chia se ma nay.",
            self.0
        )
    }
}

/// What was sent to a number, and to all, lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// When the newest code went to this number.
    pub newest: Option<Timestamp>,
    /// Codes to this number within an hour.
    pub in_hour: i64,
    /// When the oldest of those went.
    pub oldest_in_hour: Option<Timestamp>,
    /// Codes to this number within a day.
    pub in_day: i64,
    /// When the oldest of those went.
    pub oldest_in_day: Option<Timestamp>,
    /// Codes to any number within an hour.
    pub all_in_hour: i64,
}

/// Whether one more code may go to the number now; otherwise the seconds to wait.
pub fn may_send(sent: &Sent, all_per_hour_max: i64, now: Timestamp) -> Result<(), i64> {
    let wait = |since: Option<Timestamp>, window: SignedDuration| {
        let passed = since.map_or(window, |since| now.duration_since(since));
        window.saturating_sub(passed).as_secs().saturating_add(1).max(1)
    };
    let resend = SignedDuration::from_secs(RESEND_AFTER_S);
    let mut waits = Vec::new();
    if sent.newest.is_some_and(|newest| now.duration_since(newest) < resend) {
        waits.push(wait(sent.newest, resend));
    }
    if sent.in_hour >= PER_NUMBER_AND_HOUR_MAX {
        waits.push(wait(sent.oldest_in_hour, HOUR));
    }
    if sent.in_day >= PER_NUMBER_AND_DAY_MAX {
        waits.push(wait(sent.oldest_in_day, DAY));
    }
    if sent.all_in_hour >= all_per_hour_max {
        // The cost cap: somebody pumps messages. A person looks at it within minutes.
        waits.push(300);
    }
    waits.into_iter().max().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rstest::rstest;
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn codes_need_the_secret_the_challenge_and_the_seed() {
        let challenge = |n| ChallengeId::from_uuid(Uuid::from_u128(n));
        let codes = [
            Code::of(b"secret", challenge(1), &[1; 32]).unwrap(),
            Code::of(b"other", challenge(1), &[1; 32]).unwrap(),
            Code::of(b"secret", challenge(2), &[1; 32]).unwrap(),
            Code::of(b"secret", challenge(1), &[2; 32]).unwrap(),
        ];
        assert_eq!(codes.map(|code| code.0).into_iter().collect::<HashSet<_>>().len(), 4);
    }

    #[test]
    fn the_message_has_six_digits_and_reads_back() {
        let text = Code(1_234).message(180);
        assert_eq!(
            text,
            "iParking: ma xac nhan cua ban la 001234. Hieu luc 3 phut. Khong chia se ma nay."
        );
        assert!(Code::parse("001234") == Some(Code(1_234)));
        for wrong in ["", "1234", "1234567", "12345a", "+12345", "١٢٣٤٥٦", " 12345"] {
            assert!(Code::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[rstest]
    #[case::first(Sent::default(), Ok(()))]
    #[case::too_soon(Sent { newest: Some(at(990)), in_hour: 1, in_day: 1, ..Sent::default() }, Err(51))]
    #[case::after_a_minute(Sent { newest: Some(at(940)), in_hour: 4, in_day: 9, ..Sent::default() }, Ok(()))]
    #[case::sixth_in_an_hour(
        Sent { newest: Some(at(900)), in_hour: 5, oldest_in_hour: Some(at(0)), in_day: 5, ..Sent::default() },
        Err(2_601)
    )]
    #[case::eleventh_in_a_day(
        Sent { newest: Some(at(900)), in_hour: 1, in_day: 10, oldest_in_day: Some(at(0)), ..Sent::default() },
        Err(85_401)
    )]
    #[case::pumping(Sent { all_in_hour: 100, ..Sent::default() }, Err(300))]
    fn numbers_get_few_codes(#[case] sent: Sent, #[case] expected: Result<(), i64>) {
        assert_eq!(may_send(&sent, 100, at(1_000)), expected);
    }
}
