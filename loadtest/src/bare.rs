//! The limit of search: what actix-web does with a handler that has nothing to do.

use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

/// Serves a constant body of `bytes` with the settings of the product's server.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, bytes: usize) -> anyhow::Result<()> {
    let body = Bytes::from(format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(body.clone())).route("/", web::get().to(constant))
    })
    .workers(workers)
    .max_connections(10_000)
    .client_request_timeout(Duration::from_secs(5))
    .client_disconnect_timeout(Duration::from_secs(1))
    .keep_alive(Duration::from_secs(75))
    .bind(("127.0.0.1", port))?;
    actix_web::rt::System::new().block_on(server.run())?;
    Ok(())
}

async fn constant(body: web::Data<Bytes>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(Bytes::clone(&body))
}
