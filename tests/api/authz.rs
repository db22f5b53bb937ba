//! Every operation of the contract × every kind of caller: who is not named there stays out.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::actors::Actor;
use crate::support::app::TestApp;
use crate::support::contract::{Contract, Operation};

const ROLES: [&str; 5] = ["driver", "attendant", "manager", "api_key", "finance"];

/// The operation's path with ids that nothing has.
fn path(operation: &Operation) -> String {
    let nothing = "0193a5c2-7b1e-7c44-9d1a-5f0e8c2b7a10";
    let segments = operation.template.split('/').map(|segment| match segment {
        "{code}" => "bank".to_owned(),
        "{provider}" => "vnpay".to_owned(),
        segment if segment.starts_with('{') => nothing.to_owned(),
        segment => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

async fn status(app: &TestApp, caller: Option<&Actor>, operation: &Operation) -> (u16, String) {
    let method: Method = operation.method.parse().unwrap();
    let request = match caller {
        Some(caller) => caller.request(method, &path(operation)),
        None => app.client.request(method, &path(operation)),
    };
    let request = request.key("one-key");
    let request = if operation.has_body() { request.json(json!({})) } else { request };
    let answer = request.unchecked().send().await;
    (answer.status, answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_lets_in_those_whom_the_contract_names_and_nobody_else() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let actors: Vec<(&str, Actor)> = vec![
        ("driver", (*app.driver().await).clone()),
        ("attendant", app.attendant(operator).await),
        ("manager", app.manager(operator).await),
        ("api_key", app.device(operator).await),
        ("finance", app.finance().await),
    ];
    assert_eq!(actors.iter().map(|(role, _)| *role).collect::<Vec<_>>(), ROLES);
    let mut faults = Vec::new();
    for operation in &Contract::load().operations {
        let name = format!("{} {}", operation.method, operation.template);
        let open = operation.roles.iter().any(|role| role == "anyone");
        for role in &operation.roles {
            assert!(role == "anyone" || ROLES.contains(&role.as_str()), "{name}: {role}");
        }
        let (anonymous, text) = status(&app, None, operation).await;
        if !open && anonymous != 401 {
            faults.push(format!("{name}: nobody gets {anonymous} {text}"));
        }
        if anonymous >= 500 {
            faults.push(format!("{name}: nobody gets {anonymous} {text}"));
        }
        for (role, actor) in actors.iter().filter(|_| !open) {
            // A driver may forget themselves here, so each call has its own.
            let driver = app.driver().await;
            let actor = if *role == "driver" { &*driver } else { actor };
            let (status, text) = status(&app, Some(actor), operation).await;
            let named = operation.roles.iter().any(|name| name == role);
            let right = match status {
                401 | 500.. => false,
                403 => !named,
                _ => named,
            };
            if !right {
                faults.push(format!("{name}: {role} gets {status} {text}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_opens_nothing() {
    let app = TestApp::start().await;
    let old = app.driver().await.token();
    app.advance(Duration::from_mins(11));
    for operation in &Contract::load().operations {
        if operation.roles.iter().any(|role| role == "driver") {
            let method: Method = operation.method.parse().unwrap();
            let request = app.client.request(method, &path(operation)).token(&old).key("one-key");
            let request = if operation.has_body() { request.json(json!({})) } else { request };
            request.unchecked().send().await.expect_problem(401, "token_expired");
        }
    }
}
