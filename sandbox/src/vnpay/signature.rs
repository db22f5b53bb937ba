//! Signing as VNPAY 2.1.0 describes it: form-encoded sorted fields for links and IPNs, values
//! joined by `|` for the transaction interface; HMAC-SHA512, hex.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;

/// Fields by name. Rust compares text by bytes, which is the order that the hash wants.
pub type Fields = BTreeMap<String, String>;

/// The field that carries the signature.
pub const HASH_FIELD: &str = "vnp_SecureHash";

/// Signed members of a `querydr` request, in order.
pub const QUERY_REQUEST: &[&str] = &[
    "vnp_RequestId",
    "vnp_Version",
    "vnp_Command",
    "vnp_TmnCode",
    "vnp_TxnRef",
    "vnp_TransactionDate",
    "vnp_CreateDate",
    "vnp_IpAddr",
    "vnp_OrderInfo",
];

/// Signed members of a `querydr` answer, in order.
pub const QUERY_ANSWER: &[&str] = &[
    "vnp_ResponseId",
    "vnp_Command",
    "vnp_ResponseCode",
    "vnp_Message",
    "vnp_TmnCode",
    "vnp_TxnRef",
    "vnp_Amount",
    "vnp_BankCode",
    "vnp_PayDate",
    "vnp_TransactionNo",
    "vnp_TransactionType",
    "vnp_TransactionStatus",
    "vnp_OrderInfo",
    "vnp_PromotionCode",
    "vnp_PromotionAmount",
];

/// Signed members of a `refund` request, in order.
pub const REFUND_REQUEST: &[&str] = &[
    "vnp_RequestId",
    "vnp_Version",
    "vnp_Command",
    "vnp_TmnCode",
    "vnp_TransactionType",
    "vnp_TxnRef",
    "vnp_Amount",
    "vnp_TransactionNo",
    "vnp_TransactionDate",
    "vnp_CreateBy",
    "vnp_CreateDate",
    "vnp_IpAddr",
    "vnp_OrderInfo",
];

/// Signed members of a `refund` answer, in order.
pub const REFUND_ANSWER: &[&str] = &[
    "vnp_ResponseId",
    "vnp_Command",
    "vnp_ResponseCode",
    "vnp_Message",
    "vnp_TmnCode",
    "vnp_TxnRef",
    "vnp_Amount",
    "vnp_BankCode",
    "vnp_PayDate",
    "vnp_TransactionNo",
    "vnp_TransactionType",
    "vnp_TransactionStatus",
    "vnp_OrderInfo",
];

/// The text that is signed in links and IPNs: every non-empty `vnp_` field but the signature,
/// sorted, form-encoded. Foreign fields (proxies add some) are left out.
pub fn encode(fields: &Fields) -> String {
    let signed = fields.iter().filter(|(name, value)| {
        name.starts_with("vnp_")
            && !value.is_empty()
            && !matches!(name.as_str(), HASH_FIELD | "vnp_SecureHashType")
    });
    form_urlencoded::Serializer::new(String::new()).extend_pairs(signed).finish()
}

/// The text that is signed in requests and answers of the transaction interface; a missing
/// member keeps its place.
pub fn join(fields: &Fields, order: &[&str]) -> String {
    let value = |name: &&str| fields.get(*name).map_or("", String::as_str);
    order.iter().map(value).collect::<Vec<_>>().join("|")
}

/// The signature of a text: lower-case hex.
pub fn sign(secret: &str, text: &str) -> String {
    hex::encode(mac(secret, text).finalize().into_bytes())
}

/// Compares bytes, so that either case of hex is accepted, and in constant time.
pub fn verify(secret: &str, text: &str, signature: &str) -> bool {
    hex::decode(signature).is_ok_and(|bytes| mac(secret, text).verify_slice(&bytes).is_ok())
}

