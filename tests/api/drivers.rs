//! A driver's profile and vehicles.

use std::time::Duration;

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::actors::random_plate;
use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_field_by_field() {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let change = |body: Value| driver.patch("/v1/me").json(body).send();
    let me = driver.get("/v1/me").send().await.expect(200);
    assert_eq!((me.str("phone"), me.str("locale")), (driver.phone.as_str(), "vi"));
    assert_eq!(me.json["display_name"], Value::Null);
    change(json!({"display_name": "  Nguyễn Thu Hà "})).await.expect(200);
    let me = change(json!({"locale": "en"})).await.expect(200);
    assert_eq!((me.str("display_name"), me.str("locale")), ("Nguyễn Thu Hà", "en"));
    let me = change(json!({"display_name": null})).await.expect(200);
    assert_eq!((&me.json["display_name"], me.str("locale")), (&Value::Null, "en"));
    for wrong in [
        json!({}),
        json!({"display_name": ""}),
        json!({"display_name": "a\nb"}),
        json!({"display_name": "x".repeat(101)}),
        json!({"locale": "fr"}),
        json!({"locale": null}),
        json!({"phone": "+84912345678"}),
        json!({"id": "0193a5c2-7b1e-7c44-9d1a-5f0e8c2b7a10"}),
        json!([]),
        json!("x"),
    ] {
        change(wrong.clone()).await.expect_problem(422, "validation_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vehicles_come_and_go() {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let add = |plate: &str, class: &str| {
        driver.post("/v1/me/vehicles").json(json!({"plate": plate, "vehicle_class": class})).send()
    };
    let car = add("30F-254.38", "car").await.expect(201);
    assert_eq!(car.str("plate"), "30F-254.38");
    add("30f 25438", "car").await.expect_problem(409, "conflict");
    // One text on two vehicles, and an electric motorbike that is not a car.
    add("29B11234", "car").await.expect(201);
    add("29-B1 1234", "motorbike").await.expect(201);
    add("29mđ1-123.45", "motorbike").await.expect(201);
    for wrong in ["30F-000.00", "hello", "", "30I-123.45"] {
        add(wrong, "car").await.expect_problem(422, "validation_failed");
    }
    add("30F-254.39", "spaceship").await.expect_problem(422, "validation_failed");

    let page = driver.get("/v1/me/vehicles?limit=3").send().await.expect(200);
    let plates = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["plate"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(plates(&page.json), ["29MĐ1-123.45", "29-B1 1234", "29B11234"]);
    let next = format!("/v1/me/vehicles?limit=3&cursor={}", page.str("next_cursor"));
    let page = driver.get(&next).send().await.expect(200);
    assert_eq!(plates(&page.json), ["30F-254.38"]);
    assert_eq!(page.json["next_cursor"], Value::Null);

    let path = format!("/v1/me/vehicles/{}", car.str("id"));
    let stranger = app.driver().await;
    stranger.delete(&path).send().await.expect_problem(404, "not_found");
    driver.delete(&path).send().await.expect(204);
    driver.delete(&path).send().await.expect_problem(404, "not_found");
    add("30F-254.38", "car").await.expect(201);
    // Families share cars.
    stranger.add_vehicle("30F-254.38", "car").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_vehicles_are_the_most_even_in_parallel() {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let adding = (0..30).map(|_| {
        let body = json!({"plate": random_plate(), "vehicle_class": "car"});
        driver.post("/v1/me/vehicles").json(body).send()
    });
    let answers = join_all(adding).await;
    let added = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!(added + refused, 30);
    let kept = driver.get("/v1/me/vehicles?limit=100").send().await.expect(200);
    assert_eq!(kept.json["items"].as_array().unwrap().len(), 20.min(added));
    assert_eq!(added, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_driver_is_gone_and_the_number_free() {
    let app = TestApp::start().await;
    let second_server = app.second_server().await;
    let driver = app.driver().await;
    driver.add_vehicle("30F-254.38", "car").await;
    driver.patch("/v1/me").json(json!({"display_name": "Hà"})).send().await.expect(200);
    let token = driver.token();
    driver.delete("/v1/me").send().await.expect(204);
    driver.get("/v1/me").send().await.expect_problem(401, "unauthenticated");
    let mut answer = second_server.get("/v1/me").token(&token).send().await;
    for _ in 0..200 {
        if answer.status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = second_server.get("/v1/me").token(&token).send().await;
    }
    answer.expect_problem(401, "unauthenticated");
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from drivers where phone is not null or display_name is not null) \
              + (select count(*) from vehicles where removed_at is null or plate_key <> 'forgotten')",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
    let again = app.driver_with_phone(&driver.phone).await;
    assert_ne!(again.id, driver.id);
    let vehicles = again.get("/v1/me/vehicles").send().await.expect(200);
    assert_eq!(vehicles.json["items"], json!([]));
}

/// A driver in the middle of something stays, and so does the vehicle it is about.
#[rstest]
#[case::held(
    "insert into reservations (id, driver_id, vehicle_id, lot_id, vehicle_class, \
    created_at, expires_at, idempotency_key, request_hash) \
    values ($1, $2, $3, $1, 'car', now(), now(), 'k', '')"
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_in_the_middle_of_something_is_not_forgotten(#[case] sql: &'static str) {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let vehicle = driver.add_car().await;
    sqlx::query(sql)
        .bind(app.app.new_id::<uuid::Uuid>())
        .bind(driver.id.get())
        .bind(vehicle.parse::<uuid::Uuid>().unwrap())
        .execute(app.pool())
        .await
        .unwrap();
    driver.delete("/v1/me").send().await.expect_problem(409, "conflict");
    let path = format!("/v1/me/vehicles/{vehicle}");
    driver.delete(&path).send().await.expect_problem(409, "conflict");
    driver.get("/v1/me").send().await.expect(200);
}
