//! Quotes, and operators' tariffs: versions, where they hold, dry runs.

use std::time::Duration;

use iparking::kernel::clock::business_day;
use iparking::kernel::ids::{LotId, OperatorId, QuoteId};
use iparking::kernel::vehicle::VehicleClass;
use iparking::lots;
use iparking::tariffs::book::TariffBook;
use iparking::tariffs::{quote_store, store};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::support::actors::Actor;
use crate::support::app::TestApp;

/// A running product with the real lots, and one of them with its operator.
struct World {
    app: TestApp,
    lot: LotId,
    operator: OperatorId,
}

async fn world() -> World {
    let app = TestApp::start().await;
    // Days are counted in Hanoi; no test may straddle its midnight.
    let local = app.app.now().to_zoned(iparking::kernel::clock::hanoi());
    if (local.hour(), local.minute()) >= (23, 50) {
        app.advance(Duration::from_mins(15));
    }
    lots::seed::seed(&app.app).await.unwrap();
    let (lot, operator): (uuid::Uuid, uuid::Uuid) =
        sqlx::query_as("select id, operator_id from lots where code = 'HN-003'")
            .fetch_one(app.pool())
            .await
            .unwrap();
    World { app, lot: LotId::from_uuid(lot), operator: OperatorId::from_uuid(operator) }
}

impl World {
    async fn manager(&self) -> Actor {
        self.app.manager(self.operator).await
    }

    /// A morning that is at least a day away, so that no test depends on the hour it runs at.
    fn morning(&self) -> Timestamp {
        let day = business_day(self.app.app.now()) + 2.days();
        day.at(8, 0, 0, 0).to_zoned(iparking::kernel::clock::hanoi()).unwrap().timestamp()
    }

    fn day(&self, ahead: i64) -> String {
        (business_day(self.app.app.now()) + ahead.days()).to_string()
    }

    async fn quote(&self, minutes: i64) -> Value {
        let body = json!({
            "lot_id": self.lot, "vehicle_class": "car",
            "start": self.morning(), "stay_minutes": minutes,
        });
        self.app.client.post("/v1/quotes").json(body).send().await.expect(201).json
    }
}

fn flat(price: i64) -> Value {
    json!({"pricing": {"bands": {
        "bands": [{"key": "all_day", "label": "Cả ngày", "from": "00:00", "to": "24:00",
                   "charge": {"metered": {"ladder": "hour"}}}],
        "ladders": [{"key": "hour", "steps": [{"unit_minutes": 60, "price_vnd": price}]}],
    }}})
}

fn tariff(code: &str, starts_on: &str, price: i64) -> Value {
    json!({"code": code, "name": "Giá thử", "starts_on": starts_on, "rules": flat(price)})
}

async fn create(manager: &Actor, body: Value) -> String {
    let made = manager.post("/v1/operator/tariffs").json(body).send().await.expect(201);
    made.str("id").to_owned()
}

#[tokio::test]
async fn a_quote_is_itemised_signed_and_kept() {
    let world = world().await;
    let quote = world.quote(180).await;
    assert_eq!(quote["amount_vnd"], 85_000);
    assert!(quote["vat_vnd"].as_i64().unwrap() > 0);
    let lines: i64 =
        quote["lines"].as_array().unwrap().iter().map(|l| l["amount_vnd"].as_i64().unwrap()).sum();
    assert_eq!(lines, 85_000);
    let mut conn = world.app.pool().acquire().await.unwrap();
    let id: QuoteId = quote["id"].as_str().unwrap().parse().unwrap();
    let mut kept = quote_store::find(&mut conn, id).await.unwrap().unwrap();
    let secret = &world.app.app.config().quotes.secret;
    assert!(kept.is_genuine(secret));
    assert_eq!(kept.signature, quote["signature"].as_str().unwrap());
    kept.amount = iparking::kernel::money::Vnd::new(1);
    assert!(!kept.is_genuine(secret), "a changed promise is not ours");
}

