//! Every URL of the public interface.
//!
//! Routes are tried in this order, and each pattern with a parameter costs a search by regular
//! expression, so the busiest come first; the others stand in the order of `openapi.yaml`.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Responder};

use crate::lots::http as lots;
use crate::occupancy::events_http::events as lot_events;
use crate::occupancy::http as occupancy;
use crate::platform::App;
use crate::search::http as search;
use crate::server::ContractJson;
use crate::{auth, drivers};

/// The contract, as served.
pub const OPENAPI_YAML: &str = include_str!("../openapi.yaml");

const DOCS_PAGE: &str = include_str!("web/docs_page.html");

/// Registers every route.
pub fn configure(routes: &mut ServiceConfig) {
    configure_busiest(routes);
    configure_auth(routes);
    configure_drivers(routes);
    configure_lots(routes);
    configure_tariffs(routes);
    configure_reservations(routes);
    configure_parking_sessions(routes);
    configure_payments(routes);
    configure_finance(routes);
    configure_ops(routes);
}

fn configure_busiest(routes: &mut ServiceConfig) {
    use crate::payments::ipn;
    use crate::reservations::http as reservations;
    routes
        .service(web::resource("/v1/lots/search").route(web::get().to(search::search_lots)))
        .service(
            web::resource("/v1/reservations")
                .route(web::post().to(reservations::create))
                .route(web::get().to(reservations::list)),
        )
        .service(web::resource("/v1/payments/ipn/vnpay").route(web::get().to(ipn::vnpay_ipn)));
}

fn configure_tariffs(routes: &mut ServiceConfig) {
    use crate::tariffs::http;
    routes
        .service(web::resource("/v1/quotes").route(web::post().to(http::create_quote)))
        .service(
            web::resource("/v1/operator/lots/{lot_id}/tariffs/{vehicle_class}")
                .route(web::put().to(http::assign)),
        )
        .service(
            web::resource("/v1/operator/tariffs")
                .route(web::get().to(http::list))
                .route(web::post().to(http::create)),
        )
        .service(web::resource("/v1/operator/tariffs/preview").route(web::post().to(http::preview)))
        .service(web::resource("/v1/operator/tariffs/{tariff_id}").route(web::get().to(http::get)))
        .service(
            web::resource("/v1/operator/tariffs/{tariff_id}/versions")
                .route(web::post().to(http::create_version)),
        );
}

fn configure_payments(routes: &mut ServiceConfig) {
    use crate::payments::{http, http_return};
    routes
        .service(
            web::resource("/v1/payments")
                .route(web::post().to(http::create_payment))
                .route(web::get().to(http::list_payments)),
        )
        .service(
            web::resource("/v1/payments/return/vnpay")
                .route(web::get().to(http_return::vnpay_return)),
        )
        .service(web::resource("/v1/payments/{payment_id}").route(web::get().to(http::get_payment)))
        .service(
            web::resource("/v1/payments/{payment_id}/receipt")
                .route(web::get().to(http::get_receipt)),
        )
        .service(
            web::resource("/v1/payments/{payment_id}/refunds")
                .route(web::post().to(http::create_refund)),
        )
        .service(web::resource("/v1/refunds/{refund_id}").route(web::get().to(http::get_refund)))
        .service(
            web::resource("/v1/finance/payments").route(web::get().to(http::list_finance_payments)),
        );
}

fn configure_finance(routes: &mut ServiceConfig) {
    use crate::ledger::http;
    routes
        .service(
            web::resource("/v1/finance/trial-balance").route(web::get().to(http::trial_balance)),
        )
        .service(web::resource("/v1/finance/accounts").route(web::get().to(http::accounts)))
        .service(
            web::resource("/v1/finance/accounts/{code}/entries")
                .route(web::get().to(http::entries)),
        );
}

fn configure_auth(routes: &mut ServiceConfig) {
    routes
        .service(web::resource("/v1/auth/otp").route(web::post().to(auth::http::request_otp)))
        .service(web::resource("/v1/auth/token").route(web::post().to(auth::http::issue_token)))
        .service(web::resource("/v1/auth/logout").route(web::post().to(auth::http::logout)))
        .service(web::resource("/.well-known/jwks.json").route(web::get().to(auth::http::jwks)));
}

