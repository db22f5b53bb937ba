//! Readings, the live picture on several servers, its repair, and the stream of events.

use std::time::{Duration, Instant};

use iparking::kernel::ids::LotId;
use iparking::kernel::vehicle::VehicleClass;
use serde_json::{Value, json};

use crate::support::actors::Actor;
use crate::support::app::TestApp;
use crate::support::client::Client;
use crate::support::lots::{LAKE, PATIENCE, eventually, free_cars, known};

/// A lot with ten spaces for cars and a device of its operator.
async fn lot_with_device(app: &TestApp) -> (LotId, Actor) {
    let operator = app.operator().await;
    let spaces = [(VehicleClass::Car, 10), (VehicleClass::Motorbike, 50)];
    let lot = app.lot_of(operator, LAKE, &spaces).await;
    (lot, app.device(operator).await)
}

/// A reading some seconds ago.
fn reading(app: &TestApp, occupied: i64, sequence: i64, ago_s: i64) -> Value {
    let at = app.app.now() - jiff::SignedDuration::from_secs(ago_s);
    json!({
        "vehicle_class": "car", "occupied": occupied, "observed_at": at.to_string(),
        "device_id": "cam-1", "sequence": sequence,
    })
}

fn path(lot: LotId) -> String {
    format!("/v1/operator/lots/{lot}/occupancy")
}

async fn report(device: &Actor, lot: LotId, readings: &[Value]) -> (i64, i64, i64) {
    let body = json!({ "readings": readings });
    let answer = device.post(&path(lot)).json(body).send().await.expect(202);
    (answer.int("accepted"), answer.int("duplicate"), answer.int("stale"))
}

async fn becomes(client: &Client, lot: LotId, free: i64) {
    eventually("free spaces", || free_cars(client, lot), |now| *now == free).await;
}

/// Writes what nobody should write into Redis.
async fn tamper(app: &TestApp, command: &mut redis::Cmd) {
    let () = app.app.redis().ask(command).await.unwrap();
}

fn hash(app: &TestApp, lot: LotId) -> String {
    app.app.redis().key(&format!("occ:{lot}:car"))
}

async fn row_in_redis(app: &TestApp, lot: LotId) -> Option<String> {
    let mut get = redis::cmd("HGET");
    get.arg(hash(app, lot)).arg("r");
    app.app.redis().ask(&get).await.ok().flatten()
}

#[tokio::test]
async fn a_reading_shows_on_every_server() {
    let app = TestApp::start().await;
    let second = app.second_server().await;
    let (lot, device) = lot_with_device(&app).await;
    known(&second, lot).await;
    assert_eq!(report(&device, lot, &[reading(&app, 7, 1, 5)]).await, (1, 0, 0));
    assert_eq!(free_cars(&app.client, lot).await, 3, "at once where it was reported");
    becomes(&second, lot, 3).await;
    let search = second.get("/v1/lots/search?lat=21.0287&lng=105.8524").send().await.expect(200);
    assert_eq!(search.json["items"][0]["free_spaces"], 3);
    assert_eq!(search.json["items"][0]["confidence"], "live");
    assert_eq!(search.json["stale"], false);
}

#[tokio::test]
async fn repeats_are_free_and_older_readings_change_nothing() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    let first = reading(&app, 4, 10, 60);
    assert_eq!(report(&device, lot, &[first.clone()]).await, (1, 0, 0));
    assert_eq!(report(&device, lot, &[first.clone()]).await, (0, 1, 0));
    assert_eq!(report(&device, lot, &[reading(&app, 9, 11, 120)]).await, (0, 0, 1));
    assert_eq!(free_cars(&app.client, lot).await, 6);
    let mixed =
        [first, reading(&app, 5, 12, 30), reading(&app, 8, 13, 20), reading(&app, 1, 14, 25)];
    assert_eq!(report(&device, lot, &mixed).await, (2, 1, 1));
    assert_eq!(free_cars(&app.client, lot).await, 2);
    let twice = [reading(&app, 3, 15, 10), reading(&app, 3, 15, 10)];
    assert_eq!(report(&device, lot, &twice).await, (1, 1, 0));
}