#[tokio::test]
async fn a_quote_takes_an_end_or_minutes_and_begins_now_if_not_told() {
    let world = world().await;
    let post = |body: Value| world.app.client.post("/v1/quotes").json(body);
    let (lot, class) = (world.lot, "car");
    let now = world.app.app.now();
    let quote = post(json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 60}))
        .send()
        .await
        .expect(201);
    let start: Timestamp = quote.str("start").parse().unwrap();
    assert!(start.duration_since(now).abs() < SignedDuration::from_secs(30));
    let end = world.morning() + SignedDuration::from_hours(2);
    let body = json!({"lot_id": lot, "vehicle_class": class, "start": world.morning(), "end": end});
    let quote = post(body).send().await.expect(201);
    assert_eq!(quote.int("amount_vnd"), 50_000);
    for wrong in [
        json!({"lot_id": lot, "vehicle_class": class}),
        json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 60, "end": end}),
        json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 0}),
        json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 43_201}),
        json!({"lot_id": lot, "vehicle_class": class, "start": end, "end": world.morning()}),
        json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 60,
               "start": now - SignedDuration::from_mins(6)}),
        json!({"lot_id": lot, "vehicle_class": "spaceship", "stay_minutes": 60}),
        json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 60, "more": 1}),
    ] {
        post(wrong).send().await.expect_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn there_is_no_quote_for_an_unknown_lot_a_class_not_served_or_without_a_tariff() {
    let world = world().await;
    let post = |lot: LotId, class: &str| {
        let body = json!({"lot_id": lot, "vehicle_class": class, "stay_minutes": 60});
        world.app.client.post("/v1/quotes").json(body)
    };
    let unknown = world.app.app.new_id::<LotId>();
    post(unknown, "car").send().await.expect_problem(404, "not_found");
    post(world.lot, "bicycle").send().await.expect_problem(422, "vehicle_class_not_served");
    sqlx::query("delete from tariff_assignments where vehicle_class = 'car'")
        .execute(world.app.pool())
        .await
        .unwrap();
    post(world.lot, "car").send().await.expect_problem(409, "no_tariff");
}

#[tokio::test]
async fn every_class_that_a_real_lot_takes_has_a_price_and_the_book_agrees_with_the_database() {
    let world = world().await;
    let book = TariffBook::start(&world.app.app).await;
    let mut conn = world.app.pool().acquire().await.unwrap();
    let served: Vec<(uuid::Uuid, String)> = sqlx::query_as(
        "select lot_id, vehicle_class from lot_capacity where capacity > 0 order by 1, 2",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    assert!(served.len() >= 119);
    let today = business_day(world.app.app.now());
    let lots: std::collections::BTreeSet<_> = served.iter().map(|(lot, _)| *lot).collect();
    for lot in lots.into_iter().map(LotId::from_uuid) {
        for class in VehicleClass::iter() {
            let asked = store::resolve(&mut conn, lot, class, today).await.unwrap();
            let remembered = book.on_day(lot, class, today);
            assert_eq!(asked.as_ref().map(|v| v.id), remembered.map(|v| v.id));
            let takes = served.contains(&(lot.get(), class.as_str().to_owned()));
            assert!(asked.is_some() || !takes, "{lot} has no price for {class}");
        }
    }
}

#[tokio::test]
async fn a_lots_own_tariff_beats_its_zones_from_its_day_on() {
    let world = world().await;
    let manager = world.manager().await;
    let id = create(&manager, tariff("rieng", &world.day(0), 7_000)).await;
    let path = format!("/v1/operator/lots/{}/tariffs/car", world.lot);
    let from = world.day(3);
    let body = json!({"tariff_id": id, "valid_from": from});
    let set = manager.put(&path).json(body.clone()).send().await.expect(200);
    assert_eq!(set.str("valid_from"), from);
    manager.put(&path).json(body).send().await.expect(200);
    assert_eq!(world.quote(120).await["amount_vnd"], 50_000, "in two days the zone's still holds");
    manager.put(&path).json(json!({"tariff_id": id})).send().await.expect(200);
    assert_eq!(world.quote(120).await["amount_vnd"], 14_000, "from today the lot's own");
}

#[tokio::test]
async fn a_new_version_changes_the_price_from_its_day_on_and_only_there() {
    let world = world().await;
    let manager = world.manager().await;
    let id = create(&manager, tariff("theo-ngay", &world.day(0), 7_000)).await;
    let path = format!("/v1/operator/lots/{}/tariffs/car", world.lot);
    manager.put(&path).json(json!({"tariff_id": id})).send().await.expect(200);
    let first = world.quote(60).await;
    let versions = format!("/v1/operator/tariffs/{id}/versions");
    let later = json!({"starts_on": world.day(3), "rules": flat(9_000)});
    let made = manager.post(&versions).json(later.clone()).send().await.expect(201);
    assert_eq!(made.int("version"), 2);
    manager.post(&versions).json(later).send().await.expect_problem(409, "conflict");
    let same = world.quote(60).await;
    assert_eq!(same["tariff_version_id"], first["tariff_version_id"]);
    let sooner = json!({"starts_on": world.day(1), "rules": flat(8_000)});
    manager.post(&versions).json(sooner).send().await.expect(201);
    assert_eq!(world.quote(60).await["amount_vnd"], 8_000);
    let past = json!({"starts_on": world.day(-1), "rules": flat(1_000)});
    manager.post(&versions).json(past).send().await.expect_problem(422, "tariff_start_in_past");
    let shown = manager.get(&format!("/v1/operator/tariffs/{id}")).send().await.expect(200);
    let starts: Vec<_> =
        shown.json["versions"].as_array().unwrap().iter().map(|v| &v["starts_on"]).collect();
    assert_eq!(starts, [&world.day(3), &world.day(1), &world.day(0)]);
    let change = sqlx::query("update tariff_versions set rules = '{}'").execute(world.app.pool());
    assert!(change.await.is_err(), "a version is never edited");
}

#[tokio::test]
async fn two_versions_written_at_once_get_different_numbers() {
    let world = world().await;
    let manager = world.manager().await;
    let id = create(&manager, tariff("dong-thoi", &world.day(0), 5_000)).await;
    let versions = format!("/v1/operator/tariffs/{id}/versions");
    let write = |ahead: i64| {
        let body = json!({"starts_on": world.day(ahead), "rules": flat(6_000)});
        manager.post(&versions).json(body).send()
    };
    let (a, b, c) = tokio::join!(write(1), write(2), write(3));
    let mut numbers = [a, b, c].map(|answer| answer.expect(201).int("version"));
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3, 4]);
}

