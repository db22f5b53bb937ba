//! Logins that ended while their access tokens still live.
//!
//! An access token is verified without asking anyone, so every server must know by itself which
//! logins are over: it reads them from the database once a second and notes its own at once. An
//! entry is kept until the last token of that login has expired.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use crate::kernel::ids::LoginId;

/// The ended logins that still matter.
pub struct EndedLogins {
    kept_for: SignedDuration,
    ended: RwLock<HashMap<LoginId, Timestamp>>,
}

impl EndedLogins {
    /// Remembers each login for as long as its last access token may live, and a minute for clocks
    /// that disagree.
    pub fn new(access_token_s: i64) -> Self {
        Self {
            kept_for: SignedDuration::from_secs(access_token_s.saturating_add(60)),
            ended: RwLock::default(),
        }
    }

    /// Whether this server knows that the login is over.
    pub fn contains(&self, login: LoginId) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&login)
    }

    /// Logins that ended before this are of no interest at `now`.
    pub fn horizon(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.kept_for).unwrap_or(Timestamp::MIN)
    }

    /// Adds what was learned and forgets what no token can need. Additive, so that a list read
    /// from the database a moment ago cannot undo a logout of this moment.
    pub fn learn(&self, ended: impl IntoIterator<Item = (LoginId, Timestamp)>, now: Timestamp) {
        let horizon = self.horizon(now);
        let mut known = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(ended);
        known.retain(|_, at| *at >= horizon);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_ended_login_is_known_until_its_last_token_expired() {
        let login = LoginId::from_uuid(Uuid::from_u128(1));
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let ended = EndedLogins::new(600);
        ended.learn([(login, at(0))], at(0));
        ended.learn([], at(600));
        assert!(ended.contains(login));
        ended.learn([], at(661));
        assert!(!ended.contains(login));
    }
}
