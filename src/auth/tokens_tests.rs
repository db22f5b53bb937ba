//! The attacks of RFC 8725 on our tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::auth::Role;

const NOW_S: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW_S + second).unwrap()
}

fn access() -> AccessTokens {
    let (old, new) = (signing_key_pem(&[1; 32]), signing_key_pem(&[2; 32]));
    AccessTokens::new([("2026-10", old.as_str()), ("2026-11", new.as_str())], "https://us", 600)
        .unwrap()
}

fn driver() -> Principal {
    Principal::Driver(Driver {
        id: DriverId::from_uuid(Uuid::from_u128(1)),
        login: LoginId::from_uuid(Uuid::from_u128(2)),
    })
}

fn good_header() -> Value {
    json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "2026-11"})
}

fn good_claims() -> Value {
    json!({
        "iss": "https://us", "aud": "iparking:driver", "sub": Uuid::from_u128(1),
        "sid": Uuid::from_u128(2), "jti": Uuid::from_u128(3),
        "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600,
    })
}

/// Signs anything at all with a real key, as a thief of the library would.
fn forge(header: &str, claims: &str, seed: u8) -> String {
    let key = EncodingKey::from_ed_pem(signing_key_pem(&[seed; 32]).as_bytes()).unwrap();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

fn changed(mut value: Value, field: &str, to: Value) -> String {
    if to.is_null() {
        value.as_object_mut().unwrap().remove(field);
    } else {
        value[field] = to;
    }
    value.to_string()
}

#[test]
fn the_forge_makes_good_tokens_of_good_parts() {
    let token = forge(&good_header().to_string(), &good_claims().to_string(), 2);
    assert_eq!(access().verify(&token, at(1)).unwrap().caller, driver());
}

#[rstest]
#[case("iss", json!("https://evil"))]
#[case("iss", json!(["https://us", "https://evil"]))]
#[case("iss", Value::Null)]
#[case("aud", json!("iparking:other"))]
#[case("aud", json!(["iparking:driver", "iparking:staff"]))]
#[case("aud", json!("iparking:staff"))]
#[case("aud", Value::Null)]
#[case("sub", json!("../../etc/passwd"))]
#[case("sub", Value::Null)]
#[case("sid", Value::Null)]
#[case("jti", Value::Null)]
#[case("exp", Value::Null)]
#[case("exp", json!(1e300))]
#[case("exp", json!("1800000600"))]
#[case("exp", json!(NOW_S + 601))]
#[case("exp", json!(i64::MAX))]
#[case("nbf", Value::Null)]
#[case("nbf", json!("soon"))]
#[case("nbf", json!(NOW_S + 30))]
#[case("nbf", json!(i64::MIN))]
#[case("role", json!("finance"))]
#[case("operator_id", json!(Uuid::from_u128(9)))]
#[case("admin", json!(true))]
fn claims_we_would_not_make_are_refused(#[case] claim: &str, #[case] value: Value) {
    let token = forge(&good_header().to_string(), &changed(good_claims(), claim, value), 2);
    assert_eq!(access().verify(&token, at(0)), Err(Rejected::Invalid));
}

#[rstest]
#[case("alg", json!("none"))]
#[case("alg", json!("HS256"))]
#[case("alg", json!("ES256"))]
#[case("alg", Value::Null)]
#[case("typ", json!("JWT"))]
#[case("typ", Value::Null)]
#[case("kid", json!("2026-12"))]
#[case("kid", json!("../../dev/null"))]
#[case("kid", json!("' or 1=1 --"))]
#[case("kid", Value::Null)]
#[case("crit", json!(["exp"]))]
fn headers_we_would_not_make_are_refused(#[case] field: &str, #[case] value: Value) {
    let token = forge(&changed(good_header(), field, value), &good_claims().to_string(), 2);
    assert_eq!(access().verify(&token, at(0)), Err(Rejected::Invalid));
}

#[test]
fn a_key_brought_along_is_not_used() {
    let evil =
        AccessTokens::new([("2026-11", signing_key_pem(&[6; 32]).as_str())], "https://us", 600)
            .unwrap();
    let jwk = serde_json::to_value(&evil.jwks().keys[0]).unwrap();
    for (field, value) in
        [("jwk", jwk), ("jku", json!("https://evil/keys")), ("x5u", json!("https://evil/cert"))]
    {
        let header = changed(good_header(), field, value);
        let token = forge(&header, &good_claims().to_string(), 6);
        assert_eq!(access().verify(&token, at(0)), Err(Rejected::Invalid), "{field}");
    }
}

#[test]
fn the_public_key_is_no_shared_secret() {
    let access = access();
    let jwks = serde_json::to_value(access.jwks()).unwrap();
    let x = jwks["keys"][0]["x"].as_str().unwrap();
    for secret in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap()] {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYP.to_owned());
        header.kid = Some("2026-11".to_owned());
        let token =
            jsonwebtoken::encode(&header, &good_claims(), &EncodingKey::from_secret(&secret))
                .unwrap();
        assert_eq!(access.verify(&token, at(0)), Err(Rejected::Invalid));
    }
}

