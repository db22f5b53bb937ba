//! Holding a space, giving it back, letting it run out.

use std::time::Duration;

use iparking::kernel::ids::{LotId, VehicleId};
use iparking::reservations::service::expire_holds;
use serde_json::{Value, json};

use crate::support::actors::Driver;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::places::{Counts, Place};

async fn hold(driver: &Driver, lot: LotId, vehicle: VehicleId, key: &str) -> Answer {
    let body = json!({"lot_id": lot, "vehicle_id": vehicle});
    driver.post("/v1/reservations").key(key).json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_takes_a_space_until_it_is_given_back() {
    let app = TestApp::start().await;
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let (other, other_car) = app.drivers_with_cars(1).await.remove(0);

    let held = hold(&driver, lot, car, "a").await.expect(201);
    let path = format!("/v1/reservations/{}", held.str("id"));
    assert_eq!(held.headers.get("location").unwrap(), path.as_str());
    assert_eq!(held.str("status"), "held");
    assert_eq!(app.counts(lot).await, Counts { capacity: 1, held: 1, in_use: 0 });
    assert_eq!(driver.get(&path).send().await.expect(200).json, held.json);
    hold(&other, lot, other_car, "a").await.expect_problem(409, "lot_full");

    let cancelled = driver.post(&format!("{path}/cancel")).send().await.expect(200);
    assert_eq!(cancelled.str("status"), "cancelled");
    let again = driver.post(&format!("{path}/cancel")).send().await.expect(200);
    assert_eq!(again.json, cancelled.json);
    assert_eq!(app.counts(lot).await.held, 0);
    hold(&other, lot, other_car, "b").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_answer_whatever_happened_since() {
    let app = TestApp::start().await;
    let lot = app.car_lot(1).await;
    let mut drivers = app.drivers_with_cars(2).await;
    let (driver, car) = drivers.remove(0);
    let (other, other_car) = drivers.remove(0);

    let first = hold(&driver, lot, car, "wish").await.expect(201);
    // The lot is known to be full from here on.
    hold(&other, lot, other_car, "x").await.expect_problem(409, "lot_full");
    assert_eq!(hold(&driver, lot, car, "wish").await.expect(201).text, first.text);

    app.advance(Duration::from_secs(16 * 60));
    assert_eq!(expire_holds(&app.app).await.unwrap(), 1);
    assert_eq!(hold(&driver, lot, car, "wish").await.expect(201).text, first.text);
    assert_eq!(app.counts(lot).await.held, 0, "a repeat holds nothing new");

    let second_car = app.car_of(&driver).await;
    hold(&driver, lot, second_car, "wish").await.expect_problem(422, "idempotency_key_reused");
    let body = json!({"lot_id": lot, "vehicle_id": car});
    let missing = driver.post("/v1/reservations").json(body).send().await;
    missing.expect_problem(400, "idempotency_key_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_nobody_uses_runs_out_and_frees_its_space() {
    let app = TestApp::start().await;
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let held = hold(&driver, lot, car, "a").await.expect(201);
    let path = format!("/v1/reservations/{}", held.str("id"));

    app.advance(Duration::from_secs(14 * 60));
    assert_eq!(expire_holds(&app.app).await.unwrap(), 0, "a minute is left");
    app.advance(Duration::from_secs(61));
    // Over for the driver even before the sweep comes by.
    let cancel = driver.post(&format!("{path}/cancel")).send().await;
    cancel.expect_problem(409, "reservation_not_held");
    assert_eq!(expire_holds(&app.app).await.unwrap(), 1);
    assert_eq!(expire_holds(&app.app).await.unwrap(), 0);
    assert_eq!(app.counts(lot).await.held, 0);
    assert_eq!(driver.get(&path).send().await.expect(200).str("status"), "expired");
    let listed = driver.get("/v1/reservations?status=expired").send().await.expect(200);
    assert_eq!(listed.json["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrive_by_lengthens_a_hold_within_two_hours() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let ask = |minutes: i64, key: &'static str| {
        let at = app.app.now() + jiff::SignedDuration::from_mins(minutes);
        let body = json!({"lot_id": lot, "vehicle_id": car, "arrive_by": at});
        driver.post("/v1/reservations").key(key).json(body).send()
    };
    ask(-1, "past").await.expect_problem(422, "validation_failed");
    ask(121, "far").await.expect_problem(422, "validation_failed");
    let held = ask(60, "later").await.expect(201);
    assert_eq!(held.str("expires_at"), held.str("arrive_by"));
    let body: Value = json!({"lot_id": lot, "vehicle_id": car, "arrive_by": held.str("arrive_by")});
    app.advance(Duration::from_secs(3 * 3_600));
    let repeat = driver.post("/v1/reservations").key("later").json(body).send().await;
    assert_eq!(repeat.expect(201).text, held.text, "a late repeat is still the same request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_held_is_refused_by_name() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let lot = app.lot(operator, &Place::for_cars(9)).await;
    let bikes =
        app.lot(operator, &Place { spaces: vec![("motorbike", 9)], ..Place::default() }).await;
    let mut drivers = app.drivers_with_cars(2).await;
    let (driver, car) = drivers.remove(0);
    let (_, other_car) = drivers.remove(0);

    hold(&driver, lot, other_car, "a").await.expect_problem(422, "vehicle_not_found");
    hold(&driver, bikes, car, "b").await.expect_problem(422, "vehicle_class_not_served");
    let nowhere = app.app.new_id::<LotId>();
    hold(&driver, nowhere, car, "c").await.expect_problem(404, "not_found");
    sqlx::query("update lots set status = 'closed' where id = $1")
        .bind(lot.get())
        .execute(app.pool())
        .await
        .unwrap();
    hold(&driver, lot, car, "d").await.expect_problem(409, "lot_closed");
    assert_eq!(app.counts(lot).await.held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_of_devices_count_against_holds() {
    let app = TestApp::start().await;
    let lot = app.car_lot(5).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    sqlx::query("update lot_capacity set observed = 5, observed_at = now() where lot_id = $1")
        .bind(lot.get())
        .execute(app.pool())
        .await
        .unwrap();
    hold(&driver, lot, car, "a").await.expect_problem(409, "lot_full");
    app.sql("update lot_capacity set observed = 4").await;
    hold(&driver, lot, car, "b").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_holds_three_spaces_and_a_vehicle_one() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let driver = app.driver().await;
    let mut cars = Vec::new();
    for _ in 0..4 {
        cars.push(app.car_of(&driver).await);
    }
    hold(&driver, lot, cars[0], "0").await.expect(201);
    hold(&driver, lot, cars[0], "again").await.expect_problem(409, "vehicle_already_held");
    hold(&driver, lot, cars[1], "1").await.expect(201);
    // At once: whoever comes first gets the third hold, the other is one too many.
    let (a, b) = tokio::join!(hold(&driver, lot, cars[2], "2"), hold(&driver, lot, cars[3], "3"));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", a.text, b.text);
    assert_eq!(app.counts(lot).await.held, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn letting_holds_run_out_pauses_holding() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    for key in ["1", "2", "3", "4", "5"] {
        // Together less than an hour, so that none is forgotten.
        sqlx::query("update lots set hold_minutes = 1 where id = $1")
            .bind(lot.get())
            .execute(app.pool())
            .await
            .unwrap();
        hold(&driver, lot, car, key).await.expect(201);
        app.advance(Duration::from_secs(61));
        assert_eq!(expire_holds(&app.app).await.unwrap(), 1);
    }
    let paused = hold(&driver, lot, car, "6").await.expect_problem(429, "hold_cooldown");
    let wait: u64 = paused.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    app.advance(Duration::from_secs(wait + 1));
    hold(&driver, lot, car, "7").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_their_drivers_own() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let lot = app.lot(operator, &Place::for_cars(9)).await;
    let mut drivers = app.drivers_with_cars(2).await;
    let (driver, car) = drivers.remove(0);
    let (stranger, _) = drivers.remove(0);
    let held = hold(&driver, lot, car, "a").await.expect(201);
    let path = format!("/v1/reservations/{}", held.str("id"));

    stranger.get(&path).send().await.expect_problem(404, "not_found");
    stranger.post(&format!("{path}/cancel")).send().await.expect_problem(404, "not_found");
    let listed = stranger.get("/v1/reservations").send().await.expect(200);
    assert_eq!(listed.json["items"], json!([]));
    let manager = app.manager(operator).await;
    manager.get(&path).send().await.expect_problem(403, "forbidden");
    app.client.get(&path).send().await.expect_problem(401, "unauthenticated");
    driver.get("/v1/reservations/not-an-id").send().await.expect_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page_newest_first() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let driver = app.driver().await;
    let mut made = Vec::new();
    for key in ["a", "b", "c"] {
        let car = app.car_of(&driver).await;
        made.insert(0, hold(&driver, lot, car, key).await.expect(201).str("id").to_owned());
    }
    let first = driver.get("/v1/reservations?limit=2").send().await.expect(200);
    let cursor = first.str("next_cursor").to_owned();
    let second = driver.get(&format!("/v1/reservations?limit=2&cursor={cursor}")).send().await;
    let ids: Vec<String> = [first.json, second.expect(200).json]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap().clone())
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lot_that_somebody_has_locked_holds_up_no_other_lot() {
    let app = TestApp::start().await;
    let (busy, calm) = (app.car_lot(9).await, app.car_lot(9).await);
    let mut drivers = app.drivers_with_cars(2).await;
    let (waiting, car) = drivers.remove(0);
    let (other, other_car) = drivers.remove(0);
    let mut lock = app.pool().begin().await.unwrap();
    sqlx::query("select 1 from lot_capacity where lot_id = $1 for update")
        .bind(busy.get())
        .execute(&mut *lock)
        .await
        .unwrap();

    let waits = tokio::spawn(async move {
        loop {
            let answer = hold(&waiting, busy, car, "a").await;
            // A lock that is kept for very long is given up on; the same key may try again.
            if answer.status != 503 {
                return answer;
            }
        }
    });
    hold(&other, calm, other_car, "b").await.expect(201);
    assert!(!waits.is_finished(), "the locked row cannot have been decided");
    lock.rollback().await.unwrap();
    waits.await.unwrap().expect(201);
}
