//! Access tokens: JWTs signed with Ed25519, as RFC 8725 and RFC 9068 advise.
//!
//! One algorithm, our own issuer, one audience per kind of caller, minutes to live. Keys are found
//! by `kid` in a fixed list; nothing in a token can name a key, an address or an algorithm of its
//! own. Times are compared with the injected clock, because the library's own comparison reads the
//! system's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jsonwebtoken::jwk::{CommonParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Driver, Principal, RoleName, Staff};
use crate::kernel::ids::{DriverId, LoginId, OperatorId, StaffId};

/// How far two machines' clocks may be apart.
const LEEWAY_S: i64 = 5;
/// No token of ours is longer; longer ones are not even parsed.
const TOKEN_BYTES_MAX: usize = 1024;
/// The type of an access token (RFC 9068 section 2.1), so that no other JWT of ours passes as one.
const TYP: &str = "at+jwt";
/// Tokens verified and remembered by one server; about 1 KB each.
const VERIFIED_MAX: u64 = 20_000;

/// A signing key that cannot be used. The text names no secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not what it should be.
    #[error("signing key {kid} is not an Ed25519 private key in PKCS#8 PEM")]
    Unusable {
        /// Which.
        kid: String,
    },
    /// Nothing to sign with.
    #[error("there is no signing key")]
    Missing,
}

/// Why a token is not believed; no more than a stranger may learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not ours, or not as we make them.
    #[error("the access token is not valid")]
    Invalid,
    /// Ours, but too old.
    #[error("the access token has expired")]
    Expired,
}

/// What a believed token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub caller: Principal,
    /// The login it belongs to.
    pub login: LoginId,
    exp: i64,
    nbf: i64,
}

