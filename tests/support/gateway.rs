//! A small VNPAY for tests: answers questions and refunds, signs IPNs, and misbehaves on demand.
//! Its signing is written apart from the product's, so that both cannot be wrong together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha512;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

pub const TMN_CODE: &str = "IPARKTST";
pub const SECRET: &str = "VNPAYTESTSECRETKEY0123456789";

/// What the gateway knows of an order.
#[derive(Clone)]
pub struct Order {
    pub amount: i64,
    /// `vnp_TransactionStatus` of the payment.
    pub status: &'static str,
    pub refunds: Vec<Refund>,
}

#[derive(Clone, Debug)]
pub struct Refund {
    pub number: u64,
    pub amount: i64,
    pub kind: String,
    pub status: &'static str,
}

#[derive(Default)]
pub struct Books {
    pub orders: HashMap<String, Order>,
    /// Requests of either command.
    pub requests: Vec<Map<String, Value>>,
    request_ids: HashSet<String>,
    last_number: u64,
    /// So many answers are lost after their effect.
    pub lose_answers: usize,
    /// So many refund requests get this response code instead of an effect.
    pub refuse_refunds: Option<&'static str>,
    /// The status of refunds when asked: 06 done, 05 in process, 09 refused.
    pub refund_status: Option<&'static str>,
}

/// The running gateway.
#[derive(Clone)]
pub struct Gateway {
    server: Arc<MockServer>,
    pub books: Arc<Mutex<Books>>,
}

struct Responder(Arc<Mutex<Books>>);

impl Gateway {
    pub async fn start() -> Gateway {
        let server = MockServer::start().await;
        let books = Arc::new(Mutex::new(Books::default()));
        Mock::given(method("POST"))
            .and(path("/api/transaction"))
            .respond_with(Responder(Arc::clone(&books)))
            .mount(&server)
            .await;
        Gateway { server: Arc::new(server), books }
    }

    pub fn api_url(&self) -> String {
        format!("{}/api/transaction", self.server.uri())
    }

    pub fn edit<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        change(&mut self.books.lock().unwrap())
    }

    /// The customer opened the pay page, and this became of it.
    pub fn order(&self, merchant_ref: &str, amount: i64, status: &'static str) {
        let order = Order { amount, status, refunds: Vec::new() };
        self.edit(|books| books.orders.insert(merchant_ref.to_owned(), order));
    }

    pub fn refunds(&self, merchant_ref: &str) -> Vec<Refund> {
        self.edit(|books| books.orders[merchant_ref].refunds.clone())
    }

    /// How many requests of this command came.
    pub fn count(&self, command: &str) -> usize {
        self.edit(|books| {
            books.requests.iter().filter(|request| request["vnp_Command"] == command).count()
        })
    }
}

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut books = self.0.lock().unwrap();
        let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
            return ResponseTemplate::new(400);
        };
        books.requests.push(body.clone());
        let answer = answer(&mut books, &body);
        if books.lose_answers > 0 {
            books.lose_answers -= 1;
            // Longer than the tests' outbound time-out.
            return ResponseTemplate::new(200).set_delay(Duration::from_secs(5));
        }
        ResponseTemplate::new(200).set_body_json(Value::Object(answer))
    }
}

