//! Refresh tokens: opaque, single use, one family per login (RFC 9700 section 4.14).
//!
//! The successor of a token is computed from it with the server's secret. A phone that lost the
//! answer on the road asks again with the old token and gets the same successor, so nothing has
//! to be stored in the clear and twenty parallel requests make one successor. Anything later is
//! taken for theft, and the whole family ends.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::opaque;

/// How long a token whose answer was lost may be shown again.
const LOST_ANSWER: SignedDuration = SignedDuration::from_secs(20);
/// How long a member of staff may stay away: a shift.
pub const STAFF_REFRESH: SignedDuration = SignedDuration::from_hours(12);
const PREFIX: &str = "ipr_";

/// A refresh token in the clear: only on its way to or from its owner.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; 32]);

impl RefreshToken {
    /// The first of a family, from fresh random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads what a client sent; `None` if we never write such a thing.
    pub fn parse(text: &str) -> Option<Self> {
        opaque::read(PREFIX, text).map(Self)
    }

    /// What the client keeps.
    pub fn expose(&self) -> String {
        opaque::write(PREFIX, &self.0)
    }

    /// What the database keeps.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The one token that can follow this one.
    pub fn successor(&self, secret: &[u8]) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(b"iparking refresh successor\0");
        mac.update(&self.0);
        Some(Self(mac.finalize().into_bytes().into()))
    }
}

/// What the database knows of a shown token.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Until when it may be used.
    pub expires_at: Timestamp,
    /// When it was used, if it was.
    pub used_at: Option<Timestamp>,
    /// Whether its successor was used as well.
    pub successor_used: bool,
    /// Whether the login is over.
    pub login_ended: bool,
}

/// What to do with a shown token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Use it and make the successor.
    Rotate,
    /// The answer was lost: the same successor once more.
    Repeat,
    /// Stolen, or a client gone mad: end the login.
    EndFamily,
    /// Too old, or the login is over.
    Refuse,
}

/// Judges a token that the database knows.
pub fn judge(known: &Known, now: Timestamp) -> Decision {
    if known.login_ended || known.expires_at <= now {
        return Decision::Refuse;
    }
    match known.used_at {
        None => Decision::Rotate,
        Some(used_at) if !known.successor_used && now.duration_since(used_at) <= LOST_ANSWER => {
            Decision::Repeat
        }
        Some(_) => Decision::EndFamily,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[rstest]
    #[case(None, false, false, 100, Decision::Rotate)]
    #[case(None, false, true, 100, Decision::Refuse)]
    #[case(None, false, false, 1_000, Decision::Refuse)]
    #[case(Some(90), false, false, 100, Decision::Repeat)]
    #[case(Some(80), false, false, 100, Decision::Repeat)]
    #[case(Some(79), false, false, 100, Decision::EndFamily)]
    #[case(Some(99), true, false, 100, Decision::EndFamily)]
    #[case(Some(99), true, true, 100, Decision::Refuse)]
    fn a_used_token_is_a_lost_answer_or_a_theft(
        #[case] used: Option<i64>,
        #[case] successor_used: bool,
        #[case] login_ended: bool,
        #[case] now: i64,
        #[case] expected: Decision,
    ) {
        let known =
            Known { expires_at: at(1_000), used_at: used.map(at), successor_used, login_ended };
        assert_eq!(judge(&known, at(now)), expected);
    }

    #[test]
    fn the_successor_is_always_the_same_and_needs_the_secret() {
        let token = RefreshToken::new([1; 32]);
        let one = token.successor(b"secret").unwrap();
        assert!(one == token.successor(b"secret").unwrap());
        assert!(one != token.successor(b"other").unwrap());
        assert!(one != token);
    }

    #[test]
    fn only_our_own_shape_is_read() {
        let token = RefreshToken::new([2; 32]);
        assert!(RefreshToken::parse(&token.expose()) == Some(token.clone()));
        for text in ["", "ipr_", "ipk_x", &token.expose().replace("ipr_", ""), "ipr_====", "ipr_ố"]
        {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
        assert!(RefreshToken::parse(&format!("{}A", token.expose())).is_none());
    }
}
