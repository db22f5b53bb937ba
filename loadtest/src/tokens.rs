//! Access tokens of the drivers, signed with the run's own key: thousands of logins by text
//! message would take longer than the benchmark.

use anyhow::Context as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use crate::bed::Bed;

#[derive(Serialize)]
struct Claims {
    iss: &'static str,
    aud: &'static str,
    sub: Uuid,
    sid: Uuid,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Signs a token for each driver, good for some hours from `now_s`.
///
/// # Errors
/// When the key cannot be used.
pub fn sign(bed: &Bed, drivers: &[Uuid], now_s: i64) -> anyhow::Result<Vec<String>> {
    let (id, pem) = bed.signing_key()?;
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).context("the signing key is damaged")?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(id);
    drivers
        .iter()
        .map(|driver| {
            let claims = Claims {
                iss: "https://iparking.vn",
                aud: "iparking:driver",
                sub: *driver,
                sid: *driver,
                jti: *driver,
                iat: now_s,
                nbf: now_s,
                exp: now_s + 43_200,
            };
            jsonwebtoken::encode(&header, &claims, &key).context("cannot sign a token")
        })
        .collect()
}