const QUERY: &[&str] = &[
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
const REFUND: &[&str] = &[
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
const ANSWER: &[&str] = &[
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

fn answer(books: &mut Books, request: &Map<String, Value>) -> Map<String, Value> {
    let is_refund = request["vnp_Command"] == "refund";
    let order: &[&str] = if is_refund { REFUND } else { QUERY };
    let signature = sign(&piped(request, order));
    let effect = if request["vnp_SecureHash"] != signature {
        Err("97")
    } else if !books.request_ids.insert(text(request, "vnp_RequestId")) {
        Err("94")
    } else if is_refund {
        refund(books, request)
    } else {
        query(books, request)
    };
    let mut answer = match effect {
        Ok(Value::Object(mut answer)) => {
            answer.insert("vnp_ResponseCode".into(), "00".into());
            answer
        }
        Ok(_) => unreachable!(),
        Err(code) => Map::from_iter([("vnp_ResponseCode".to_owned(), json!(code))]),
    };
    for name in ["vnp_Command", "vnp_TmnCode", "vnp_TxnRef"] {
        answer.insert(name.into(), request[name].clone());
    }
    answer.insert("vnp_ResponseId".into(), "0123456789".into());
    let mut signed = piped(&answer, ANSWER);
    if !is_refund {
        signed.push_str("||");
    }
    answer.insert("vnp_SecureHash".into(), sign(&signed).into());
    answer
}

fn refund(books: &mut Books, request: &Map<String, Value>) -> Result<Value, &'static str> {
    if let Some(code) = books.refuse_refunds {
        return Err(code);
    }
    books.last_number += 1;
    let number = 90_000 + books.last_number;
    let order = books.orders.get_mut(&text(request, "vnp_TxnRef")).ok_or("91")?;
    let amount = text(request, "vnp_Amount").parse::<i64>().unwrap() / 100;
    let returned: i64 = order.refunds.iter().map(|refund| refund.amount).sum();
    if order.status != "00" {
        return Err("95");
    }
    if returned + amount > order.amount {
        return Err("99");
    }
    let kind = text(request, "vnp_TransactionType");
    order.refunds.push(Refund { number, amount, kind: kind.clone(), status: "05" });
    Ok(json!({
        "vnp_Amount": text(request, "vnp_Amount"),
        "vnp_TransactionNo": number.to_string(),
        "vnp_TransactionType": kind,
        "vnp_TransactionStatus": "05",
    }))
}

fn query(books: &mut Books, request: &Map<String, Value>) -> Result<Value, &'static str> {
    let shown = books.refund_status.unwrap_or("06");
    let order = books.orders.get_mut(&text(request, "vnp_TxnRef")).ok_or("91")?;
    if let Some(refund) = order.refunds.last_mut() {
        refund.status = shown;
        return Ok(json!({
            "vnp_Amount": (refund.amount * 100).to_string(),
            "vnp_TransactionNo": refund.number.to_string(),
            "vnp_TransactionType": refund.kind,
            "vnp_TransactionStatus": refund.status,
        }));
    }
    Ok(json!({
        "vnp_Amount": (order.amount * 100).to_string(),
        "vnp_TransactionNo": if order.status == "01" { "0" } else { "14226112" },
        "vnp_TransactionType": "01",
        "vnp_TransactionStatus": order.status,
    }))
}

fn text(members: &Map<String, Value>, name: &str) -> String {
    members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn piped(members: &Map<String, Value>, order: &[&str]) -> String {
    order.iter().map(|name| text(members, name)).collect::<Vec<_>>().join("|")
}

pub fn sign(signed: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// The query of a signed IPN.
pub fn ipn_query(merchant_ref: &str, amount: i64, response: &str, status: &str) -> String {
    let number = if status == "02" { "0" } else { "14226112" };
    signed_query(&[
        ("vnp_Amount", &(amount * 100).to_string()),
        ("vnp_BankCode", "NCB"),
        ("vnp_CardType", "ATM"),
        ("vnp_OrderInfo", &format!("Thanh toan phi do xe {merchant_ref}")),
        ("vnp_PayDate", "20261127101500"),
        ("vnp_ResponseCode", response),
        ("vnp_TmnCode", TMN_CODE),
        ("vnp_TransactionNo", number),
        ("vnp_TransactionStatus", status),
        ("vnp_TxnRef", merchant_ref),
    ])
}

/// Signs parameters that are sorted already.
pub fn signed_query(sorted: &[(&str, &str)]) -> String {
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    let pairs: Vec<String> = sorted.iter().map(|(n, v)| format!("{n}={}", encode(v))).collect();
    let joined = pairs.join("&");
    let signature = sign(&joined);
    format!("{joined}&vnp_SecureHash={signature}")
}