/// What a device counted over a while, and the order in which several senders deliver it: each
/// reading twice, forwards and backwards, side by side. In the end a sender that was long without
/// a network hands in the oldest reading once more.
fn replay(app: &TestApp) -> (Vec<Vec<Value>>, Value) {
    let readings: Vec<Value> = (0..40).map(|n| reading(app, n % 11, n, 600 - n * 10)).collect();
    let senders = (0..8).map(|sender| {
        let mut part: Vec<Value> = readings.iter().skip(sender % 4).step_by(4).cloned().collect();
        if sender >= 4 {
            part.reverse();
        }
        part
    });
    (senders.collect(), readings[0].clone())
}

/// Free spaces once every reading of [`replay`] has arrived.
const FREE_AFTER_REPLAY: i64 = 10 - 39 % 11;

#[tokio::test]
async fn replays_in_any_order_end_in_the_same_picture() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    let (senders, last) = replay(&app);
    let sending = senders.into_iter().map(|part| {
        let device = device.clone();
        async move {
            let mut new = 0;
            for reading in part {
                let (accepted, _, stale) = report(&device, lot, &[reading]).await;
                new += accepted + stale;
            }
            new
        }
    });
    let new: i64 = futures_util::future::join_all(sending).await.into_iter().sum();
    assert_eq!(new, 40, "each reading is new once");
    assert_eq!(report(&device, lot, &[last]).await, (0, 1, 0));
    assert_eq!(free_cars(&app.client, lot).await, FREE_AFTER_REPLAY);
}

/// The naive version: what arrives is what is. The same replay leaves an old picture behind, so
/// the test above can tell right from wrong.
#[tokio::test]
async fn a_naive_replay_ends_in_an_old_picture() {
    let app = TestApp::start().await;
    let (lot, _device) = lot_with_device(&app).await;
    let (senders, last) = replay(&app);
    let take = |reading: Value| {
        sqlx::query("update lot_capacity set observed = $2, observed_at = now() where lot_id = $1")
            .bind(lot.get())
            .bind(i32::try_from(reading["occupied"].as_i64().unwrap()).unwrap())
            .execute(app.pool())
    };
    let sending = senders.into_iter().map(|part| async move {
        for reading in part {
            take(reading).await.unwrap();
        }
    });
    futures_util::future::join_all(sending).await;
    take(last).await.unwrap();
    let seen: i32 =
        sqlx::query_scalar("select observed from lot_capacity where lot_id = $1 limit 1")
            .bind(lot.get())
            .fetch_one(app.pool())
            .await
            .unwrap();
    assert_ne!(10 - i64::from(seen), FREE_AFTER_REPLAY);
}

#[tokio::test]
async fn one_impossible_reading_refuses_the_whole_report() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    let mut future = reading(&app, 1, 3, -600);
    future["device_id"] = json!("cam-2");
    let readings = [reading(&app, 4, 1, 5), reading(&app, 11, 2, 4), future];
    let answer = device.post(&path(lot)).json(json!({ "readings": readings })).send().await;
    let answer = answer.expect_problem(422, "reading_invalid");
    let fields: Vec<&str> = answer.json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["readings[1].occupied", "readings[2].observed_at"]);
    assert_eq!(free_cars(&app.client, lot).await, 10);
    let none = device.post(&path(lot)).json(json!({ "readings": [] })).send().await;
    none.expect_problem(422, "validation_failed");
    let many: Vec<Value> = (0..501).map(|n| reading(&app, 1, n, 5)).collect();
    let many = device.post(&path(lot)).json(json!({ "readings": many })).send().await;
    many.expect_problem(422, "validation_failed");
    let most: Vec<Value> = (0..500).map(|n| reading(&app, 1, n, 5)).collect();
    assert_eq!(report(&device, lot, &most).await.0, 500);
}

