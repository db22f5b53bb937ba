//! Staff passwords: Argon2id with OWASP's parameters, off the request threads, few at a time.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::AuthError;

/// OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Checks at the same time in one server: each holds 19 MiB and a processor.
const CHECKS_MAX: usize = 2;
/// How long a login waits for its turn before it is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Longer passwords are refused unread, so that hashing them costs nothing.
pub const PASSWORD_BYTES_MAX: usize = 256;

fn argon2() -> Result<Argon2<'static>, AuthError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|_invalid| AuthError::Machinery("argon2 parameters"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password for keeping, with fresh random bytes as salt. Takes tens of milliseconds:
/// for seeds and tools, not for request threads.
pub fn hash_password(password: &str, salt: &[u8; 16]) -> Result<String, AuthError> {
    let hash: argon2::password_hash::phc::PasswordHash = argon2()?
        .hash_password_with_salt(password.as_bytes(), salt)
        .map_err(|_failed| AuthError::Machinery("argon2"))?;
    Ok(hash.to_string())
}

/// Checks passwords, a few at a time.
pub struct PasswordChecks {
    turns: Semaphore,
    /// Stands in for the hash of an unknown user, so that the answer takes as long.
    nobody: String,
}

impl PasswordChecks {
    /// Prepares the stand-in, which costs one hash.
    pub fn new(random: [u8; 16]) -> Result<Self, AuthError> {
        Ok(Self {
            turns: Semaphore::new(CHECKS_MAX),
            nobody: hash_password("nobody has this password", &random)?,
        })
    }

    /// Whether `password` belongs to `hash`; an absent hash is answered `false` after the same
    /// work. [`AuthError::Busy`] when too many wait.
    pub async fn check(&self, hash: Option<String>, password: String) -> Result<bool, AuthError> {
        let turn = tokio::time::timeout(WAIT_MAX, self.turns.acquire())
            .await
            .map_err(|_elapsed| AuthError::Busy)?
            .map_err(|_closed| AuthError::Busy)?;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let fits = tokio::task::spawn_blocking(move || fits(&hash, &password)).await;
        drop(turn);
        Ok(fits.map_err(|_panic| AuthError::Machinery("password check"))? && known)
    }
}

fn fits(hash: &str, password: &str) -> bool {
    let (Ok(hash), Ok(argon2)) = (PasswordHash::new(hash), argon2()) else { return false };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_of_a_known_user_is_needed() {
        let hash = hash_password("đúng rồi", &[7; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let checks = PasswordChecks::new([9; 16]).unwrap();
        let check = |hash: Option<&str>, password: &str| {
            checks.check(hash.map(str::to_owned), password.to_owned())
        };
        assert!(check(Some(&hash), "đúng rồi").await.unwrap());
        assert!(!check(Some(&hash), "sai").await.unwrap());
        assert!(!check(Some("not a hash"), "sai").await.unwrap());
        assert!(!check(None, "nobody has this password").await.unwrap());
    }
}