fn configure_lots(routes: &mut ServiceConfig) {
    routes
        .service(web::resource("/v1/lots").route(web::get().to(search::list_lots)))
        .service(web::resource("/v1/lots/events").route(web::get().to(lot_events)))
        .service(web::resource("/v1/lots/{lot_id}").route(web::get().to(search::get_lot)))
        .service(
            web::resource("/v1/operator/lots")
                .route(web::get().to(lots::list_operator_lots))
                .route(web::post().to(lots::create_lot)),
        )
        .service(
            web::resource("/v1/operator/lots/{lot_id}")
                .route(web::get().to(lots::get_operator_lot))
                .route(web::patch().to(lots::update_lot)),
        )
        .service(
            web::resource("/v1/operator/lots/{lot_id}/opening-hours")
                .route(web::put().to(lots::set_opening_hours)),
        )
        .service(
            web::resource("/v1/operator/lots/{lot_id}/capacity/{vehicle_class}")
                .route(web::put().to(occupancy::set_capacity)),
        )
        .service(
            web::resource("/v1/operator/lots/{lot_id}/occupancy")
                .route(web::post().to(occupancy::post_occupancy)),
        );
}

fn configure_drivers(routes: &mut ServiceConfig) {
    use drivers::http;
    routes
        .service(
            web::resource("/v1/me")
                .route(web::get().to(http::get_me))
                .route(web::patch().to(http::update_me))
                .route(web::delete().to(http::delete_me)),
        )
        .service(
            web::resource("/v1/me/vehicles")
                .route(web::get().to(http::list_vehicles))
                .route(web::post().to(http::add_vehicle)),
        )
        .service(
            web::resource("/v1/me/vehicles/{vehicle_id}")
                .route(web::delete().to(http::remove_vehicle)),
        );
}

fn configure_reservations(routes: &mut ServiceConfig) {
    use crate::reservations::http;
    routes
        .service(web::resource("/v1/reservations/{reservation_id}").route(web::get().to(http::get)))
        .service(
            web::resource("/v1/reservations/{reservation_id}/cancel")
                .route(web::post().to(http::cancel)),
        );
}

fn configure_parking_sessions(routes: &mut ServiceConfig) {
    use crate::parking_sessions::http;
    let one = "/v1/parking-sessions/{parking_session_id}";
    routes
        .service(
            web::resource("/v1/parking-sessions")
                .route(web::post().to(http::start))
                .route(web::get().to(http::list)),
        )
        .service(
            web::resource(one)
                .route(web::get().to(http::get))
                .route(web::patch().to(http::correct)),
        )
        .service(web::resource(format!("{one}/extend")).route(web::post().to(http::extend)))
        .service(web::resource(format!("{one}/stop")).route(web::post().to(http::stop)))
        .service(
            web::resource("/v1/operator/parking-sessions")
                .route(web::get().to(http::list_of_operator)),
        );
}

fn configure_ops(routes: &mut ServiceConfig) {
    routes
        .service(web::resource("/healthz").route(web::get().to(healthz)))
        .service(web::resource("/readyz").route(web::get().to(crate::server::readyz)))
        .service(web::resource("/openapi.yaml").route(web::get().to(openapi_yaml)))
        .service(web::resource("/openapi.json").route(web::get().to(openapi_json)))
        .service(web::resource("/docs").route(web::get().to(docs)));
}

async fn healthz(_app: web::Data<App>) -> impl Responder {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)
}

async fn openapi_yaml() -> impl Responder {
    HttpResponse::Ok()
        .content_type("application/yaml")
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(OPENAPI_YAML)
}

async fn openapi_json(contract: web::Data<ContractJson>) -> impl Responder {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        .body(contract.0.clone())
}

async fn docs() -> impl Responder {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:",
        ))
        .body(DOCS_PAGE)
}