#[tokio::test]
async fn other_operators_lots_are_not_there() {
    let app = TestApp::start().await;
    let (lot, _device) = lot_with_device(&app).await;
    let stranger = app.operator().await;
    let (device, manager) = (app.device(stranger).await, app.manager(stranger).await);
    let body = json!({ "readings": [reading(&app, 4, 1, 5)] });
    device.post(&path(lot)).json(body).send().await.expect_problem(404, "not_found");
    let lots = format!("/v1/operator/lots/{lot}");
    manager.get(&lots).send().await.expect_problem(404, "not_found");
    let change = json!({"name": "Của tôi"});
    manager.patch(&lots).json(change).send().await.expect_problem(404, "not_found");
    let hours = format!("{lots}/opening-hours");
    let always = json!({"always": true});
    manager.put(&hours).json(always).send().await.expect_problem(404, "not_found");
    let capacity = json!({"capacity": 1});
    let spaces = format!("{lots}/capacity/car");
    manager.put(&spaces).json(capacity).send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn an_operator_runs_a_lot_from_its_opening_on() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let manager = app.manager(operator).await;
    let new = json!({
        "code": "TEST-01", "name": "Bãi thử", "location": {"lat": 21.0287, "lng": 105.8524},
        "kind": "off_street", "features": ["covered"],
    });
    let lot = manager.post("/v1/operator/lots").json(new.clone()).send().await.expect(201);
    let id: LotId = lot.str("id").parse().unwrap();
    manager.post("/v1/operator/lots").json(new).send().await.expect_problem(409, "conflict");
    let own = format!("/v1/operator/lots/{id}");
    let spaces = format!("{own}/capacity/car");
    let set = manager.put(&spaces).json(json!({"capacity": 12})).send().await.expect(200);
    assert_eq!(set.int("free_spaces"), 12);
    known(&app.client, id).await;
    assert_eq!(free_cars(&app.client, id).await, 12);
    sqlx::query("update lot_capacity set in_use = 3, version = version + 1 where lot_id = $1")
        .bind(id.get())
        .execute(app.pool())
        .await
        .unwrap();
    let few = manager.put(&spaces).json(json!({"capacity": 2})).send().await;
    few.expect_problem(409, "capacity_in_use");
    let hours = json!({"mon": [["06:00", "22:00"]]});
    manager.put(&format!("{own}/opening-hours")).json(hours).send().await.expect(200);
    let change = json!({"hold_minutes": 20, "features": ["guarded"]});
    let changed = manager.patch(&own).json(change).send().await.expect(200);
    assert_eq!(
        (changed.int("hold_minutes"), &changed.json["features"][0]),
        (20, &json!("guarded"))
    );
    let list = manager.get("/v1/operator/lots").send().await.expect(200);
    assert_eq!(list.json["items"][0]["id"], json!(id));
    assert_eq!(list.json["items"][0]["opening_hours"]["mon"][0], json!(["06:00", "22:00"]));
    for wrong in [json!({}), json!({"name": null}), json!({"name": ""}), json!({"code": "NEW"})] {
        manager.patch(&own).json(wrong).send().await.expect_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn wrong_counts_in_redis_are_put_right() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    report(&device, lot, &[reading(&app, 4, 1, 5)]).await;
    let right = row_in_redis(&app, lot).await.expect("the reading is shown in Redis");
    let wrong = right.replacen("|10|", "|0|", 1).replacen("|3|", "|900|", 1);
    let mut poison = redis::cmd("HSET");
    poison.arg(hash(&app, lot)).arg("v").arg(900).arg("r").arg(&wrong);
    tamper(&app, &mut poison).await;
    let occupancy = iparking::occupancy::service::Occupancy::new(&app.app);
    let key = [(lot, VehicleClass::Car)];
    let repair = iparking::occupancy::repair::compare_and_repair;
    let repaired = repair(&occupancy, &key).await.unwrap();
    assert_eq!(repaired.wrong, 1);
    assert_eq!(row_in_redis(&app, lot).await.unwrap(), right);
    assert_eq!(repair(&occupancy, &key).await.unwrap(), Default::default());

    tamper(&app, redis::cmd("DEL").arg(hash(&app, lot))).await;
    assert_eq!(repair(&occupancy, &key).await.unwrap().missing, 1);
    tamper(&app, redis::cmd("DEL").arg(hash(&app, lot))).await;
    tamper(&app, redis::cmd("SET").arg(hash(&app, lot)).arg("a text")).await;
    assert_eq!(repair(&occupancy, &key).await.unwrap().wrong, 1);
    assert_eq!(row_in_redis(&app, lot).await.unwrap(), right);
}

#[tokio::test]
async fn a_forged_change_in_the_stream_is_noticed_and_undone() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    report(&device, lot, &[reading(&app, 4, 1, 5)]).await;
    becomes(&app.client, lot, 6).await;
    let right = row_in_redis(&app, lot).await.unwrap();
    let mut version = right.split('|').map(ToOwned::to_owned).collect::<Vec<_>>();
    version[2] = "900".into();
    version[3] = "0".into();
    let mut forge = redis::cmd("XADD");
    forge.arg(app.app.redis().key("occupancy")).arg("*").arg("n").arg(999_999);
    forge.arg("r").arg(version.join("|"));
    tamper(&app, &mut forge).await;
    // The next true change shows all the same.
    report(&device, lot, &[reading(&app, 5, 2, 4)]).await;
    becomes(&app.client, lot, 5).await;
}

