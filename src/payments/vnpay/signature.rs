//! How VNPAY 2.1.0 signs: HMAC-SHA512 over sorted form text (pages) or piped text (questions).
//!
//! The text is always rebuilt from decoded values, never taken from the wire: VNPAY's own test
//! caller sends `%20` and a bare `:` for what it signed as `+` and `%3A`.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha512;

/// The member that carries the signature.
pub const SECURE_HASH: &str = "vnp_SecureHash";
/// A relic of version 2.0 that is never signed and not sent any more.
const SECURE_HASH_TYPE: &str = "vnp_SecureHashType";
/// Every parameter of the interface starts so; others were added by proxies and are ignored.
const PREFIX: &str = "vnp_";

/// The terminal's hash secret: ASCII text used as bytes, not hex to be decoded.
#[derive(Clone)]
pub struct HashSecret {
    mac: Hmac<Sha512>,
}

/// The secret cannot be used as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the VNPAY hash secret is empty")]
pub struct EmptySecret;

impl HashSecret {
    /// Prepares a key; refuses an empty one, with which anybody could sign.
    pub fn new(secret: &SecretString) -> Result<HashSecret, EmptySecret> {
        let key = secret.expose_secret().as_bytes();
        if key.is_empty() {
            return Err(EmptySecret);
        }
        // Cannot fail: HMAC takes keys of any length. The error type is still asked for.
        let mac = Hmac::new_from_slice(key).map_err(|_invalid_length| EmptySecret)?;
        Ok(HashSecret { mac })
    }

    /// The signature of a text in lower-case hex.
    pub fn sign(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// Whether `signature` (hex, either case) is that of `text`; in constant time.
    pub fn verify(&self, text: &str, signature: &str) -> bool {
        let Ok(bytes) = hex::decode(signature) else { return false };
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        mac.verify_slice(&bytes).is_ok()
    }
}

/// The text that is signed on a page address: `vnp_` parameters without the signature and
/// without empty values, sorted by name in byte order, form-encoded.
///
/// Empty values are dropped because the official Java and C# samples do so (PHP does not); our
/// own requests never contain one, so the difference cannot show.
pub fn page_text<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let sorted: BTreeMap<&str, &str> =
        parameters.into_iter().filter(|(name, value)| is_signed(name, value)).collect();
    form_urlencoded::Serializer::new(String::new()).extend_pairs(sorted).finish()
}

fn is_signed(name: &str, value: &str) -> bool {
    name.starts_with(PREFIX) && name != SECURE_HASH && name != SECURE_HASH_TYPE && !value.is_empty()
}

/// The full address of a page: base, signed text, signature.
pub fn page_url<'a>(
    base: &str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    secret: &HashSecret,
) -> String {
    let text = page_text(parameters);
    let signature = secret.sign(&text);
    format!("{base}?{text}&{SECURE_HASH}={signature}")
}

/// The text that is signed in a question or its answer: raw values joined with `|`, an absent
/// one as nothing.
pub fn piped_text<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    values.into_iter().collect::<Vec<_>>().join("|")
}

/// The `vnp_` parameters of a callback whose signature was right.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPage(BTreeMap<String, String>);

/// Why the parameters of a callback are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPage {
    /// The same parameter stands twice: readers disagree on which one counts, so none does.
    #[error("a parameter is repeated")]
    RepeatedParameter,
    /// There is no signature.
    #[error("the signature is missing")]
    Unsigned,
    /// The signature is another's or of another text.
    #[error("the signature is wrong")]
    BadSignature,
}

impl VerifiedPage {
    /// Decodes the query of a callback (IPN or return page) and checks its signature.
    pub fn verify(query: &str, secret: &HashSecret) -> Result<VerifiedPage, BadPage> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !name.starts_with(PREFIX) {
                continue;
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(BadPage::RepeatedParameter);
            }
        }
        let signature = parameters.remove(SECURE_HASH).ok_or(BadPage::Unsigned)?;
        let text = page_text(parameters.iter().map(|(name, value)| (&**name, &**value)));
        if secret.verify(&text, &signature) {
            Ok(VerifiedPage(parameters))
        } else {
            Err(BadPage::BadSignature)
        }
    }

    /// A parameter's value; an absent one is empty, as for the signature.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> HashSecret {
        HashSecret::new(&"a secret of the tests".into()).unwrap()
    }

    fn signed(query: &str) -> String {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let text = page_text(parameters.iter().map(|(name, value)| (&**name, &**value)));
        format!("{query}&vnp_SecureHash={}", secret().sign(&text))
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_with_a_right_signature() {
        let query = signed("vnp_Amount=100&vnp_TxnRef=A");
        assert!(VerifiedPage::verify(&query, &secret()).is_ok());
        for extra in ["vnp_Amount=100", "vnp_Amount=1", "vnp_SecureHash=00"] {
            let repeated = format!("{query}&{extra}");
            let refused = VerifiedPage::verify(&repeated, &secret()).err();
            assert_eq!(refused, Some(BadPage::RepeatedParameter), "{extra}");
        }
    }

    #[test]
    fn foreign_parameters_and_the_old_hash_type_are_not_signed() {
        let query = signed("vnp_Amount=100&vnp_TxnRef=A");
        let noisy = format!("utm=x&{query}&vnp_SecureHashType=SHA512&utm=y");
        assert!(VerifiedPage::verify(&noisy, &secret()).is_ok());
    }

    #[test]
    fn a_signature_that_is_cut_or_not_hex_is_refused() {
        let query = signed("vnp_Amount=100");
        let cut: String = query.chars().take(query.len() - 2).collect();
        for bad in [&*cut, "vnp_Amount=100&vnp_SecureHash=zz", "", "&&&=%"] {
            assert!(VerifiedPage::verify(bad, &secret()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_secret_is_no_key() {
        assert_eq!(HashSecret::new(&"".into()).err(), Some(EmptySecret));
    }

    proptest::proptest! {
        #[test]
        fn any_change_of_one_byte_of_a_value_breaks_the_signature(
            value in "[ -~àâđ]{1,30}", at in 0_usize..30, byte in 0_u8..=255,
        ) {
            let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let query = signed(&format!("vnp_OrderInfo={encoded}"));
            proptest::prop_assert!(VerifiedPage::verify(&query, &secret()).is_ok());
            let mut bytes = value.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if bytes != value.as_bytes() {
                let other: String = form_urlencoded::byte_serialize(&bytes).collect();
                let forged = query.replacen(&encoded, &other, 1);
                proptest::prop_assert!(VerifiedPage::verify(&forged, &secret()).is_err());
            }
        }

        #[test]
        fn no_text_makes_verification_panic(query in "\\PC{0,200}") {
            let verified = VerifiedPage::verify(&query, &secret());
            proptest::prop_assert!(verified.is_err());
        }
    }
}
