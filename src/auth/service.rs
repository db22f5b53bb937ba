//! Logging in, staying logged in, logging out.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::api_keys::ApiKey;
use super::otp::{ATTEMPTS_MAX, Code, RESEND_AFTER_S, may_send};
use super::otp_store;
use super::refresh::{Decision, RefreshToken, STAFF_REFRESH, judge};
use super::send_code;
use super::state::server_secret;
use super::store::{self, Owner};
use super::{Auth, AuthError, Device, Driver, Principal, Staff};
use crate::kernel::ids::{ChallengeId, LoginId, StaffId};
use crate::kernel::phone::Phone;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::jobs;
use crate::web::gcra::{Limit, Quota};
use crate::web::rate_limit::{RateLimits, TooMany, address_bucket, address_neighbourhood};
use crate::{in_tx, on_conn};

/// A challenge is kept a day for counting, and a little longer.
const CHALLENGE_KEPT: SignedDuration = SignedDuration::from_hours(48);
/// A token that expired is kept a while, so that its late use is still seen for what it is.
const TOKEN_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A challenge that was sent.
#[derive(Clone, Copy, Debug)]
pub struct SentChallenge {
    /// Its id, to be shown with the code.
    pub id: ChallengeId,
    /// Until when the code is good.
    pub expires_at: Timestamp,
}

/// What a login gives.
pub struct Tokens {
    /// JWT.
    pub access_token: String,
    /// Seconds it lives.
    pub expires_in: i64,
    /// Opaque, single use.
    pub refresh_token: RefreshToken,
}

/// Makes a code for a number and has it sent. The answer does not tell whether the number has an
/// account, because nobody looks.
pub async fn request_code(
    app: &App,
    limits: &RateLimits,
    phone: &Phone,
    address: IpAddr,
) -> Result<SentChallenge, AuthError> {
    limits.charge_all(&code_limits(phone, address)).await?;
    let now = app.now();
    let id = app.new_id::<ChallengeId>();
    let seed = app.random_bytes::<32>();
    // Whole seconds: every answer then has the same length, whoever asks.
    let expires_at = later(now, app.config().auth.otp_s);
    let expires_at = Timestamp::from_second(expires_at.as_second()).unwrap_or(expires_at);
    // The code goes out at once; the job is there for when that fails or we die.
    let job = send_code::job(id, now);
    in_tx!(app.db(), "auth.request_code", |tx| {
        let sent = otp_store::codes_sent(tx, phone, now).await?;
        if limits.are_on() {
            may_send(&sent, app.config().auth.otp_per_hour_max, now)
                .map_err(|wait_s| TooMany { retry_after_s: u64::try_from(wait_s).unwrap_or(1) })?;
        }
        otp_store::insert_challenge(tx, id, phone, &seed, now, expires_at).await?;
        jobs::enqueue(app, tx, std::slice::from_ref(&job)).await?;
        Ok::<(), AuthError>(())
    })?;
    send_code::send_at_once(app, id).await;
    Ok(SentChallenge { id, expires_at })
}

/// Per address, and per number *and* address: a stranger who asks for codes to a victim's number
/// uses up their own share, not the victim's. The pause between two codes stands here once more,
/// because a refusal charges nothing: an impatient thumb does not use up the hour.
fn code_limits(phone: &Phone, address: IpAddr) -> [Limit; 4] {
    let (bucket, neighbourhood) = (address_bucket(address), address_neighbourhood(address));
    let number = phone_tag(phone);
    [
        Limit { key: format!("otp:address:{bucket}"), quota: Quota::per(20, 3_600) },
        Limit { key: format!("otp:neighbourhood:{neighbourhood}"), quota: Quota::per(100, 3_600) },
        Limit { key: format!("otp:pair:{number}:{bucket}"), quota: Quota::per(4, 3_600) },
        Limit { key: format!("otp:number:{number}"), quota: Quota::per(1, 60) },
    ]
}

/// Stands for a number in Redis, where numbers are not kept.
fn phone_tag(phone: &Phone) -> String {
    let mut tag = hex::encode(Sha256::digest(phone.e164().as_bytes()));
    tag.truncate(16);
    tag
}

enum Guess {
    Right(Driver, RefreshToken),
    Wrong,
    Expired,
    Dead,
}

