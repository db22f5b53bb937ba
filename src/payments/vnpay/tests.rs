//! Every published vector, counted so that none is skipped, and the wire's edges.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{Answer, BadAnswer};
use super::signature::{page_text, page_url};
use super::transaction::{Command, QuestionBody, RefundBody};
use super::*;
use crate::payments::{FailureReason, Outcome, QueryAnswer, RefundOutcome};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vnpay/vectors.json"));
/// How many vectors the file holds; a test that reads fewer has skipped some.
const VECTOR_COUNT: usize = 31;

fn terminal(secret: &str) -> Terminal {
    Terminal::new(&TerminalSettings {
        tmn_code: "HNPARK01".to_owned(),
        hash_secret: secret.into(),
        pay_url: "https://sandbox.vnpayment.vn/paymentv2/vpcpay.html".to_owned(),
        api_url: "https://sandbox.vnpayment.vn/merchant_webapi/api/transaction".to_owned(),
        return_url: "https://pay.example.vn/vnpay/return".to_owned(),
        server_ip: "103.9.77.10".parse().unwrap(),
    })
    .unwrap()
}

fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
    vector[member].as_str().unwrap_or_else(|| panic!("{} has no {member}", vector["id"]))
}

fn members(object: &Value) -> BTreeMap<String, String> {
    let members = object.as_object().unwrap().iter();
    members
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

fn pay_url_agrees(vector: &Value) {
    let input = members(&vector["input"]);
    let pairs = || input.iter().map(|(name, value)| (&**name, &**value));
    let secret = HashSecret::new(&text(vector, "key").into()).unwrap();
    assert_eq!(page_text(pairs()), text(vector, "raw"));
    assert_eq!(secret.sign(text(vector, "raw")), text(vector, "signature"));
    let (base, _) = text(vector, "url").split_once('?').unwrap();
    assert_eq!(page_url(base, pairs(), &secret), text(vector, "url"));
}

fn ipn_agrees(vector: &Value) {
    let terminal = terminal(text(vector, "key"));
    let read = terminal.read_callback(text(vector, "query"));
    let valid = vector["expect_valid"].as_bool().unwrap();
    assert_eq!(read.is_ok(), valid);
    assert_eq!(valid, text(vector, "expect_rsp") != IpnAnswer::InvalidSignature.code());
    let params = members(&vector["params"]);
    let rebuilt = page_text(params.iter().map(|(name, value)| (&**name, &**value)));
    assert_eq!(rebuilt, text(vector, "raw_rebuilt_by_receiver"));
    assert_eq!(terminal.secret.sign(&rebuilt), text(vector, "signature_of_rebuilt"));
    if let Ok(notification) = read {
        assert_eq!(notification.merchant_ref.as_str(), params["vnp_TxnRef"]);
        assert_eq!(notification.amount, Some(Vnd::new(25_000)));
        let cancelled = Outcome::Failed(FailureReason::CustomerCancelled);
        let paid = params["vnp_ResponseCode"] == "00";
        assert_eq!(notification.outcome, if paid { Outcome::Paid } else { cancelled });
    }
}

fn question_agrees(vector: &Value) {
    let mut input = members(&vector["input"]);
    let mut take = |name: &str| input.remove(name).unwrap_or_default();
    let mut body = QuestionBody {
        request_id: take("vnp_RequestId"),
        version: take("vnp_Version"),
        command: take("vnp_Command"),
        tmn_code: take("vnp_TmnCode"),
        txn_ref: take("vnp_TxnRef"),
        transaction_date: take("vnp_TransactionDate"),
        create_date: take("vnp_CreateDate"),
        ip_addr: take("vnp_IpAddr"),
        order_info: take("vnp_OrderInfo"),
        secure_hash: String::new(),
    };
    let signed_text = body.signed_text();
    body.secure_hash = terminal(text(vector, "key")).secret.sign(&signed_text);
    request_agrees(vector, &signed_text, &body.secure_hash, &body);
}

fn refund_agrees(vector: &Value) {
    let mut input = members(&vector["input"]);
    let mut take = |name: &str| input.remove(name).unwrap_or_default();
    let mut body = RefundBody {
        request_id: take("vnp_RequestId"),
        version: take("vnp_Version"),
        command: take("vnp_Command"),
        tmn_code: take("vnp_TmnCode"),
        transaction_type: take("vnp_TransactionType"),
        txn_ref: take("vnp_TxnRef"),
        amount: take("vnp_Amount"),
        transaction_no: take("vnp_TransactionNo"),
        transaction_date: take("vnp_TransactionDate"),
        create_by: take("vnp_CreateBy"),
        create_date: take("vnp_CreateDate"),
        ip_addr: take("vnp_IpAddr"),
        order_info: take("vnp_OrderInfo"),
        secure_hash: String::new(),
    };
    let signed_text = body.signed_text();
    body.secure_hash = terminal(text(vector, "key")).secret.sign(&signed_text);
    request_agrees(vector, &signed_text, &body.secure_hash, &body);
}

fn request_agrees(vector: &Value, signed: &str, signature: &str, body: &impl serde::Serialize) {
    assert_eq!(signed, text(vector, "raw"));
    assert_eq!(signature, text(vector, "signature"));
    assert_eq!(serde_json::to_value(body).unwrap(), vector["json"]);
}

fn answer_agrees(vector: &Value, command: Command) {
    let json = vector["json"].to_string();
    let answer: Answer = serde_json::from_str(&json).unwrap();
    assert_eq!(answer.signed_text(command), text(vector, "raw_rebuilt_by_receiver"));
    let terminal = terminal(text(vector, "key"));
    let order = MerchantRef::named(text(&vector["json"], "vnp_TxnRef"));
    let valid = match command {
        Command::Querydr => terminal.read_question_answer(&order, json.as_bytes()).is_ok(),
        Command::Refund => terminal.read_refund_answer(&order, json.as_bytes()).is_ok(),
    };
    assert_eq!(Some(valid), vector["expect_valid"].as_bool());
}

#[test]
fn every_vector_passes_and_none_is_skipped() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let mut passed = 0;
    for vector in file["vectors"].as_array().unwrap() {
        println!("{}", vector["id"]);
        match text(vector, "op") {
            "pay_url" => pay_url_agrees(vector),
            "ipn_verify" => ipn_agrees(vector),
            "querydr_request" => question_agrees(vector),
            "refund_request" => refund_agrees(vector),
            "querydr_response_verify" => answer_agrees(vector, Command::Querydr),
            "refund_response_verify" => answer_agrees(vector, Command::Refund),
            other => panic!("no test for {other}"),
        }
        passed += 1;
    }
    assert_eq!(passed, VECTOR_COUNT);
}