#[tokio::test]
async fn an_emptied_redis_loses_nothing() {
    let app = TestApp::start().await;
    let second = app.second_server().await;
    let (lot, device) = lot_with_device(&app).await;
    known(&second, lot).await;
    report(&device, lot, &[reading(&app, 4, 1, 5)]).await;
    becomes(&second, lot, 6).await;
    for key in [app.app.redis().key("occupancy"), app.app.redis().key("occupancy:n")] {
        tamper(&app, redis::cmd("DEL").arg(key)).await;
    }
    tamper(&app, redis::cmd("DEL").arg(hash(&app, lot))).await;
    report(&device, lot, &[reading(&app, 8, 2, 4)]).await;
    becomes(&second, lot, 2).await;
    report(&device, lot, &[reading(&app, 9, 3, 3)]).await;
    becomes(&second, lot, 1).await;
}

/// Reads events until `enough` says so.
async fn listen(
    client: &Client,
    query: &str,
    last: Option<&str>,
    enough: impl Fn(&str) -> bool,
) -> String {
    let mut request = reqwest_client().get(format!("{}/v1/lots/events?{query}", client.base));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut text, begun) = (String::new(), Instant::now());
    while !enough(&text) {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let chunk = tokio::time::timeout(left, response.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("not enough events: {text}"));
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    text
}

#[allow(clippy::disallowed_methods)]
fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

fn free_in(events: &str) -> Vec<i64> {
    let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
    let cars = data.filter(|event| event["vehicle_class"] == "car");
    cars.map(|event| event["free_spaces"].as_i64().unwrap()).collect()
}

fn last_id(events: &str) -> String {
    let ids = events.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.last().expect("an id").to_owned()
}

#[tokio::test]
async fn listeners_hear_the_present_then_every_change_and_what_they_missed() {
    let app = TestApp::start().await;
    let (lot, device) = lot_with_device(&app).await;
    let query = format!("ids={lot}");
    let begin = listen(&app.client, &query, None, |text| !free_in(text).is_empty()).await;
    assert_eq!(free_in(&begin)[0], 10);

    let around = "lat=21.0287&lng=105.8524&radius_m=100";
    let (heard, ()) = tokio::join!(
        listen(&app.client, around, None, |text| free_in(text).last() == Some(&3)),
        async {
            for (sequence, occupied) in [(1, 5), (2, 6), (3, 7)] {
                report(&device, lot, &[reading(&app, occupied, sequence, 5 - sequence)]).await;
            }
        }
    );
    let last = last_id(&heard);

    report(&device, lot, &[reading(&app, 8, 4, 1)]).await;
    report(&device, lot, &[reading(&app, 9, 5, 0)]).await;
    let missed =
        listen(&app.client, &query, Some(&last), |text| free_in(text).last() == Some(&1)).await;
    assert_eq!(free_in(&missed), [2, 1], "only what was missed, in order: {missed}");

    // An id of a stream that is no more, as after an old backup of Redis.
    let other = Some("99999999999999-0");
    let present = listen(&app.client, &query, other, |text| !free_in(text).is_empty()).await;
    assert_eq!(free_in(&present)[0], 1, "unknown: the present");
    let nothing = app.client.get("/v1/lots/events").send().await;
    nothing.expect_problem(422, "validation_failed");
}
