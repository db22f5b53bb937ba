//! Search, lists and details, through HTTP.

use iparking::kernel::geo::LatLng;
use iparking::kernel::vehicle::VehicleClass;
use iparking::lots::Feature;
use iparking::platform::config::RedisConfig;
use serde_json::Value;

use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::lots::{LAKE, eventually, known, new_lot};

/// The real lots, loaded by the server.
async fn seeded() -> TestApp {
    let app = TestApp::start().await;
    iparking::lots::seed::seed(&app.app).await.unwrap();
    let all = || app.client.get("/v1/lots?limit=100").send();
    let loaded = |answer: &Answer| {
        answer.json["items"].as_array().is_some_and(|items| {
            items.len() == 100 && items.iter().all(|lot| lot["capacities"] != Value::Array(vec![]))
        })
    };
    eventually("the real lots are loaded", all, loaded).await;
    app
}

fn items(answer: &Answer) -> &Vec<Value> {
    answer.json["items"].as_array().unwrap()
}

fn codes(answer: &Answer) -> Vec<&str> {
    items(answer).iter().map(|lot| lot["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn around_the_lake_the_real_lots_come_in_their_true_order_with_prices() {
    let app = seeded().await;
    let path = "/v1/lots/search?lat=21.0287&lng=105.8524&radius_m=1500&limit=50&stay_minutes=120";
    let priced = |answer: &Answer| items(answer).iter().any(|lot| !lot["quote"].is_null());
    let answer = eventually("prices", || app.client.get(path).send(), priced).await.expect(200);

    let rows: Vec<(String, f64, f64)> = sqlx::query_as(
        "select code, lat, lng from lots l where exists \
         (select from lot_capacity c where c.lot_id = l.id and c.vehicle_class = 'car') order by id",
    )
    .fetch_all(app.pool())
    .await
    .unwrap();
    let lake = LatLng::new(LAKE.0, LAKE.1).unwrap();
    let mut near: Vec<(f64, String)> = rows
        .into_iter()
        .map(|(code, lat, lng)| (lake.distance_m(LatLng::new(lat, lng).unwrap()), code))
        .filter(|(distance, _)| *distance <= 1_500.0)
        .collect();
    near.sort_by(|a, b| a.0.total_cmp(&b.0));
    near.truncate(50);
    assert!(near.len() >= 5, "few lots near the lake: {near:?}");
    assert_eq!(codes(&answer), near.iter().map(|(_, code)| code.as_str()).collect::<Vec<_>>());
    for (lot, (distance, _)) in items(&answer).iter().zip(&near) {
        assert_eq!(lot["distance_m"].as_f64().unwrap(), distance.round());
        assert!(lot["quote"]["amount_vnd"].as_i64().unwrap() > 0, "{lot}");
        assert_eq!(lot["confidence"], "unknown");
    }
}

#[tokio::test]
async fn cheapest_and_best_weigh_price_and_way() {
    let app = seeded().await;
    let path = |sort: &str| {
        format!(
            "/v1/lots/search?lat=21.0287&lng=105.8524&radius_m=5000&limit=50&stay_minutes=180&sort={sort}"
        )
    };
    let priced = |answer: &Answer| items(answer).iter().any(|lot| !lot["quote"].is_null());
    let cheapest = path("cheapest");
    let answer = eventually("prices", || app.client.get(&cheapest).send(), priced).await;
    let keys: Vec<(i64, i64)> = items(&answer)
        .iter()
        .map(|lot| {
            let amount = lot["quote"]["amount_vnd"].as_i64().unwrap_or(i64::MAX);
            (amount, lot["distance_m"].as_i64().unwrap())
        })
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");

    let answer = app.client.get(&path("best")).send().await.expect(200);
    let burdens: Vec<i64> = items(&answer)
        .iter()
        .filter_map(|lot| {
            let walk = lot["distance_m"].as_i64().unwrap() * 1_300 / 80;
            lot["quote"]["amount_vnd"].as_i64().map(|amount| amount + walk)
        })
        .collect();
    assert!(burdens.len() > 3 && burdens.is_sorted(), "{burdens:?}");

    let most = keys[0].0;
    let path = format!("{}&max_price_vnd={most}", path("nearest"));
    let answer = app.client.get(&path).send().await.expect(200);
    assert!(!items(&answer).is_empty());
    assert!(items(&answer).iter().all(|lot| lot["quote"]["amount_vnd"] == most));
}

#[tokio::test]
async fn names_are_found_with_and_without_diacritics() {
    let app = seeded().await;
    let plain = app.client.get("/v1/lots?q=tran+dai+nghia").send().await.expect(200);
    let marked = "/v1/lots?q=TR%E1%BA%A6N%20%C4%90%E1%BA%A0I%20NGH%C4%A8A";
    let marked = app.client.get(marked).send().await.expect(200);
    assert!(!items(&plain).is_empty());
    assert_eq!(codes(&plain), codes(&marked));
    assert!(items(&plain).iter().all(|lot| {
        format!("{} {}", lot["name"], lot["address"]).contains("Trần Đại Nghĩa")
    }));
    let code = codes(&plain)[0];
    let by_code = app.client.get(&format!("/v1/lots?q={code}")).send().await.expect(200);
    assert_eq!(codes(&by_code)[0], code);
    let none = app.client.get("/v1/lots?q=khong+co+dau+ca").send().await.expect(200);
    assert!(items(&none).is_empty());
    app.client.get("/v1/lots?q=").send().await.expect_problem(422, "validation_failed");
}

#[tokio::test]
async fn pages_give_every_lot_once() {
    let app = seeded().await;
    for question in ["", "&q=pho"] {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/lots?limit=7{question}{cursor}");
            let answer = app.client.get(&path).send().await.expect(200);
            seen.extend(codes(&answer).iter().map(ToString::to_string));
            match answer.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len());
        assert!(if question.is_empty() { seen.len() == 119 } else { seen.len() > 7 });
    }
    let answer = app.client.get("/v1/lots?cursor=AAAA").send().await;
    answer.expect_problem(422, "validation_failed");
}

#[tokio::test]
async fn one_lot_is_told_in_full_and_unknown_ones_are_not_found() {
    let app = seeded().await;
    let list = app.client.get("/v1/lots?q=tran+dai+nghia").send().await.expect(200);
    let id = items(&list)[0]["id"].as_str().unwrap();
    let lot = app.client.get(&format!("/v1/lots/{id}")).send().await.expect(200);
    assert_eq!(lot.json["code"], items(&list)[0]["code"]);
    assert_eq!(lot.json["open_now"], true);
    assert!(!lot.json["operator"]["name"].as_str().unwrap().is_empty());
    assert!(!lot.json["tariffs"].as_array().unwrap().is_empty());
    let absent = "/v1/lots/0193a5c2-6d00-7a10-8c3e-2b9f4d5e6a71";
    app.client.get(absent).send().await.expect_problem(404, "not_found");
    app.client.get("/v1/lots/nowhere").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn filters_leave_out_what_does_not_fit() {
    let app = TestApp::start().await;
    let operator = app.operator().await;
    let mut roofed = new_lot("ROOF", (21.03, 105.85));
    roofed.features = vec![Feature::Covered, Feature::Cctv];
    let spaces = [(VehicleClass::Car, 5), (VehicleClass::Motorbike, 50)];
    app.enter_lot(operator, &roofed, &spaces).await;
    let full = new_lot("FULL", (21.031, 105.85));
    let full = app.enter_lot(operator, &full, &[(VehicleClass::Car, 0)]).await;
    known(&app.client, full).await;
    let search = |query: &str| {
        app.client.get(&format!("/v1/lots/search?lat=21.03&lng=105.85&radius_m=500{query}")).send()
    };
    for (query, expected) in [
        ("", &["ROOF", "FULL"][..]),
        ("&only_free=true", &["ROOF"]),
        ("&features=cctv,covered", &["ROOF"]),
        ("&features=washing", &[]),
        ("&vehicle_class=motorbike", &["ROOF"]),
        ("&kind=on_street", &[]),
        ("&kind=off_street&limit=1", &["ROOF"]),
        ("&max_price_vnd=1000000", &[]),
    ] {
        assert_eq!(codes(&search(query).await.expect(200)), expected, "{query}");
    }
    search("&vehicle_class=tank").await.expect_problem(422, "validation_failed");
    search("&radius_m=1").await.expect_problem(422, "validation_failed");
}

#[tokio::test]
async fn a_changed_lot_shows_at_every_server() {
    let app = TestApp::start().await;
    let second = app.second_server().await;
    let operator = app.operator().await;
    let manager = app.manager(operator).await;
    let id = app.lot_of(operator, LAKE, &[(VehicleClass::Car, 5)]).await;
    known(&second, id).await;
    let path = format!("/v1/operator/lots/{id}");
    let change = serde_json::json!({"name": "Bãi mới", "status": "closed"});
    manager.patch(&path).json(change).send().await.expect(200);
    for client in [&app.client, &second] {
        let lot = || client.get(&format!("/v1/lots/{id}")).send();
        let changed =
            |answer: &Answer| answer.json["name"] == "Bãi mới" && answer.json["open_now"] == false;
        eventually("the change shows", lot, changed).await;
    }
}

#[tokio::test]
async fn search_goes_on_without_redis_and_says_that_it_is_stale() {
    let dead = RedisConfig::at("redis://127.0.0.1:9/", "dead:");
    let app = TestApp::start_with(|config| config.redis = dead).await;
    let id = app.lot_at(LAKE, 5).await;
    let search = || app.client.get("/v1/lots/search?lat=21.0287&lng=105.8524").send();
    let answer = search().await.expect(200);
    assert_eq!(answer.json["stale"], true);
    assert_eq!(items(&answer)[0]["free_spaces"], 5);
    // Numbers still arrive, from Postgres.
    sqlx::query("update lot_capacity set in_use = 2, version = version + 1 where lot_id = $1")
        .bind(id.get())
        .execute(app.pool())
        .await
        .unwrap();
    let fewer = |answer: &Answer| items(answer)[0]["free_spaces"] == 3;
    let answer = eventually("numbers from Postgres", search, fewer).await;
    assert_eq!(answer.json["stale"], true);
}
