//! What one server process knows for checking callers: keys, caches, ended logins.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::AuthError;
use super::api_keys::KnownKeys;
use super::ended::EndedLogins;
use super::password::PasswordChecks;
use super::store;
use super::tokens::{AccessTokens, KeyError};
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;

/// How often servers look for logins that others ended.
const LOOK_FOR_ENDED: Duration = Duration::from_secs(1);

/// Everything that checks callers. Cheap to clone; in handlers as `web::Data<Auth>`.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    access: AccessTokens,
    ended: EndedLogins,
    keys: KnownKeys,
    passwords: PasswordChecks,
}

/// Why callers cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum AuthStartError {
    /// The directory of signing keys cannot be read.
    #[error("auth.keys_dir cannot be read")]
    KeysDir(#[source] std::io::Error),
    /// A key is not usable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The password machinery does not work.
    #[error("passwords cannot be checked")]
    Passwords(#[source] AuthError),
}

impl Auth {
    /// Reads the signing keys and prepares the caches. Asks nobody; takes a moment because it
    /// hashes once.
    pub fn new(app: &App) -> Result<Self, AuthStartError> {
        let config = &app.config().auth;
        let keys = read_keys(&config.keys_dir).map_err(AuthStartError::KeysDir)?;
        let pairs = keys.iter().map(|(kid, pem)| (kid.as_str(), pem.as_str()));
        let access = AccessTokens::new(pairs, &config.issuer, config.access_token_s)?;
        let passwords =
            PasswordChecks::new(app.random_bytes()).map_err(AuthStartError::Passwords)?;
        Ok(Self {
            inner: Arc::new(Inner {
                access,
                ended: EndedLogins::new(config.access_token_s),
                keys: KnownKeys::default(),
                passwords,
            }),
        })
    }

    /// Follows, until the process ends, which logins other servers ended.
    pub fn follow_ended_logins(&self, app: &App) {
        let (auth, app_there) = (self.clone(), app.clone());
        app.spawn(async move {
            loop {
                if let Err(error) = auth.learn_ended_logins(&app_there).await {
                    // Passing trouble of the database; what is known stays known.
                    tracing::warn!(error = %error, "ended logins could not be read");
                }
                tokio::time::sleep(LOOK_FOR_ENDED).await;
            }
        });
    }

    /// Reads once which logins ended lately.
    pub async fn learn_ended_logins(&self, app: &App) -> Result<(), DbError> {
        let now = app.now();
        let since = self.inner.ended.horizon(now);
        let ended = on_conn!(app.db(), |conn| store::logins_ended_since(conn, since).await)?;
        self.inner.ended.learn(ended, now);
        Ok(())
    }

    /// Access tokens.
    pub fn access(&self) -> &AccessTokens {
        &self.inner.access
    }

    /// Logins that are over.
    pub fn ended(&self) -> &EndedLogins {
        &self.inner.ended
    }

    /// API keys seen lately.
    pub fn keys(&self) -> &KnownKeys {
        &self.inner.keys
    }

    /// Password checks.
    pub fn passwords(&self) -> &PasswordChecks {
        &self.inner.passwords
    }
}

/// The server's secret as HMAC key.
pub fn server_secret(app: &App) -> &[u8] {
    app.config().auth.secret.expose_secret().as_bytes()
}

/// The key files, by key id (the file's stem) in order.
fn read_keys(dir: &std::path::Path) -> Result<Vec<(String, String)>, std::io::Error> {
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(std::ffi::OsStr::to_str);
        if let (Some("pem"), Some(stem)) =
            (path.extension().and_then(std::ffi::OsStr::to_str), stem)
        {
            keys.push((stem.to_owned(), std::fs::read_to_string(&path)?));
        }
    }
    keys.sort();
    Ok(keys)
}
