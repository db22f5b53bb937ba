//! Seeding: the real places come in once, with prices, and an operator's changes stay.

use crate::support::app::TestApp;

async fn count(app: &TestApp, table: &str) -> i64 {
    let question = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(question).fetch_one(app.pool()).await.unwrap()
}

#[tokio::test]
async fn seeding_again_adds_nothing_and_changes_nothing() {
    let app = TestApp::start().await;
    assert_eq!(iparking::lots::seed::seed(&app.app).await.unwrap(), 119);
    sqlx::query("update lots set name = 'Tên mới', hold_minutes = 30 where code = 'HN-003'")
        .execute(app.pool())
        .await
        .unwrap();
    let tables = ["lots", "lot_capacity", "zones", "tariffs", "tariff_versions", "permits"];
    let assigned = ["tariff_assignments", "lot_zones", "operators"];
    let mut before = Vec::new();
    for table in tables.iter().chain(&assigned) {
        before.push(count(&app, table).await);
    }
    assert_eq!(iparking::lots::seed::seed(&app.app).await.unwrap(), 0);
    for (table, before) in tables.iter().chain(&assigned).zip(before) {
        assert_eq!(count(&app, table).await, before, "{table}");
    }
    let name: String = sqlx::query_scalar("select name from lots where code = 'HN-003'")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(name, "Tên mới");
}

#[tokio::test]
async fn every_seeded_lot_has_a_tariff_for_every_class_that_it_takes() {
    let app = TestApp::start().await;
    iparking::lots::seed::seed(&app.app).await.unwrap();
    let without: i64 = sqlx::query_scalar(
        r"
        select count(*)
        from lot_capacity c
        where not exists (
            select from tariff_assignments a
            where a.vehicle_class = c.vehicle_class
                and (a.lot_id = c.lot_id or a.zone_id in (
                    select z.zone_id from lot_zones z where z.lot_id = c.lot_id
                ))
        )
        ",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    assert_eq!(without, 0);
}