fn vector(id: &str) -> Value {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let mut vectors = file["vectors"].as_array().unwrap().iter();
    vectors.find(|vector| vector["id"] == id).unwrap().clone()
}

fn charge(amount: i64) -> Charge {
    Charge {
        merchant_ref: MerchantRef::named("HNP0002"),
        amount: Vnd::new(amount),
        payer_ip: "113.190.1.10".parse().unwrap(),
        created_at: "2026-11-23T03:15:00Z".parse().unwrap(),
        expires_at: "2026-11-23T03:30:00Z".parse().unwrap(),
    }
}

#[test]
fn a_charge_becomes_the_parameters_of_the_sheet() {
    let ChargeInstructions::Redirect { url } = terminal("k").charge(&charge(25_000)).unwrap();
    let (base, query) = url.split_once('?').unwrap();
    assert_eq!(base, "https://sandbox.vnpayment.vn/paymentv2/vpcpay.html");
    let mut ours: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut published = members(&vector("vnpay-pay-02")["input"]);
    published.remove("vnp_BankCode");
    let info = ours.remove("vnp_OrderInfo").unwrap();
    assert!(info.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" .:,_-".contains(&byte)));
    ours.remove("vnp_SecureHash");
    published.remove("vnp_OrderInfo");
    assert_eq!(ours, published);
}

