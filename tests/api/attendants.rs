//! Staff of operators: stays by plate, and what an operator may see.

use iparking::kernel::ids::LotId;
use serde_json::{Value, json};

use crate::support::actors::Actor;
use crate::support::app::TestApp;
use crate::support::client::Answer;
use crate::support::places::Place;

const SESSIONS: &str = "/v1/parking-sessions";

async fn start(actor: &Actor, key: &str, body: Value) -> Answer {
    actor.post(SESSIONS).key(key).json(body).send().await
}

async fn stop(actor: &Actor, session: &Answer) -> Answer {
    actor.post(&format!("{SESSIONS}/{}/stop", session.str("id"))).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_park_any_plate_at_their_own_lots_and_see_only_those() {
    let app = TestApp::start().await;
    let (operator, rival) = (app.operator().await, app.operator().await);
    let lot = app.lot(operator, &Place::for_cars(9)).await;
    let (attendant, stranger) = (app.attendant(operator).await, app.attendant(rival).await);
    let body = json!({"lot_id": lot, "plate": "30F-254.38", "vehicle_class": "car"});
    start(&stranger, "a", body.clone()).await.expect_problem(404, "not_found");
    let session = start(&attendant, "a", body).await.expect(201);
    let path = format!("{SESSIONS}/{}", session.str("id"));

    stranger.get(&path).send().await.expect_problem(404, "not_found");
    stop(&stranger, &session).await.expect_problem(404, "not_found");
    app.driver().await.get(&path).send().await.expect_problem(404, "not_found");
    app.finance().await.get(&path).send().await.expect_problem(403, "forbidden");
    app.device(operator).await.get(&path).send().await.expect_problem(403, "forbidden");
    let manager = app.manager(operator).await;
    manager.get(&path).send().await.expect(200);
    let own = manager.get(SESSIONS).send().await.expect(200);
    assert_eq!(own.json["items"], json!([]), "the list shows what one started oneself");
    let own = attendant.get(SESSIONS).send().await.expect(200);
    assert_eq!(own.json["items"][0]["id"], session.json["id"]);
    let reservation = json!({"reservation_id": app.app.new_id::<LotId>()});
    start(&attendant, "b", reservation).await.expect_problem(404, "not_found");
    let both = json!({"lot_id": lot, "plate": "30F-254.38", "vehicle_class": "car",
        "vehicle_id": app.app.new_id::<LotId>()});
    start(&attendant, "c", both).await.expect_problem(422, "validation_failed");
    stop(&manager, &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_its_stays_and_looking_up_a_plate_is_recorded() {
    let app = TestApp::start().await;
    let (operator, rival) = (app.operator().await, app.operator().await);
    let lot = app.lot(operator, &Place::for_cars(9)).await;
    let (driver, car) = app.drivers_with_cars(1).await.remove(0);
    let session = start(&driver, "a", json!({"lot_id": lot, "vehicle_id": car})).await.expect(201);
    let manager = app.manager(operator).await;
    let list = "/v1/operator/parking-sessions";
    let recorded = || async {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from audit_log where action = 'parking_sessions.look_up_plate'",
        )
        .fetch_one(app.pool())
        .await
        .unwrap()
    };

    let all = manager.get(list).send().await.expect(200);
    assert_eq!(all.json["items"][0]["id"], session.json["id"]);
    let here = manager.get(&format!("{list}?lot_id={lot}&status=active")).send().await;
    assert_eq!(here.expect(200).json["items"].as_array().unwrap().len(), 1);
    let later = app.app.now() + jiff::SignedDuration::from_mins(1);
    let none = manager.get(&format!("{list}?from={later}")).send().await.expect(200);
    assert_eq!(none.json["items"], json!([]));
    assert_eq!(recorded().await, 0);
    let found = manager.get(&format!("{list}?plate={}", session.str("plate"))).send().await;
    assert_eq!(found.expect(200).json["items"].as_array().unwrap().len(), 1);
    assert_eq!(recorded().await, 1);

    let stranger = app.manager(rival).await;
    let foreign = stranger.get(&format!("{list}?lot_id={lot}")).send().await;
    foreign.expect_problem(404, "not_found");
    let theirs = stranger.get(list).send().await.expect(200);
    assert_eq!(theirs.json["items"], json!([]));
    driver.get(list).send().await.expect_problem(403, "forbidden");
}
