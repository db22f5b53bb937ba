//! Tells the merchant what became of an order: first call, retries, and the faults in between.
//!
//! What is common to all gateways is here; what one gateway's call looks like is in its module.

use std::time::Duration;

use actix_web::web;
use anyhow::Context;
use reqwest::Url;

use crate::accounts::{Account, Decision};
use crate::app::Sandbox;
use crate::faults::{Forgery, Plan};
use crate::provider::Provider;
use crate::vnpay;

/// Starts telling the merchant of the account's last decision.
pub fn start(app: web::Data<Sandbox>, account: Account) {
    let plan = app.faults.plan(account.order.provider);
    spawn(app, account, plan);
}

/// Goes on with what a restart interrupted, without faults.
pub fn resume(app: &web::Data<Sandbox>) {
    for account in app.books.untold() {
        spawn(app.clone(), account, Plan::default());
    }
}

fn spawn(app: web::Data<Sandbox>, account: Account, plan: Plan) {
    let Some(decision) = account.decision.clone() else { return };
    actix_web::rt::spawn(async move {
        let result = deliver(&app, &account, &decision, &plan).await;
        let (order, now) = (&account.order, app.clock.now());
        tracing::info!(merchant_ref = %order.merchant_ref, result, "notification.ended");
        if let Err(error) = app.books.notified(&order.id, decision.number, result, now) {
            tracing::error!(%error, "cannot note that a notification ended");
        }
    });
}

async fn deliver(
    app: &Sandbox,
    account: &Account,
    decision: &Decision,
    plan: &Plan,
) -> &'static str {
    // The books must have it before the merchant hears of it.
    app.books.synced().await;
    if plan.drop {
        return "dropped";
    }
    tokio::time::sleep(plan.delay).await;
    if let Some(hold) = plan.reorder {
        let mut answered = app.answered.subscribe();
        // A time-out means that no later one came: go on.
        tokio::time::timeout(hold, answered.changed()).await.ok();
    }
    if let Some(forgery) = plan.forge
        && let Some(url) = next_url(app, account.order.provider, 0).await
    {
        let answer = call(app, url, account, decision, Some(forgery)).await;
        let accepted = answer.is_ok_and(|accepted| accepted);
        tracing::info!(merchant_ref = %account.order.merchant_ref, ?forgery, accepted, "forged");
    }
    let mut calls: u32 = 0;
    loop {
        let provider = account.order.provider;
        let Some(url) = next_url(app, provider, calls).await else { return "gave_up" };
        calls = calls.saturating_add(1);
        let accepted = if plan.repeat && calls == 1 {
            let Some(second) = next_url(app, provider, calls).await else { return "gave_up" };
            let (one, two) = tokio::join!(
                call(app, url, account, decision, None),
                call(app, second, account, decision, None),
            );
            heard(account, one) | heard(account, two)
        } else {
            heard(account, call(app, url, account, decision, None).await)
        };
        app.answered.send_modify(|n| *n = n.saturating_add(1));
        if accepted {
            return "accepted";
        }
        let (max_calls, retry) = retries(app, provider);
        if calls >= max_calls {
            return "gave_up";
        }
        tokio::time::sleep(retry).await;
    }
}

fn heard(account: &Account, answer: anyhow::Result<bool>) -> bool {
    let merchant_ref = &account.order.merchant_ref;
    match answer {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::warn!(%merchant_ref, error = %format!("{error:#}"), "notification.failed");
            false
        }
    }
}

/// Where the call goes; waits while no address is known. `None` when the sandbox is closing.
async fn next_url(app: &Sandbox, provider: Provider, call: u32) -> Option<Url> {
    match provider {
        Provider::Vnpay => {
            let mut changes = app.vnpay.subscribe();
            let config = changes.wait_for(|config| !config.ipn_urls.is_empty()).await.ok()?;
            let index = usize::try_from(call).ok()?.checked_rem(config.ipn_urls.len())?;
            config.ipn_urls.get(index).cloned()
        }
    }
}

fn retries(app: &Sandbox, provider: Provider) -> (u32, Duration) {
    match provider {
        Provider::Vnpay => {
            let config = app.vnpay.borrow();
            (config.ipn_max_calls, config.ipn_retry)
        }
    }
}

/// One call; true when the merchant's answer ends the calls.
async fn call(
    app: &Sandbox,
    url: Url,
    account: &Account,
    decision: &Decision,
    forgery: Option<Forgery>,
) -> anyhow::Result<bool> {
    let request = match account.order.provider {
        Provider::Vnpay => {
            let secret = app.vnpay_config().secret;
            let query = match forgery {
                None => vnpay::result::signed_query(account, decision, &secret),
                Some(forgery) => vnpay::result::forged_query(account, decision, &secret, forgery),
            };
            app.http.get(vnpay::result::with_query(url, &query))
        }
    };
    let response = request.send().await.context("no answer")?;
    let status = response.status();
    let body = response.bytes().await.context("the answer broke off")?;
    anyhow::ensure!(status == 200, "the merchant answered {status}");
    match account.order.provider {
        Provider::Vnpay => vnpay::result::ends_calls(&body),
    }
}