#[test]
fn amounts_above_the_int_of_the_java_sample_are_exact() {
    let ChargeInstructions::Redirect { url } =
        terminal("k").charge(&charge(9_999_999_999)).unwrap();
    assert!(url.contains("vnp_Amount=999999999900&"));
    for amount in [0, -1, 10_000_000_000, i64::MAX] {
        assert_eq!(terminal("k").charge(&charge(amount)), Err(AmountOutOfRange));
    }
}

#[test]
fn only_whole_positive_amounts_are_read() {
    assert_eq!(read_amount("2500000"), Some(Vnd::new(25_000)));
    for bad in ["", "0", "-100", "+100", "150", "1e4", "100.0", " 100", "9999999999999999999"] {
        assert_eq!(read_amount(bad), None, "{bad}");
    }
}

#[test]
fn dates_are_seven_hours_ahead_of_utc_whatever_the_machine() {
    let at: Timestamp = "2026-11-23T18:15:00Z".parse().unwrap();
    assert_eq!(wire_date(at), "20261124011500");
    assert_eq!(read_date("20261124011500"), Some(at));
    for bad in ["", "20261324011500", "2026112401150", "20261124 11500", "20261124016100"] {
        assert_eq!(read_date(bad), None, "{bad}");
    }
}

#[test]
fn an_address_has_at_least_seven_characters() {
    assert_eq!(wire_ip("::1".parse().unwrap()), "0000:0000:0000:0000:0000:0000:0000:0001");
    assert_eq!(wire_ip("::ffff:1.1.1.1".parse().unwrap()), "1.1.1.1");
    assert_eq!(wire_ip("2001:ee0:4a11::1".parse().unwrap()), "2001:ee0:4a11::1");
}

#[test]
fn a_callback_for_another_terminal_is_not_ours() {
    let vector = vector("vnpay-ipn-02");
    let mut other = terminal(text(&vector, "key"));
    other.tmn_code = "OTHER001".to_owned();
    let read = other.read_callback(text(&vector, "query"));
    assert_eq!(read, Err(BadCallback::ForeignTerminal));
}

#[test]
fn an_answer_to_another_order_or_without_signature_says_nothing() {
    let vector = vector("vnpay-queryres-01");
    let terminal = terminal(text(&vector, "key"));
    let (ours, other) = (MerchantRef::named("HNP0001"), MerchantRef::named("HNP0002"));
    let json = vector["json"].to_string();
    let read = |order, json: &str| terminal.read_question_answer(order, json.as_bytes());
    assert!(matches!(read(&ours, &json), Ok(QueryAnswer::Payment(_))));
    assert!(matches!(read(&other, &json), Err(BadAnswer::OtherRequest)));
    let mut unsigned = vector["json"].clone();
    unsigned.as_object_mut().unwrap().remove("vnp_SecureHash");
    assert!(matches!(read(&ours, &unsigned.to_string()), Err(BadAnswer::BadSignature)));
    for garbage in ["", "{}", "[]", "<html>", r#"{"vnp_Amount":1.5}"#, r#"{"vnp_TxnRef":["a"]}"#] {
        assert!(read(&ours, garbage).is_err(), "{garbage}");
    }
    let twice = json.replacen('{', r#"{"vnp_TxnRef":"HNP0001","#, 1);
    assert!(matches!(read(&ours, &twice), Err(BadAnswer::Unreadable(_))));
}

#[test]
fn a_repeated_refund_request_is_not_a_refusal() {
    let vector = vector("vnpay-refundres-04");
    let terminal = terminal(text(&vector, "key"));
    let json = vector["json"].to_string();
    let order = MerchantRef::named("HNP0001");
    let news = terminal.read_refund_answer(&order, json.as_bytes()).unwrap();
    assert_eq!(news.outcome, RefundOutcome::AlreadyRequested);
}

#[test]
fn every_ipn_answer_is_json_with_its_own_code() {
    use strum::IntoEnumIterator;
    for answer in IpnAnswer::iter() {
        let body: Value = serde_json::from_str(answer.body()).unwrap();
        assert_eq!(body["RspCode"], answer.code());
    }
}