/// The grant `otp`: the right code logs a driver in, and makes one at the first time.
pub async fn log_driver_in(
    app: &App,
    auth: &Auth,
    challenge_id: ChallengeId,
    guess: Code,
) -> Result<Tokens, AuthError> {
    let now = app.now();
    let secret = server_secret(app);
    let refresh = RefreshToken::new(app.random_bytes());
    let login = app.new_id::<LoginId>();
    let new_driver = app.new_id();
    let outcome: Result<Guess, AuthError> = in_tx!(app.db(), "auth.log_driver_in", |tx| {
        let challenge = otp_store::guess_at_challenge(tx, challenge_id, ATTEMPTS_MAX, now).await?;
        let Some(challenge) = challenge else {
            let state = otp_store::challenge_state(tx, challenge_id, ATTEMPTS_MAX).await?;
            return Ok(match state {
                Some((expires_at, _)) if expires_at <= now => Guess::Expired,
                Some((_, true)) => Guess::Dead,
                Some((_, false)) | None => Guess::Wrong,
            });
        };
        let code = Code::of(secret, challenge_id, &challenge.seed)
            .ok_or(AuthError::Machinery("the server's secret"))?;
        if code != guess {
            // Committed all the same: the guess counts.
            return Ok(Guess::Wrong);
        }
        otp_store::use_challenge(tx, challenge_id, now).await?;
        let id = store::driver_with_phone(tx, new_driver, &challenge.phone, now).await?;
        let owner = Owner::Driver(id);
        store::insert_login(tx, login, owner, now).await?;
        let expires_at = refresh_until(app, owner, now);
        store::insert_refresh_token(tx, &refresh.hash(), login, now, expires_at).await?;
        Ok(Guess::Right(Driver { id, login }, refresh.clone()))
    });
    match outcome? {
        Guess::Right(driver, refresh) => tokens(app, auth, &Principal::Driver(driver), refresh),
        Guess::Wrong => Err(AuthError::OtpInvalid),
        Guess::Expired => Err(AuthError::OtpExpired),
        Guess::Dead => Err(AuthError::OtpAttempts),
    }
}

/// The grant `password`: logs a member of staff in. Unknown names take as long as wrong passwords.
pub async fn log_staff_in(
    app: &App,
    auth: &Auth,
    limits: &RateLimits,
    username: &str,
    password: String,
    address: IpAddr,
) -> Result<Tokens, AuthError> {
    let username = username.to_ascii_lowercase();
    limits.charge_all(&password_limits(&username, address)).await?;
    let secret = if is_username(&username) {
        let found: Result<_, DbError> =
            on_conn!(app.db(), |conn| store::staff_by_username(conn, &username).await);
        found?
    } else {
        None
    };
    let hash = secret.as_ref().map(|secret| secret.password_hash.clone());
    let right = auth.passwords().check(hash, password).await?;
    let (Some(secret), true) = (secret, right) else { return Err(AuthError::BadCredentials) };
    let now = app.now();
    let login = app.new_id::<LoginId>();
    let refresh = RefreshToken::new(app.random_bytes());
    let owner = Owner::Staff(secret.id, secret.role);
    in_tx!(app.db(), "auth.log_staff_in", |tx| {
        store::insert_login(tx, login, owner, now).await?;
        let expires_at = refresh_until(app, owner, now);
        store::insert_refresh_token(tx, &refresh.hash(), login, now, expires_at).await?;
        Ok::<(), AuthError>(())
    })?;
    tokens(app, auth, &principal(owner, login), refresh)
}

/// Per name and address first, so that a stranger locks themselves out and not the owner of the
/// name; per name over all addresses wide enough that it takes a crowd. Counted by the name as
/// written, known or not, so that a limit does not tell which names exist.
fn password_limits(username: &str, address: IpAddr) -> [Limit; 3] {
    let bucket = address_bucket(address);
    let name = hex::encode(Sha256::digest(username.as_bytes()));
    [
        Limit { key: format!("password:pair:{name}:{bucket}"), quota: Quota::per(10, 900) },
        Limit { key: format!("password:address:{bucket}"), quota: Quota::per(30, 900) },
        Limit { key: format!("password:name:{name}"), quota: Quota::per(60, 600) },
    ]
}

