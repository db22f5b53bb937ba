//! Health, the contract as served, and the library's own refusals.

use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_alive_and_ready() {
    let app = TestApp::start().await;
    assert_eq!(app.client.get("/healthz").send().await.expect(200).str("status"), "ok");
    let ready = app.client.get("/readyz").send().await.expect(200);
    assert_eq!((ready.str("postgres"), ready.str("redis")), ("ok", "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_and_its_readable_page_are_served() {
    let app = TestApp::start().await;
    let yaml = app.client.get("/openapi.yaml").send().await.expect(200);
    assert!(yaml.text.starts_with("openapi: 3.1"));
    let json = app.client.get("/openapi.json").send().await.expect(200);
    assert!(json.json["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = app.client.get("/docs").send().await.expect(200);
    assert!(page.text.contains("<html") && !page.text.contains("https://cdn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_and_methods_are_problems() {
    let app = TestApp::start().await;
    app.client.get("/nothing/here").unchecked().send().await.expect_problem(404, "not_found");
    let refused = app.client.post("/healthz").unchecked().send().await;
    refused.expect_problem(405, "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_on_the_private_port_only() {
    let app = TestApp::start().await;
    app.client.get("/healthz").send().await.expect(200);
    let metrics = app.private.get("/metrics").unchecked().send().await.expect(200);
    assert!(metrics.text.contains("http_requests_total"));
    app.client.get("/metrics").unchecked().send().await.expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_carries_the_id_of_the_request_that_caused_it() {
    // The carrier is away, so the code's job stays.
    let app = TestApp::start().await;
    let body = serde_json::json!({"phone": "0912345678"});
    let answer = app.client.post("/v1/auth/otp").json(body).send().await.expect(202);
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let kinds: Vec<String> = sqlx::query_scalar("select kind from jobs where request_id = $1")
        .bind(&id)
        .fetch_all(app.pool())
        .await
        .unwrap();
    assert_eq!(kinds, ["send_code"]);
}