impl Verified {
    fn at(self, now: Timestamp) -> Result<Self, Rejected> {
        let now = now.as_second();
        if now >= self.exp.saturating_add(LEEWAY_S) {
            Err(Rejected::Expired)
        } else if self.nbf > now.saturating_add(LEEWAY_S) {
            Err(Rejected::Invalid)
        } else {
            Ok(self)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Audience {
    #[serde(rename = "iparking:driver")]
    Driver,
    #[serde(rename = "iparking:staff")]
    Staff,
}

/// The claims, all of them: an unknown, doubled or mistyped one is a token that we did not make.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: Uuid,
    sid: LoginId,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_id: Option<OperatorId>,
}

impl Claims {
    fn caller(&self) -> Option<Principal> {
        match (self.aud, self.role) {
            (Audience::Driver, None) if self.operator_id.is_none() => {
                Some(Principal::Driver(Driver {
                    id: DriverId::from_uuid(self.sub),
                    login: self.sid,
                }))
            }
            (Audience::Staff, Some(name)) => name.of(self.operator_id).map(|role| {
                Principal::Staff(Staff { id: StaffId::from_uuid(self.sub), login: self.sid, role })
            }),
            (Audience::Driver, _) | (Audience::Staff, None) => None,
        }
    }
}

struct Key {
    kid: String,
    signing: EncodingKey,
    checking: DecodingKey,
    public: Jwk,
}

/// The installation's signing keys and the memory of tokens already verified.
pub struct AccessTokens {
    newest: Key,
    older: Vec<Key>,
    issuer: String,
    lives_s: i64,
    validation: Validation,
    verified: moka::sync::Cache<Arc<str>, Verified>,
}

impl AccessTokens {
    /// Takes the keys as pairs of key id and PKCS#8 PEM text, in the order of their ids: the last
    /// signs, all verify. To rotate, add a key; drop the old one when its last tokens have ended.
    pub fn new<'a>(
        pems: impl IntoIterator<Item = (&'a str, &'a str)>,
        issuer: &str,
        lives_s: i64,
    ) -> Result<Self, KeyError> {
        let keys = pems.into_iter().map(|(kid, pem)| {
            read_key(kid, pem).ok_or_else(|| KeyError::Unusable { kid: kid.to_owned() })
        });
        let mut older = keys.collect::<Result<Vec<Key>, KeyError>>()?;
        let newest = older.pop().ok_or(KeyError::Missing)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Compared with the injected clock in `Verified::at`; the claims' presence and type
        // are checked here and by `Claims`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&["iparking:driver", "iparking:staff"]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        Ok(Self {
            newest,
            older,
            issuer: issuer.to_owned(),
            lives_s,
            validation,
            verified: moka::sync::Cache::builder()
                .max_capacity(VERIFIED_MAX)
                .time_to_live(std::time::Duration::from_secs(lives_s.unsigned_abs()))
                .build(),
        })
    }

    /// How long a token lives, in seconds.
    pub fn lives_s(&self) -> i64 {
        self.lives_s
    }

    /// Signs a token for a driver or a member of staff; `None` for devices, which have none, and
    /// when the library fails.
    pub fn sign(&self, caller: &Principal, now: Timestamp, jti: Uuid) -> Option<String> {
        let (aud, sub, sid, role) = match caller {
            Principal::Driver(driver) => (Audience::Driver, driver.id.get(), driver.login, None),
            Principal::Staff(staff) => {
                (Audience::Staff, staff.id.get(), staff.login, Some(staff.role))
            }
            Principal::Device(_) => return None,
        };
        let iat = now.as_second();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud,
            sub,
            sid,
            jti,
            iat,
            nbf: iat,
            exp: iat.saturating_add(self.lives_s),
            role: role.map(super::Role::name),
            operator_id: role.and_then(super::Role::operator_id),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(self.newest.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.newest.signing).ok()
    }

    /// Believes a token or not. The signature is verified once per token and server; the dates are
    /// compared each time. Whether the login was ended is for the caller to ask.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Rejected> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Rejected::Invalid);
        }
        if let Some(known) = self.verified.get(token) {
            return known.at(now);
        }
        let fresh = self.check(token).ok_or(Rejected::Invalid)?.at(now)?;
        self.verified.insert(Arc::from(token), fresh);
        Ok(fresh)
    }

    fn check(&self, token: &str) -> Option<Verified> {
        if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYP) || header.crit.is_some() {
            return None;
        }
        let kid = header.kid?;
        let key = std::iter::once(&self.newest).chain(&self.older).find(|key| key.kid == kid)?;
        let claims =
            jsonwebtoken::decode::<Claims>(token, &key.checking, &self.validation).ok()?.claims;
        // A token may not outlive what we give, whatever key signed it.
        if claims.exp.checked_sub(claims.nbf)? > self.lives_s || claims.iat > claims.exp {
            return None;
        }
        Some(Verified {
            caller: claims.caller()?,
            login: claims.sid,
            exp: claims.exp,
            nbf: claims.nbf,
        })
    }

    /// The public keys as a JWK set (RFC 7517).
    pub fn jwks(&self) -> JwkSet {
        JwkSet {
            keys: std::iter::once(&self.newest)
                .chain(&self.older)
                .map(|key| key.public.clone())
                .collect(),
        }
    }
}

fn read_key(kid: &str, pem: &str) -> Option<Key> {
    let signing = EncodingKey::from_ed_pem(pem.trim().as_bytes()).ok()?;
    let mut public = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).ok()?;
    public.common = CommonParameters {
        public_key_use: Some(PublicKeyUse::Signature),
        key_algorithm: Some(KeyAlgorithm::EdDSA),
        key_id: Some(kid.to_owned()),
        ..CommonParameters::default()
    };
    let checking = DecodingKey::from_jwk(&public).ok()?;
    Some(Key { kid: kid.to_owned(), signing, checking, public })
}

/// A new Ed25519 private key as PKCS#8 PEM (RFC 8410 section 7) from 32 secret random bytes, for a
/// fresh installation.
pub fn signing_key_pem(seed: &[u8; 32]) -> String {
    const PREFIX: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let der = [PREFIX.as_slice(), seed.as_slice()].concat();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
