//! Races that naive code loses: the last space, and a hold that ends in the moment its driver
//! arrives. Beside each stands the naive version of the code, which the same check must catch.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use iparking::kernel::ids::{LotId, VehicleId};
use iparking::kernel::vehicle::VehicleClass;
use iparking::lots::capacity::{CapacityRow, Snapshot};
use iparking::occupancy::live;
use iparking::platform::config::RedisConfig;
use iparking::reservations::service::expire_holds;
use serde_json::json;
use sqlx::PgPool;

use crate::support::actors::Driver;
use crate::support::app::TestApp;
use crate::support::client::{Answer, Client};
use crate::support::places::Counts;
use crate::support::redis_server::PrivateRedis;

const DRIVERS: usize = 200;
const SPACES: i32 = 3;

async fn hold(driver: &Driver, lot: LotId, vehicle: VehicleId) -> Answer {
    let body = json!({"lot_id": lot, "vehicle_id": vehicle});
    driver.post("/v1/reservations").key("race").json(body).send().await
}

/// Spaces that are promised beyond those that there are: the check that both versions face.
async fn overbooked(pool: &PgPool, lot: LotId) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from reservations where lot_id = $1 and status = 'held') \
             + (select count(*) from parking_sessions where lot_id = $1 and status = 'active') \
             - (select capacity from lot_capacity where lot_id = $1)",
    )
    .bind(lot.get())
    .fetch_one(pool)
    .await
    .unwrap()
}

/// All drivers at once, half of them at another server; `meanwhile` happens in the middle.
async fn rush(
    lot: LotId,
    drivers: &[(Driver, VehicleId)],
    second: &Client,
    meanwhile: impl Future<Output = ()>,
) -> Vec<Answer> {
    let asked = drivers.iter().enumerate().map(|(n, (driver, car))| async move {
        let driver = if n % 2 == 0 { driver.clone() } else { driver.at(second) };
        hold(&driver, lot, *car).await
    });
    tokio::join!(join_all(asked), meanwhile).0
}

