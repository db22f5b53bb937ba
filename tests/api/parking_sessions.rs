//! From entry to exit: what a stay costs, who may start and see it, what it owes.

use std::time::Duration;

use iparking::kernel::ids::LotId;
use iparking::parking_sessions::service::end_forgotten;
use iparking::reservations::service::expire_holds;
use jiff::Timestamp;
use jiff::civil::time;
use serde_json::{Value, json};

use crate::support::actors::{Actor, random_plate};
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::places::{Counts, Place};

const SESSIONS: &str = "/v1/parking-sessions";

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

async fn start(actor: &Actor, key: &str, body: Value) -> Answer {
    actor.post(SESSIONS).key(key).json(body).send().await
}

async fn stop(actor: &Actor, session: &Answer) -> Answer {
    actor.post(&format!("{SESSIONS}/{}/stop", session.str("id"))).send().await
}

async fn extend(actor: &Actor, session: &Answer, key: &str, minutes: i64) -> Answer {
    let path = format!("{SESSIONS}/{}/extend", session.str("id"));
    actor.post(&path).key(key).json(json!({"minutes": minutes})).send().await
}

async fn balance(app: &TestApp, account: &str) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(amount_vnd), 0)::bigint from ledger_entries where account_code = $1",
    )
    .bind(account)
    .fetch_one(app.pool())
    .await
    .unwrap()
}