/// The query of a link or IPN: exactly the signed text, then the signature.
pub fn signed_query(fields: &Fields, secret: &str) -> String {
    let text = encode(fields);
    let signature = sign(secret, &text);
    format!("{text}&{HASH_FIELD}={signature}")
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length, even none")]
fn mac(secret: &str, text: &str) -> Hmac<Sha512> {
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/vnpay/vectors.json");

    fn vectors(op: &str) -> Vec<Value> {
        let file: Value = serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap();
        let all = file["vectors"].as_array().unwrap();
        let found: Vec<_> = all.iter().filter(|v| v["op"] == op).cloned().collect();
        assert!(!found.is_empty(), "no vectors for {op}");
        found
    }

    fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
        vector[member].as_str().unwrap()
    }

    fn fields(object: &Value) -> Fields {
        let value = |v: &Value| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned);
        object.as_object().unwrap().iter().map(|(k, v)| (k.clone(), value(v))).collect()
    }

    fn query_fields(query: &str) -> Fields {
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    #[test]
    fn pay_links_of_the_vectors_are_verified() {
        for v in vectors("pay_url") {
            let (id, key) = (text(&v, "id"), text(&v, "key"));
            let query = text(&v, "url").split_once('?').unwrap().1;
            let received = query_fields(query);
            assert_eq!(encode(&received), text(&v, "raw"), "{id}");
            assert!(verify(key, &encode(&received), &received[HASH_FIELD]), "{id}");
            assert_eq!(signed_query(&fields(&v["input"]), key), query, "{id}");
            assert!(!verify("another", &encode(&received), &received[HASH_FIELD]), "{id}");
        }
    }

    #[test]
    fn ipns_are_signed_as_in_the_vectors() {
        for v in vectors("ipn_verify") {
            let (id, key) = (text(&v, "id"), text(&v, "key"));
            let received = query_fields(text(&v, "query"));
            let rebuilt = encode(&received);
            assert_eq!(rebuilt, text(&v, "raw_rebuilt_by_receiver"), "{id}");
            assert_eq!(sign(key, &rebuilt), text(&v, "signature_of_rebuilt"), "{id}");
            let signature = received.get(HASH_FIELD).map_or("", String::as_str);
            let valid = v["expect_valid"].as_bool().unwrap();
            assert_eq!(verify(key, &rebuilt, signature), valid, "{id}");
        }
    }

    #[test]
    fn requests_of_the_vectors_are_verified() {
        for (op, order) in [("querydr_request", QUERY_REQUEST), ("refund_request", REFUND_REQUEST)]
        {
            for v in vectors(op) {
                let (id, key) = (text(&v, "id"), text(&v, "key"));
                assert_eq!(fields_order(&v), order, "{id}");
                let received = fields(&v["json"]);
                assert_eq!(join(&received, order), text(&v, "raw"), "{id}");
                assert!(verify(key, &join(&received, order), &received[HASH_FIELD]), "{id}");
            }
        }
    }

    #[test]
    fn answers_are_signed_as_in_the_vectors() {
        let ops =
            [("querydr_response_verify", QUERY_ANSWER), ("refund_response_verify", REFUND_ANSWER)];
        for (op, order) in ops {
            for v in vectors(op) {
                let (id, key) = (text(&v, "id"), text(&v, "key"));
                assert_eq!(fields_order(&v), order, "{id}");
                let answer = fields(&v["json"]);
                let rebuilt = join(&answer, order);
                assert_eq!(rebuilt, text(&v, "raw_rebuilt_by_receiver"), "{id}");
                let valid = v["expect_valid"].as_bool().unwrap();
                assert_eq!(sign(key, &rebuilt) == answer[HASH_FIELD], valid, "{id}");
                let signed = text(&v, "raw_signed_by_gateway");
                assert_eq!(sign(key, signed), answer[HASH_FIELD], "{id}");
            }
        }
    }

    fn fields_order(vector: &Value) -> Vec<&str> {
        vector["field_order"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
    }
}