#[track_caller]
fn assert_three_won(answers: &[Answer]) {
    let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let odd = answers.iter().find(|answer| !matches!(answer.status, 201 | 409));
    assert!(odd.is_none(), "{odd:?}");
    assert_eq!((with(201), with(409)), (3, DRIVERS - 3));
    let full = |answer: &&Answer| answer.status == 409;
    assert!(answers.iter().filter(full).all(|answer| answer.str("code") == "lot_full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_drivers_at_two_servers_get_the_last_three_spaces() {
    let app = TestApp::start().await;
    let second = app.second_server().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(DRIVERS).await;
    let answers = rush(lot, &drivers, &second, async {}).await;
    assert_three_won(&answers);
    assert_eq!(overbooked(app.pool(), lot).await, 0);
    // Once more, each with the same key: everyone hears what they heard.
    let again = rush(lot, &drivers, &second, async {}).await;
    for (first, again) in answers.iter().zip(&again) {
        assert_eq!(first.status, again.status);
        assert!(first.status != 201 || first.text == again.text);
    }
    assert_eq!(app.counts(lot).await, Counts { capacity: SPACES, held: SPACES, in_use: 0 });
}

/// Reads, then writes: what everybody writes first.
async fn naive_rush(pool: &PgPool, lot: LotId, drivers: &[(Driver, VehicleId)]) {
    let mut winners = Vec::new();
    for (driver, car) in drivers {
        let free: i64 = sqlx::query_scalar(
            "select capacity - (select count(*) from reservations \
                 where lot_id = $1 and status = 'held') \
             from lot_capacity where lot_id = $1",
        )
        .bind(lot.get())
        .fetch_one(pool)
        .await
        .unwrap();
        if free > 0 {
            winners.push((driver, car));
        }
    }
    for (driver, car) in winners {
        sqlx::query(
            "insert into reservations (id, driver_id, vehicle_id, lot_id, vehicle_class, \
                 created_at, expires_at, idempotency_key, request_hash) \
             values (gen_random_uuid(), $1, $2, $3, 'car', now(), now() + interval '1 hour', \
                 'naive', '')",
        )
        .bind(driver.id.get())
        .bind(car.get())
        .bind(lot.get())
        .execute(pool)
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_naive_last_space_is_promised_to_many() {
    let app = TestApp::start().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(10).await;
    naive_rush(app.pool(), lot, &drivers).await;
    assert!(overbooked(app.pool(), lot).await > 0, "the check must see it");
}

async fn start_on(redis: &PrivateRedis) -> TestApp {
    TestApp::start_with(|config| {
        config.redis = RedisConfig::at(&redis.url(), "race:");
        config.redis.timeout_ms = 150;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_race_ends_the_same_when_redis_is_emptied_in_the_middle() {
    let redis = PrivateRedis::start();
    let app = start_on(&redis).await;
    let second = app.second_server().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(DRIVERS).await;
    let answers = rush(lot, &drivers, &second, async {
        for _ in 0..20 {
            redis.command(&redis::cmd("FLUSHALL")).await;
        }
    })
    .await;
    assert_three_won(&answers);
    assert_eq!(overbooked(app.pool(), lot).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_race_ends_the_same_when_redis_freezes_in_the_middle() {
    let redis = PrivateRedis::start();
    let app = start_on(&redis).await;
    let second = app.second_server().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(DRIVERS).await;
    let answers = rush(lot, &drivers, &second, async { redis.freeze() }).await;
    assert_three_won(&answers);
    // Still frozen: a space that becomes free is found all the same.
    let won = answers.iter().zip(&drivers).find(|(answer, _)| answer.status == 201).unwrap();
    let path = format!("/v1/reservations/{}/cancel", won.0.str("id"));
    won.1.0.post(&path).send().await.expect(200);
    let (late, car) = app.drivers_with_cars(1).await.remove(0);
    assert_held_soon(&late, lot, car).await;
    redis.thaw();
    assert_eq!(overbooked(app.pool(), lot).await, 0);
}

/// Repeats until the space is held. The promise is two seconds; the limit here is generous,
/// because the machine that tests is busy.
async fn assert_held_soon(driver: &Driver, lot: LotId, car: VehicleId) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = hold(driver, lot, car).await;
        if answer.status == 201 {
            return;
        }
        let answer = answer.expect_problem(409, "lot_full");
        assert!(Instant::now() < deadline, "refused for too long: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Has Redis say something else than Postgres, with a version that nothing real reaches.
async fn poison(redis: &PrivateRedis, lot: LotId, capacity: u32, held: u32) {
    let version = 1_000_000;
    let now = Snapshot { capacity, held, in_use: 0, observed: None, version };
    let row = CapacityRow { lot_id: lot, class: VehicleClass::Car, now };
    let mut command = redis::cmd("HSET");
    command.arg(format!("race:occ:{lot}:car")).arg("v").arg(version);
    command.arg("r").arg(live::encode(&row));
    redis.command(&command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_race_ends_the_same_when_redis_shows_a_full_lot_as_empty() {
    let redis = PrivateRedis::start();
    let app = start_on(&redis).await;
    let second = app.second_server().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(DRIVERS).await;
    poison(&redis, lot, 1_000, 0).await;
    let answers = rush(lot, &drivers, &second, poison(&redis, lot, 1_000, 0)).await;
    assert_three_won(&answers);
    assert_eq!(overbooked(app.pool(), lot).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_for_long_because_redis_shows_an_empty_lot_as_full() {
    let redis = PrivateRedis::start();
    let app = start_on(&redis).await;
    let second = app.second_server().await;
    let lot = app.car_lot(SPACES).await;
    let drivers = app.drivers_with_cars(DRIVERS).await;
    poison(&redis, lot, 3, 3).await;
    let answers = rush(lot, &drivers, &second, poison(&redis, lot, 3, 3)).await;
    assert_three_won(&answers);
    assert_eq!(overbooked(app.pool(), lot).await, 0);
    // The lot is full in truth now; one space becomes free and Redis does not hear of it.
    sqlx::query("update lot_capacity set capacity = capacity + 1 where lot_id = $1")
        .bind(lot.get())
        .execute(app.pool())
        .await
        .unwrap();
    poison(&redis, lot, 3, 3).await;
    let (late, car) = app.drivers_with_cars(1).await.remove(0);
    assert_held_soon(&late, lot, car).await;
}

/// Whether a hold was used and expired, or its space counted twice or lost.
async fn both_won(app: &TestApp, lot: LotId, started: bool, status: &str) -> bool {
    let counts = app.counts(lot).await;
    let fits = match (started, status) {
        (true, "used") => (counts.held, counts.in_use) == (0, 1),
        (false, "expired") => (counts.held, counts.in_use) == (0, 0),
        _ => false,
    };
    !fits
}

async fn status_of(app: &TestApp, hold: &str) -> String {
    sqlx::query_scalar("select status from reservations where id = $1::uuid")
        .bind(hold)
        .fetch_one(app.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_who_arrives_as_the_hold_expires_wins_or_loses_but_never_both() {
    let app = TestApp::start_with(|config| config.reservations.expired_per_hour_max = 1_000).await;
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let mut seen = [0, 0];
    for round in 0..60_i64 {
        let key = format!("round-{round}");
        let body = json!({"lot_id": lot, "vehicle_id": car});
        let held = driver.post("/v1/reservations").key(&key).json(body).send().await.expect(201);
        let expires_at: jiff::Timestamp = held.str("expires_at").parse().unwrap();
        // The first rounds are clear-cut, the others fall into the last milliseconds.
        let early = match round {
            0 => 20_000,
            1 => -1_000,
            _ => round % 12 - 2,
        };
        let wait = app.app.now().duration_until(expires_at).as_millis();
        app.clock.advance_ms(i64::try_from(wait).unwrap() - early);
        let arrival = driver
            .post("/v1/parking-sessions")
            .key(&key)
            .json(json!({"reservation_id": held.str("id")}))
            .send();
        let sweep = async {
            for _ in 0..4 {
                expire_holds(&app.app).await.unwrap();
            }
        };
        let (arrived, ()) = tokio::join!(arrival, sweep);
        app.advance(Duration::from_secs(30));
        expire_holds(&app.app).await.unwrap();
        let started = arrived.status == 201;
        let status = status_of(&app, held.str("id")).await;
        assert!(!both_won(&app, lot, started, &status).await, "{status}: {}", arrived.text);
        seen[usize::from(started)] += 1;
        if started {
            let path = format!("/v1/parking-sessions/{}/stop", arrived.str("id"));
            driver.post(&path).send().await.expect(200);
        } else {
            arrived.expect_problem(409, "reservation_expired");
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "both orders: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_naive_arrival_and_expiry_both_win() {
    let app = TestApp::start().await;
    let lot = app.car_lot(1).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let held = hold(&driver, lot, car).await.expect(201);
    // Both read the hold before either writes.
    let seen_by_driver = status_of(&app, held.str("id")).await;
    let seen_by_sweep = status_of(&app, held.str("id")).await;
    let end = |status: &'static str, held: &'static str| {
        let (pool, id) = (app.pool().clone(), driver.id);
        async move {
            sqlx::query(
                "update reservations set status = $1, ended_at = now() where driver_id = $2",
            )
            .bind(status)
            .bind(id.get())
            .execute(&pool)
            .await
            .unwrap();
            sqlx::query(sqlx::AssertSqlSafe(format!("update lot_capacity set {held}")))
                .execute(&pool)
                .await
                .unwrap();
        }
    };
    if seen_by_driver == "held" {
        end("used", "held = greatest(held - 1, 0), in_use = in_use + 1").await;
    }
    if seen_by_sweep == "held" {
        end("expired", "held = greatest(held - 1, 0)").await;
    }
    let status = status_of(&app, held.str("id")).await;
    assert!(both_won(&app, lot, true, &status).await, "the check must see it");
}