#[track_caller]
fn assert_lines_sum_to_the_fare(session: &Answer) {
    let lines = session.json["lines"].as_array().unwrap();
    let sum: i64 = lines.iter().map(|line| line["amount_vnd"].as_i64().unwrap()).sum();
    assert_eq!(sum, session.int("fare_vnd"), "{}", session.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_space_becomes_a_stay_that_is_priced_when_it_ends() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car});
    let hold = driver.post("/v1/reservations").key("h").json(body).send().await.expect(201);
    let by_hold = json!({"reservation_id": hold.str("id")});

    let session = start(&driver, "s", by_hold.clone()).await.expect(201);
    assert_eq!((session.str("status"), session.int("amount_due_vnd")), ("active", 0));
    assert_eq!(app.counts(lot).await, Counts { capacity: 1, held: 0, in_use: 1 });
    assert_eq!(start(&driver, "s", by_hold.clone()).await.expect(201).text, session.text);
    let other_body = json!({"reservation_id": app.app.new_id::<LotId>()});
    start(&driver, "s", other_body).await.expect_problem(422, "idempotency_key_reused");
    start(&driver, "t", by_hold).await.expect_problem(409, "reservation_not_held");

    app.advance(minutes(130));
    let ended = stop(&driver, &session).await.expect(200);
    assert_eq!((ended.str("status"), ended.int("amount_due_vnd")), ("ended", 85_000));
    assert_lines_sum_to_the_fare(&ended);
    assert_eq!(app.counts(lot).await.in_use, 0);
    app.advance(minutes(60));
    assert_eq!(stop(&driver, &session).await.expect(200).text, ended.text);
    assert_eq!(balance(&app, "driver_receivable").await, 85_000);
    // 85,000 with 8 % tax inside; 5 % of the rest is the platform's.
    assert_eq!(balance(&app, "vat_payable").await, -6_296);
    assert_eq!(balance(&app, "fee_income").await, -3_935);
    let path = format!("{SESSIONS}/{}", session.str("id"));
    assert_eq!(driver.get(&path).send().await.expect(200).text, ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_has_run_out_starts_nothing() {
    let app = TestApp::start().await;
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car});
    let hold = driver.post("/v1/reservations").key("h").json(body.clone()).send().await;
    let by_hold = json!({"reservation_id": hold.expect(201).str("id")});
    app.advance(minutes(16));
    start(&driver, "a", by_hold.clone()).await.expect_problem(409, "reservation_expired");
    assert_eq!(expire_holds(&app.app).await.unwrap(), 1);
    start(&driver, "b", by_hold).await.expect_problem(409, "reservation_expired");
    start(&driver, "c", body).await.expect(201);
    assert_eq!(app.counts(lot).await, Counts { capacity: 1, held: 0, in_use: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lot_is_entered_with_a_hold_only_and_a_plate_parks_once() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let lot = app.lot(operator, &Place::for_cars(1)).await;
    let elsewhere = app.lot(operator, &Place::for_cars(9)).await;
    let mut drivers = app.drivers_with_cars(2).await;
    let (driver, car) = drivers.remove(0);
    let (other, other_car) = drivers.remove(0);

    let here = json!({"lot_id": lot, "vehicle_id": car});
    let there = json!({"lot_id": elsewhere, "vehicle_id": car});
    // At once, at two lots: one of them gets it.
    let (a, b) = tokio::join!(start(&driver, "a", here), start(&driver, "b", there));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{} {}", a.text, b.text);
    let won = if a.status == 201 { a } else { b };
    stop(&driver, &won).await.expect(200);

    let session = start(&driver, "c", json!({"lot_id": lot, "vehicle_id": car})).await.expect(201);
    let full = start(&other, "d", json!({"lot_id": lot, "vehicle_id": other_car})).await;
    full.expect_problem(409, "lot_full");
    let attendant = app.attendant(operator).await;
    let by_plate =
        json!({"lot_id": elsewhere, "plate": session.str("plate"), "vehicle_class": "car"});
    start(&attendant, "e", by_plate).await.expect_problem(409, "plate_already_parked");
    assert_eq!(app.counts(elsewhere).await.in_use, 0, "what was refused takes no space");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stay_that_costs_nothing_is_paid_at_once() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(1, 0, 1, 0));
    let operator = app.operator().await;
    let place = Place { tariff: "hcmc-zone1-car", ..Place::default() };
    let lot = app.lot(operator, &place).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let session = start(&driver, "a", json!({"lot_id": lot, "vehicle_id": car})).await;
    let session = session.expect(201);
    app.advance(minutes(60));
    let ended = stop(&driver, &session).await.expect(200);
    assert_eq!((ended.str("status"), ended.int("fare_vnd")), ("paid", 0));
    assert_eq!(balance(&app, "driver_receivable").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bought_time_is_charged_at_once_extended_and_overstayed_by_the_difference() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let operator = app.operator().await;
    let place = Place { sale_mode: "prepaid", ..Place::default() };
    let lot = app.lot(operator, &place).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let buy = |minutes: i64| json!({"lot_id": lot, "vehicle_id": car, "paid_minutes": minutes});

    let nothing = start(&driver, "0", json!({"lot_id": lot, "vehicle_id": car})).await;
    nothing.expect_problem(422, "validation_failed");
    start(&driver, "0", buy(43_201)).await.expect_problem(422, "validation_failed");
    let session = start(&driver, "a", buy(60)).await.expect(201);
    assert_eq!(session.int("amount_due_vnd"), 25_000);
    let longer = extend(&driver, &session, "x", 120).await.expect(200);
    assert_eq!(longer.int("amount_due_vnd"), 85_000);
    assert_lines_sum_to_the_fare(&longer);
    assert_eq!(extend(&driver, &session, "x", 120).await.expect(200).text, longer.text);
    extend(&driver, &session, "y", 43_200).await.expect_problem(422, "validation_failed");
    assert_eq!(balance(&app, "driver_receivable").await, 85_000);

    app.advance(minutes(190));
    let ended = stop(&driver, &session).await.expect(200);
    assert_eq!((ended.str("status"), ended.int("fare_vnd")), ("ended", 120_000));
    assert_lines_sum_to_the_fare(&ended);
    assert_eq!(balance(&app, "driver_receivable").await, 120_000);
    extend(&driver, &session, "z", 10).await.expect_problem(409, "session_not_active");

    // Leaving early gives nothing back and charges nothing more.
    app.advance(minutes(60));
    let session = start(&driver, "b", buy(120)).await.expect(201);
    let bought = session.int("fare_vnd");
    app.advance(minutes(10));
    assert_eq!(stop(&driver, &session).await.expect(200).int("fare_vnd"), bought);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_pays_when_leaving_no_time_is_sold() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car, "paid_minutes": 60});
    start(&driver, "a", body).await.expect_problem(422, "validation_failed");
    let session = start(&driver, "b", json!({"lot_id": lot, "vehicle_id": car})).await.expect(201);
    extend(&driver, &session, "c", 10).await.expect_problem(409, "extend_not_offered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_binds_the_price_of_the_stay_it_was_for() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let operator = app.operator().await;
    let lot = app.lot(operator, &Place::for_cars(9)).await;
    let elsewhere = app.lot(operator, &Place::for_cars(9)).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let wish = json!({"lot_id": lot, "vehicle_class": "car", "stay_minutes": 120});
    let quote = app.client.post("/v1/quotes").json(wish).send().await.expect(201);
    assert_eq!(quote.int("amount_vnd"), 50_000);
    // The tariff changes after the quote was given.
    sqlx::query(
        "insert into tariff_versions (id, tariff_id, version, starts_on, rules, created_at) \
         select $2, tariff_id, 2, $1::date, \
             jsonb_set(rules, '{pricing,bands,ladders,0,steps}', \
                 '[{\"unit_minutes\": 60, \"price_vnd\": 90000}]'), now() \
         from tariff_versions",
    )
    .bind(app.app.now().to_zoned(iparking::kernel::clock::hanoi()).date().to_string())
    .bind(app.app.new_id::<LotId>().get())
    .execute(app.pool())
    .await
    .unwrap();

    let with =
        |lot: LotId, quote: &str| json!({"lot_id": lot, "vehicle_id": car, "quote_id": quote});
    let unknown = app.app.new_id::<LotId>().to_string();
    start(&driver, "a", with(lot, &unknown)).await.expect_problem(422, "quote_not_found");
    let other = start(&driver, "b", with(elsewhere, quote.str("id"))).await;
    other.expect_problem(422, "quote_mismatch");
    let bound = start(&driver, "c", with(lot, quote.str("id"))).await.expect(201);
    app.advance(minutes(119));
    assert_eq!(stop(&driver, &bound).await.expect(200).int("fare_vnd"), 50_000);
    start(&driver, "d", with(lot, quote.str("id"))).await.expect_problem(409, "quote_expired");

    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let free = start(&driver, "e", json!({"lot_id": lot, "vehicle_id": car})).await.expect(201);
    app.advance(minutes(119));
    assert_eq!(stop(&driver, &free).await.expect(200).int("fare_vnd"), 180_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_back_at_once_continues_the_stay() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let lot = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car});
    // Three hours in one piece cost 85,000; in pieces of two and one they would be 75,000.
    let first = start(&driver, "a", body.clone()).await.expect(201);
    app.advance(minutes(119));
    assert_eq!(stop(&driver, &first).await.expect(200).int("fare_vnd"), 50_000);
    app.advance(minutes(5));
    let second = start(&driver, "b", body).await.expect(201);
    app.advance(minutes(60));
    let ended = stop(&driver, &second).await.expect(200);
    assert_eq!(ended.int("fare_vnd"), 35_000);
    assert_lines_sum_to_the_fare(&ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stay_that_nobody_ends_is_priced_as_if_it_ended_in_time() {
    let app = TestApp::start().await;
    let lot = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car});
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let session = start(&driver, "a", body).await.expect(201);
    app.advance(minutes(1_439));
    assert_eq!(end_forgotten(&app.app).await.unwrap(), 0);
    app.advance(minutes(3_000));
    assert_eq!(end_forgotten(&app.app).await.unwrap(), 1);
    assert_eq!(end_forgotten(&app.app).await.unwrap(), 0);
    let ended = stop(&driver, &session).await.expect(200);
    let at = |member: &str| ended.str(member).parse::<Timestamp>().unwrap();
    let stay = at("started_at").duration_until(at("ended_at"));
    assert_eq!(stay.as_mins(), 1_440);
    assert_eq!((ended.str("status"), ended.int("fare_vnd")), ("ended", 590_000));
    assert_eq!(app.counts(lot).await.in_use, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_plate_or_lot_can_be_corrected_for_a_while() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let lot = app.lot(operator, &Place::for_cars(1)).await;
    let right = app.lot(operator, &Place { tariff: "noibai-car", ..Place::for_cars(1) }).await;
    let attendant = app.attendant(operator).await;
    let wrong_plate = random_plate();
    let body = json!({"lot_id": lot, "plate": wrong_plate, "vehicle_class": "car"});
    let session = start(&attendant, "a", body).await.expect(201);
    let path = format!("{SESSIONS}/{}", session.str("id"));

    let plate = json!({"plate": "30f 254.38"});
    let corrected = attendant.patch(&path).json(plate).send().await.expect(200);
    assert_eq!(corrected.str("plate"), "30F 254.38");
    let no_car = attendant.patch(&path).json(json!({"plate": "29-M1 923.03"})).send().await;
    no_car.expect_problem(422, "validation_failed");
    let moved = attendant.patch(&path).json(json!({"lot_id": right})).send().await.expect(200);
    assert_eq!(moved.str("lot_id"), right.to_string());
    assert_ne!(moved.str("tariff_version_id"), session.str("tariff_version_id"));
    assert_eq!(moved.str("started_at"), session.str("started_at"));
    assert_eq!((app.counts(lot).await.in_use, app.counts(right).await.in_use), (0, 1));
    let recorded: i64 = sqlx::query_scalar(
        "select count(*) from audit_log where action like 'parking_sessions.correct:%'",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(recorded, 2);

    attendant.patch(&path).json(json!({})).send().await.expect_problem(422, "validation_failed");
    let foreign = app.car_lot(9).await;
    let there = attendant.patch(&path).json(json!({"lot_id": foreign})).send().await;
    there.expect_problem(404, "not_found");
    app.advance(minutes(11));
    let late = attendant.patch(&path).json(json!({"plate": wrong_plate})).send().await;
    late.expect_problem(409, "correction_window_closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_of_bought_time_charges_the_price_of_the_right_place() {
    let app = TestApp::start().await;
    app.advance_to_hanoi(time(8, 0, 1, 0));
    let prepaid = Place { sale_mode: "prepaid", ..Place::default() };
    let (one, two) = (app.operator().await, app.operator().await);
    let lot = app.lot(one, &prepaid).await;
    let right = app.lot(two, &Place { tariff: "noibai-car", ..prepaid.clone() }).await;
    let exit = app.car_lot(9).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let body = json!({"lot_id": lot, "vehicle_id": car, "paid_minutes": 120});
    let session = start(&driver, "a", body).await.expect(201);
    assert_eq!(session.int("amount_due_vnd"), 50_000);
    let path = format!("{SESSIONS}/{}", session.str("id"));
    let other_way = driver.patch(&path).json(json!({"lot_id": exit})).send().await;
    other_way.expect_problem(422, "validation_failed");
    let moved = driver.patch(&path).json(json!({"lot_id": right})).send().await.expect(200);
    assert_eq!((moved.int("fare_vnd"), moved.int("amount_due_vnd")), (25_000, 25_000));
    assert_lines_sum_to_the_fare(&moved);
    assert_eq!(balance(&app, "driver_receivable").await, 25_000);
    let owed: Vec<i64> = sqlx::query_scalar(
        "select coalesce(sum(e.amount_vnd), 0)::bigint from operators o \
         left join ledger_entries e on e.account_code = 'operator_payable:' || o.code \
         where o.id = any($1) group by o.id order by o.id = $2 desc",
    )
    .bind(vec![one.get(), two.get()])
    .bind(one.get())
    .fetch_all(app.pool())
    .await
    .unwrap();
    assert_eq!(owed[0], 0, "the wrong operator gets nothing");
    assert!(owed[1] < 0, "the right one does");
}