/// The shape that the database allows; nothing else is asked for.
fn is_username(text: &str) -> bool {
    (3..=64).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

enum Renewal {
    Given(Principal, RefreshToken),
    Refused,
    Ended(LoginId),
}

/// The grant `refresh_token`. See [`super::refresh`] for the rules.
pub async fn renew(app: &App, auth: &Auth, shown: &RefreshToken) -> Result<Tokens, AuthError> {
    let now = app.now();
    let next =
        shown.successor(server_secret(app)).ok_or(AuthError::Machinery("the server's secret"))?;
    let (hash, next_hash) = (shown.hash(), next.hash());
    let outcome: Result<Renewal, AuthError> = in_tx!(app.db(), "auth.renew", |tx| {
        let Some(found) = store::shown_token(tx, &hash, &next_hash).await? else {
            return Ok(Renewal::Refused);
        };
        let Some(owner) = found.owner else { return Ok(Renewal::Refused) };
        match judge(&found.known, now) {
            Decision::Refuse => return Ok(Renewal::Refused),
            Decision::EndFamily => {
                store::end_login(tx, found.login, "reuse", now).await?;
                return Ok(Renewal::Ended(found.login));
            }
            Decision::Rotate => {
                store::use_refresh_token(tx, &hash, now).await?;
                let expires_at = refresh_until(app, owner, now);
                store::insert_refresh_token(tx, &next_hash, found.login, now, expires_at).await?;
            }
            Decision::Repeat => {}
        }
        Ok(Renewal::Given(principal(owner, found.login), next.clone()))
    });
    match outcome? {
        Renewal::Given(caller, next) => tokens(app, auth, &caller, next),
        Renewal::Refused => Err(AuthError::BadCredentials),
        Renewal::Ended(login) => {
            auth.ended().learn([(login, now)], now);
            metrics::counter!("auth_refresh_reuse_total").increment(1);
            tracing::warn!(login.id = %login, "a refresh token was used again; the login is over");
            Err(AuthError::Reused)
        }
    }
}

/// Ends a login everywhere: here at once, on other servers within a second or two.
pub async fn log_out(app: &App, auth: &Auth, login: LoginId) -> Result<(), AuthError> {
    let now = app.now();
    let ended: Result<(), DbError> =
        on_conn!(app.db(), |conn| store::end_login(conn, login, "logout", now).await);
    ended?;
    auth.ended().learn([(login, now)], now);
    Ok(())
}

/// Ends the login of a refresh token; an unknown one is no login, which is what was wished.
pub async fn log_out_by_token(app: &App, auth: &Auth, shown: &str) -> Result<(), AuthError> {
    let Some(token) = RefreshToken::parse(shown) else { return Ok(()) };
    let hash = token.hash();
    let login: Result<_, DbError> =
        on_conn!(app.db(), |conn| store::login_of_token(conn, &hash).await);
    match login? {
        Some(login) => log_out(app, auth, login).await,
        None => Ok(()),
    }
}

/// The device behind an API key; `None` when there is none.
pub async fn device(app: &App, auth: &Auth, key: &ApiKey) -> Result<Option<Device>, DbError> {
    let hash = key.hash();
    if let Some(device) = auth.keys().get(&hash) {
        return Ok(Some(device));
    }
    let found: Result<_, DbError> =
        on_conn!(app.db(), |conn| store::device_by_key(conn, &hash).await);
    let found = found?;
    if let Some(device) = found {
        auth.keys().remember(hash, device);
    }
    Ok(found)
}

/// The present role of a member of staff; `None` when they are gone.
pub async fn staff_role(app: &App, id: StaffId) -> Result<Option<super::Role>, DbError> {
    on_conn!(app.db(), |conn| store::staff_role(conn, id).await)
}

/// Daily housekeeping: forgets challenges and tokens that nobody can use. Gives how many.
pub async fn forget_old(app: &App) -> Result<u64, DbError> {
    let now = app.now();
    let before = |kept: SignedDuration| now.checked_sub(kept).unwrap_or(Timestamp::MIN);
    on_conn!(app.db(), |conn| {
        store::forget_old(conn, before(CHALLENGE_KEPT), before(TOKEN_KEPT)).await
    })
}

fn principal(owner: Owner, login: LoginId) -> Principal {
    match owner {
        Owner::Driver(id) => Principal::Driver(Driver { id, login }),
        Owner::Staff(id, role) => Principal::Staff(Staff { id, login, role }),
    }
}

fn tokens(
    app: &App,
    auth: &Auth,
    caller: &Principal,
    refresh_token: RefreshToken,
) -> Result<Tokens, AuthError> {
    let access_token = auth
        .access()
        .sign(caller, app.now(), app.new_id())
        .ok_or(AuthError::Machinery("the signing key"))?;
    Ok(Tokens { access_token, expires_in: auth.access().lives_s(), refresh_token })
}

fn refresh_until(app: &App, owner: Owner, now: Timestamp) -> Timestamp {
    let lives = match owner {
        Owner::Driver(_) => {
            SignedDuration::from_hours(app.config().auth.refresh_token_days.saturating_mul(24))
        }
        Owner::Staff(..) => STAFF_REFRESH,
    };
    now.checked_add(lives).unwrap_or(Timestamp::MAX)
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Seconds until another code can be asked for.
pub fn resend_after_s() -> i64 {
    RESEND_AFTER_S
}