#[test]
fn a_token_must_be_whole_and_alone() {
    let access = access();
    let token = access.sign(&driver(), at(0), Uuid::from_u128(3)).unwrap();
    assert!(token.len() < TOKEN_BYTES_MAX / 2);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let other = forge(&good_header().to_string(), &good_claims().to_string(), 1);
    for broken in [
        String::new(),
        "...".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{token}.a.b"),
        format!(" {token}"),
        format!("{header}.{header}.{signature}"),
        format!("{claims}.{header}.{signature}"),
        format!("{header}.{claims}.{}", "A".repeat(86)),
        format!("{header}.{claims}.{}", "A".repeat(1_000_000)),
        format!("{message}.{}", other.rsplit_once('.').unwrap().1),
        token.replace(
            claims,
            &URL_SAFE_NO_PAD.encode(good_claims().to_string().replace("driver", "staff")),
        ),
        "ố.ố.ố".to_owned(),
    ] {
        assert_eq!(access.verify(&broken, at(0)), Err(Rejected::Invalid), "{}", &broken.len());
    }
    // Once believed, still no other token is.
    access.verify(&token, at(0)).unwrap();
    assert_eq!(access.verify(&format!("{token}A"), at(0)), Err(Rejected::Invalid));
}

#[test]
fn doubled_claims_are_refused() {
    let doubled = good_claims().to_string().replacen('{', r#"{"exp":9999999999,"#, 1);
    let token = forge(&good_header().to_string(), &doubled, 2);
    assert_eq!(access().verify(&token, at(0)), Err(Rejected::Invalid));
}

#[test]
fn a_remembered_token_still_expires() {
    let access = access();
    let token = access.sign(&driver(), at(0), Uuid::from_u128(3)).unwrap();
    access.verify(&token, at(0)).unwrap();
    access.verify(&token, at(604)).unwrap();
    assert_eq!(access.verify(&token, at(605)), Err(Rejected::Expired));
    assert_eq!(access.verify(&token, at(-6)), Err(Rejected::Invalid));
    access.verify(&token, at(-5)).unwrap();
}

#[test]
fn staff_tokens_carry_role_and_employer() {
    let access = access();
    let operator = OperatorId::from_uuid(Uuid::from_u128(7));
    for role in [Role::Manager(operator), Role::Attendant(operator), Role::Finance] {
        let staff = Principal::Staff(Staff {
            id: StaffId::from_uuid(Uuid::from_u128(4)),
            login: LoginId::from_uuid(Uuid::from_u128(5)),
            role,
        });
        let token = access.sign(&staff, at(0), Uuid::from_u128(3)).unwrap();
        assert_eq!(access.verify(&token, at(0)).unwrap().caller, staff);
    }
}

#[test]
fn keys_rotate_without_ending_logins() {
    let (old, new) = (signing_key_pem(&[1; 32]), signing_key_pem(&[2; 32]));
    let before = AccessTokens::new([("2026-10", old.as_str())], "https://us", 600).unwrap();
    let token = before.sign(&driver(), at(0), Uuid::from_u128(3)).unwrap();
    access().verify(&token, at(1)).unwrap();
    let after = AccessTokens::new([("2026-11", new.as_str())], "https://us", 600).unwrap();
    assert_eq!(after.verify(&token, at(1)), Err(Rejected::Invalid), "a retired key");
    let ids: Vec<_> =
        access().jwks().keys.into_iter().map(|key| key.common.key_id.unwrap()).collect();
    assert_eq!(ids, ["2026-11", "2026-10"]);
}

#[test]
fn unusable_keys_stop_the_start() {
    for pem in ["", "not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
        assert!(AccessTokens::new([("k", pem)], "https://us", 600).is_err());
    }
    assert!(AccessTokens::new([], "https://us", 600).is_err());
}
