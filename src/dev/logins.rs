//! Who can log in to a development run: made of the run's secrets, the same at every start.

use anyhow::Context as _;

use super::children::{Ports, Settings};
use super::endpoints::Endpoints;
use super::secrets::Secrets;
use super::store;
use crate::auth::RoleName;
use crate::auth::api_keys::ApiKey;
use crate::kernel::ids::{LotId, OperatorId};
use crate::operators::{self, NewStaff};
use crate::platform::App;
use crate::{cli, lots};

/// The operator that the printed login and key belong to, and another for comparison.
const OPERATOR: &str = "trung-tam";
const OPERATOR2: &str = "phia-tay";
/// A lot of the first operator, 550 m from Hoàn Kiếm lake: always open, for cars, paid on leaving.
const LOT: &str = "HN-087";
const OPERATOR_USERNAME: &str = "dieu-hanh";
const FINANCE_USERNAME: &str = "ke-toan";
/// Any number would do: a driver's account begins with the first login.
const DRIVER_PHONE: &str = "+84912345678";

/// The logins of a run.
pub(super) struct Logins {
    operator_api_key: String,
    operator2_api_key: String,
    operator_lot: LotId,
    operator_password: String,
    finance_password: String,
}

/// Brings the database up to date, seeds it and enters the logins.
///
/// # Errors
/// When the database refuses or a secret cannot be kept.
pub(super) async fn prepare(settings: &Settings, secrets: &mut Secrets) -> anyhow::Result<Logins> {
    let app = App::connect(settings.config())?;
    cli::migrate(&app).await.context("the database could not be brought up to date")?;
    let added = lots::seed::seed(&app).await.context("seeding failed")?;
    if added > 0 {
        super::say(&format!("seeded {added} real lots of Hanoi with the printed tariffs"));
    }
    let mut conn = app.db().pool().acquire().await?;
    let operator = operators::store::id_by_code(&mut conn, OPERATOR).await?;
    let operator2 = operators::store::id_by_code(&mut conn, OPERATOR2).await?;
    let (Some(operator), Some(operator2)) = (operator, operator2) else {
        anyhow::bail!("the seeded operators are missing");
    };
    let logins = Logins {
        operator_api_key: api_key(&app, secrets, "operator_api_key", operator).await?,
        operator2_api_key: api_key(&app, secrets, "operator2_api_key", operator2).await?,
        operator_lot: store::lot(&mut conn, LOT).await?,
        operator_password: password(secrets, "operator_password")?,
        finance_password: password(secrets, "finance_password")?,
    };
    drop(conn);
    // Known names get the password again, so that a run whose secrets were made anew can be
    // logged in to.
    for (username, password, operator_id, role) in [
        (OPERATOR_USERNAME, &logins.operator_password, Some(operator), RoleName::Manager),
        (FINANCE_USERNAME, &logins.finance_password, None, RoleName::Finance),
    ] {
        let (username, password) = (username.to_owned(), password.clone());
        let new = NewStaff { username, password, role, operator_id };
        operators::service::employ(&app, new).await?;
    }
    app.db().pool().close().await;
    Ok(logins)
}

/// Short enough to be typed: 80 random bits.
fn password(secrets: &mut Secrets, name: &str) -> anyhow::Result<String> {
    Ok(secrets.get(name)?.chars().take(20).collect())
}

async fn api_key(
    app: &App,
    secrets: &mut Secrets,
    name: &str,
    operator: OperatorId,
) -> anyhow::Result<String> {
    let mut random = [0_u8; 32];
    hex::decode_to_slice(secrets.get(name)?, &mut random).context("an API key is damaged")?;
    let key = ApiKey::new(random);
    operators::service::keep_api_key(app, operator, "iparking dev", &key).await?;
    Ok(key.expose())
}

impl Logins {
    /// Everything that is told about a run.
    pub(super) fn endpoints(&self, ports: &Ports) -> Endpoints {
        Endpoints {
            api: ports.api_urls(),
            metrics: ports.metrics_urls(),
            sandbox: ports.sandbox_url(),
            operator_api_key: self.operator_api_key.clone(),
            operator_lot_id: self.operator_lot.to_string(),
            operator2_api_key: self.operator2_api_key.clone(),
            finance_username: FINANCE_USERNAME.to_owned(),
            finance_password: self.finance_password.clone(),
            operator_username: OPERATOR_USERNAME.to_owned(),
            operator_password: self.operator_password.clone(),
            driver_phone: DRIVER_PHONE.to_owned(),
        }
    }
}
