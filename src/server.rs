//! Builds and runs the API server: shared parts, middleware, limits, health, a clean stop.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{App as ActixApp, HttpResponse, HttpServer, Responder};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::occupancy::service::Occupancy;
use crate::payments::service::Payments;
use crate::platform::db::DbError;
use crate::platform::{App, telemetry};
use crate::reservations::Reservations;
use crate::tariffs::book::TariffBook;
use crate::web::observe::observe;
use crate::web::ordered;
use crate::web::rate_limit::RateLimits;
use crate::web::slow_sender;
use crate::{on_conn, payments, routes};

/// The contract as JSON, converted once at start, for readers that cannot take YAML.
pub struct ContractJson(pub Bytes);

/// What the handlers of all workers share besides [`App`]. Each part starts its own background
/// tasks; they end with the process.
#[derive(Clone)]
pub struct Parts {
    app: App,
    auth: web::Data<Auth>,
    limits: web::Data<RateLimits>,
    tariffs: web::Data<TariffBook>,
    payments: web::Data<Payments>,
    contract: web::Data<ContractJson>,
    occupancy: Occupancy,
    reservations: web::Data<Reservations>,
}

impl Parts {
    /// Puts the parts together and starts what runs behind them.
    pub async fn start(app: App) -> anyhow::Result<Parts> {
        let contract = ordered::yaml_to_json(routes::OPENAPI_YAML)?;
        let contract = web::Data::new(ContractJson(Bytes::from(contract)));
        let auth = Auth::new(&app)?;
        auth.follow_ended_logins(&app);
        let limits = web::Data::new(RateLimits::new(&app));
        let occupancy = Occupancy::new(&app);
        occupancy.start();
        let tariffs = web::Data::new(TariffBook::start(&app).await);
        let payments = web::Data::new(Payments::start(&app)?);
        let reservations = web::Data::new(Reservations::start(&occupancy));
        Ok(Parts {
            app,
            auth: web::Data::new(auth),
            limits,
            tariffs,
            payments,
            contract,
            occupancy,
            reservations,
        })
    }

    /// Registers the shared parts and every route with one worker.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config
            .app_data(web::Data::new(self.app.clone()))
            .app_data(self.auth.clone())
            .app_data(self.limits.clone())
            .app_data(self.tariffs.clone())
            .app_data(self.payments.clone())
            .app_data(self.contract.clone())
            .app_data(web::Data::new(self.occupancy.clone()))
            .app_data(self.reservations.clone());
        routes::configure(config);
    }
}

/// Serves the public interface on `listener` and metrics on `metrics_listener` until `stop`.
/// Requests in flight get `server.drain_s` to finish.
pub async fn run(
    parts: Parts,
    listener: TcpListener,
    metrics_listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    telemetry::start_metrics();
    let app = parts.app.clone();
    let occupancy = parts.occupancy.clone();
    let settings = app.config().server.clone();
    let workers = if settings.workers == 0 {
        std::thread::available_parallelism().map_or(2, usize::from)
    } else {
        settings.workers
    };
    let public = HttpServer::new(move || {
        let parts = parts.clone();
        ActixApp::new().wrap(from_fn(observe)).configure(move |config| parts.configure(config))
    })
    .on_connect(slow_sender::remember)
    .workers(workers)
    .max_connections(settings.connections_max)
    .client_request_timeout(Duration::from_secs(5))
    .client_disconnect_timeout(Duration::from_secs(1))
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(settings.drain_s)
    .disable_signals()
    .listen(listener)?
    .run();
    let dev = settings.dev;
    let private = HttpServer::new(move || {
        let app = web::Data::new(app.clone());
        ActixApp::new().app_data(app).configure(|config| configure_private(config, dev))
    })
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals()
    .listen(metrics_listener)?
    .run();
    let (public_handle, private_handle) = (public.handle(), private.handle());
    let stopper = async move {
        stop.cancelled().await;
        occupancy.stop();
        public_handle.stop(true).await;
        private_handle.stop(true).await;
    };
    let (public, private, ()) = tokio::join!(public, private, stopper);
    public?;
    private?;
    Ok(())
}

fn configure_private(config: &mut ServiceConfig, dev: bool) {
    config.route("/metrics", web::get().to(metrics));
    if dev {
        config.route("/dev/orders/{merchant_ref}", web::get().to(dev_order));
    }
}

/// In development only: where a payment's pay page is, so that the sandbox can act as a customer
/// who never opened it.
async fn dev_order(app: web::Data<App>, merchant_ref: web::Path<String>) -> impl Responder {
    let found: Result<Option<String>, DbError> =
        on_conn!(app.db(), |conn| payments::store::redirect_url_of(conn, &merchant_ref).await);
    match found {
        Ok(Some(url)) => HttpResponse::Ok().json(serde_json::json!({ "redirect_url": url })),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(_error) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn metrics() -> impl Responder {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::render_metrics())
}

/// Whether this server can do its work: Postgres is asked on a fresh connection; without Redis it
/// is degraded, not unready.
pub async fn readyz(app: web::Data<App>, occupancy: web::Data<Occupancy>) -> impl Responder {
    let question = tokio::time::timeout(Duration::from_secs(2), app.db().ping()).await;
    let postgres = matches!(question, Ok(Ok(())));
    let redis = app.redis().ask::<String>(&redis::cmd("PING")).await.is_ok();
    let index = match (occupancy.is_loaded(), occupancy.is_in_step()) {
        (false, _) => "loading",
        (true, true) => "in_step",
        (true, false) => "stale",
    };
    let ready = postgres && occupancy.is_loaded();
    let status = match (ready, redis && occupancy.is_in_step()) {
        (true, true) => "ready",
        (true, false) => "degraded",
        (false, _) => "unready",
    };
    let word = |up: bool| if up { "ok" } else { "down" };
    let body = serde_json::json!({
        "status": status,
        "postgres": word(postgres),
        "redis": word(redis),
        "search_index": index,
    });
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().insert_header(("retry-after", "1")).json(body)
    }
}
