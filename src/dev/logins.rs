//! stub
use super::children::{Ports, Settings};
use super::endpoints::Endpoints;
use super::secrets::Secrets;

pub(super) struct Logins;

pub(super) async fn prepare(
    _settings: &Settings,
    _secrets: &mut Secrets,
) -> anyhow::Result<Logins> {
    Ok(Logins)
}

impl Logins {
    pub(super) fn endpoints(&self, ports: &Ports) -> Endpoints {
        Endpoints {
            api: ports.api_urls(),
            metrics: ports.metrics_urls(),
            sandbox: ports.sandbox_url(),
            operator_api_key: String::new(),
            operator_lot_id: String::new(),
            operator2_api_key: String::new(),
            finance_username: String::new(),
            finance_password: String::new(),
            operator_username: String::new(),
            operator_password: String::new(),
            driver_phone: String::new(),
        }
    }
}