#[tokio::test]
async fn a_broken_price_sheet_is_refused_with_every_fault() {
    let world = world().await;
    let manager = world.manager().await;
    let mut rules = flat(5_000);
    rules["pricing"]["bands"]["bands"][0]["from"] = "01:00".into();
    rules["pricing"]["bands"]["ladders"][0]["steps"][0]["price_vnd"] = (-1).into();
    let body = json!({"code": "hong", "name": "Hỏng", "starts_on": world.day(0), "rules": rules});
    let refused = manager.post("/v1/operator/tariffs").json(body).send().await;
    let refused = refused.expect_problem(422, "validation_failed");
    let fields: Vec<_> =
        refused.json["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert!(fields.contains(&"rules.pricing.bands.bands".into()), "{fields:?}");
    let price = "rules.pricing.bands.ladders[0].steps[0].price_vnd";
    assert!(fields.contains(&price.into()), "{fields:?}");
    for broken in [
        json!({}),
        json!({"pricing": {"bands": {"bands": []}}, "cap": 1}),
        json!({"pricing": {"bands": {"bands": [{"from": "25:00"}]}}}),
        json!([]),
    ] {
        let body =
            json!({"code": "hong", "name": "Hỏng", "starts_on": world.day(0), "rules": broken});
        let refused = manager.post("/v1/operator/tariffs").json(body).send().await;
        refused.expect_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn rules_that_would_reward_splitting_need_a_reentry_time() {
    let world = world().await;
    let manager = world.manager().await;
    let mut rules = flat(5_000);
    rules["grace_minutes"] = 10.into();
    let dry_run = |rules: Value| {
        let (start, end) = (world.morning(), world.morning() + SignedDuration::from_hours(3));
        let body = json!({"rules": rules, "start": start, "end": end});
        manager.post("/v1/operator/tariffs/preview").json(body).send()
    };
    let refused = dry_run(rules.clone()).await.expect_problem(422, "validation_failed");
    assert_eq!(refused.json["errors"][0]["field"], "rules.reentry_minutes");
    rules["reentry_minutes"] = 15.into();
    assert_eq!(dry_run(rules.clone()).await.expect(200).int("amount_vnd"), 15_000);
    rules["caps"] = json!([{"scope": "per_24h", "amount_vnd": 12_000, "label": "Trần ngày"}]);
    let capped = dry_run(rules).await.expect(200);
    assert_eq!(capped.int("amount_vnd"), 12_000);
    assert_eq!(capped.json["notes"], json!(["capped"]));
}

#[tokio::test]
async fn operators_see_and_change_only_their_own_tariffs_and_lots() {
    let world = world().await;
    let manager = world.manager().await;
    let other = world.app.manager(world.app.operator().await).await;
    let id = create(&manager, tariff("cua-minh", &world.day(0), 5_000)).await;
    let theirs = format!("/v1/operator/tariffs/{id}");
    other.get(&theirs).send().await.expect_problem(404, "not_found");
    let version = json!({"starts_on": world.day(1), "rules": flat(1_000)});
    let versions = format!("{theirs}/versions");
    other.post(&versions).json(version).send().await.expect_problem(404, "not_found");
    let lot = format!("/v1/operator/lots/{}/tariffs/car", world.lot);
    let set = json!({"tariff_id": id});
    other.put(&lot).json(set).send().await.expect_problem(404, "not_found");
    let own = create(&other, tariff("cua-minh", &world.day(0), 5_000)).await;
    let foreign = manager.put(&lot).json(json!({"tariff_id": own})).send().await;
    foreign.expect_problem(422, "validation_failed");
    let twice = manager.post("/v1/operator/tariffs").json(tariff("cua-minh", &world.day(0), 1));
    twice.send().await.expect_problem(409, "conflict");
    let attendant = world.app.attendant(world.operator).await;
    attendant.get("/v1/operator/tariffs").send().await.expect_problem(403, "forbidden");
    let list = other.get("/v1/operator/tariffs?limit=1").send().await.expect(200);
    assert_eq!(list.json["items"].as_array().unwrap().len(), 1);
    assert_eq!(list.json["items"][0]["id"], own);
    assert_eq!(list.json["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_list_of_tariffs_goes_on_where_the_last_page_ended() {
    let world = world().await;
    let manager = world.manager().await;
    let mut made = Vec::new();
    for number in 0..3 {
        made.push(create(&manager, tariff(&format!("gia-{number}"), &world.day(0), 5_000)).await);
    }
    let first = manager.get("/v1/operator/tariffs?limit=2").send().await.expect(200);
    let next = format!("/v1/operator/tariffs?limit=2&cursor={}", first.str("next_cursor"));
    let second = manager.get(&next).send().await.expect(200);
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([ids(&first.json), ids(&second.json)].concat(), made);
}

#[tokio::test]
async fn a_second_server_prices_by_a_changed_tariff_soon() {
    let world = world().await;
    let manager = world.manager().await;
    let book = TariffBook::start(&world.app.app).await;
    let id = create(&manager, tariff("moi", &world.day(0), 3_000)).await;
    let lot = format!("/v1/operator/lots/{}/tariffs/car", world.lot);
    manager.put(&lot).json(json!({"tariff_id": id})).send().await.expect(200);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let holds = book.at_lot(world.lot, VehicleClass::Car, world.app.app.now());
        if holds.is_some_and(|version| version.tariff_id.to_string() == id) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the book of another server stayed old");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
