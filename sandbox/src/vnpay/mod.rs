//! VNPAY 2.1.0, the gateway's side: pay page, return, IPN, `querydr`, `refund`.
//!
//! Written from VNPAY's public documentation, apart from the server's client on purpose: if both
//! sides shared the signing code, both could be wrong together and every test would still pass.

pub mod order;
pub mod page;
pub mod result;
pub mod signature;
pub mod transaction;

use actix_web::web;

/// VNPAY's own paths.
pub fn configure(config: &mut web::ServiceConfig) {
    let chosen = web::resource("/paymentv2/pay/{order_id}");
    config
        .service(web::resource("/paymentv2/vpcpay.html").get(page::open))
        .service(chosen.get(page::show).post(page::choose))
        .service(web::resource("/merchant_webapi/api/transaction").post(transaction::handle));
}
