//! The audit itself: sound rows have no break, and each invariant catches its planted fault.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "support/db.rs"]
#[allow(dead_code, unreachable_pub)]
mod db;

use std::collections::BTreeSet;
use std::sync::Arc;

use db::TestDb;
use iparking::audit::outside::{BookLine, Books};
use iparking::audit::{self, Report};
use iparking::in_tx;
use iparking::kernel::clock::SystemClock;
use iparking::platform::App;
use iparking::platform::audit_trail;
use iparking::platform::config::{Config, DatabaseConfig};
use iparking::platform::db::{Db, DbError};
use rand::SeedableRng;
use sqlx::{AssertSqlSafe, Executor};

const SOUND: &str = include_str!("fixtures/audit/sound.sql");

struct World {
    app: App,
    _db: TestDb,
}

impl World {
    async fn sound() -> World {
        let db = TestDb::create().await;
        let config = Config { database: DatabaseConfig::at(&db.url()), ..Config::default() };
        let database = Db::new(&config.database).unwrap();
        let rng = rand::rngs::StdRng::seed_from_u64(7);
        let app = App::new(config, database, Arc::new(SystemClock), rng);
        app.db().pool().execute(SOUND).await.expect("the sound world");
        for subject in ["a", "b", "c"] {
            let now = app.now();
            let written: Result<(), DbError> = in_tx!(app.db(), "test.trail", |tx| {
                audit_trail::record(tx, now, "staff:1", "sessions.search_by_plate", subject).await
            });
            written.unwrap();
        }
        World { app, _db: db }
    }

    /// Breaks something that the database itself would refuse: with triggers and foreign keys
    /// off, as only a superuser can.
    async fn plant(&self, fault: &str) {
        let mut conn = self.app.db().pool().acquire().await.unwrap();
        let script = format!(
            "set session_replication_role = replica;\n{fault};\nreset session_replication_role;"
        );
        (&mut *conn).execute(AssertSqlSafe(script)).await.expect("the fault is planted");
    }

    async fn audit(&self) -> Report {
        audit::database(&self.app).await.expect("the audit runs")
    }
}

fn broken(report: &Report) -> BTreeSet<&str> {
    report.breaks.iter().map(|found| found.invariant.as_str()).collect()
}

/// Each invariant with a fault that it must catch. Faults touch one row where they can; some
/// break a neighbour's invariant as well.
const PLANTS: &[(&str, &str)] = &[
    (
        "I01",
        "update ledger_entries set amount_vnd = 24999 where transfer_id::text like '%901' and amount_vnd > 0",
    ),
    ("I02", "delete from ledger_entries where transfer_id::text like '%901' and amount_vnd < 0"),
    (
        "I03",
        "update ledger_entries set amount_vnd = amount_vnd + 1 where id = (select min(id) from ledger_entries)",
    ),
    (
        "I04",
        "delete from ledger_entries where transfer_id::text like '%903'; delete from ledger_transfers where id::text like '%903'",
    ),
    (
        "I05",
        "update payments set settled_at = null, status = 'failed' where merchant_ref = 'REF00000001'",
    ),
    ("I06", "update payments set amount_vnd = 26000 where merchant_ref = 'REF00000001'"),
    (
        "I09",
        "drop index payments_one_pending; update payments set parking_session_id = '00000000-0000-7000-8000-000000000303', status = 'pending' where merchant_ref = 'REF00000001'",
    ),
    ("I10", "update parking_sessions set fare_vnd = 20000 where id::text like '%302'"),
    ("I11", "update parking_sessions set paid_vnd = 0 where id::text like '%302'"),
    (
        "I12",
        "update provider_messages set verdict = null, received_at = now() - interval '2 minutes' where id::text like '%801'",
    ),
    (
        "I13",
        "update provider_messages set payment_id = '00000000-0000-7000-8000-000000000501' where id::text like '%802'",
    ),
    (
        "I14",
        "alter table lot_capacity drop constraint lot_capacity_not_promised_twice; update lot_capacity set held = 9",
    ),
    ("I15", "update lot_capacity set held = held - 1"),
    (
        "I16",
        "drop index parking_sessions_one_open; update parking_sessions set status = 'active', ended_at = null, plate_key = '30A12342' where id::text like '%302'",
    ),
    (
        "I17",
        "update reservations set expires_at = now() - interval '1 minute' where status = 'held'",
    ),
    (
        "I18",
        "update lot_capacity set observed_at = observed_at - interval '1 minute', observed = 0",
    ),
    ("I19", "update payments set expires_at = now() - interval '1 hour' where status = 'pending'"),
    (
        "I20",
        "update refunds set created_at = now() - interval '25 hours' where status = 'accepted'",
    ),
    ("I21", "update jobs set run_at = now() - interval '2 minutes'"),
    ("I21", "update jobs set dead_at = now()"),
    ("I22", "delete from jobs"),
    ("I23", "update idempotency_keys set status = 0"),
    ("I24", "update audit_log set subject = 'x' where id = (select min(id) from audit_log)"),
    ("I24", "delete from audit_log where id = (select min(id) + 1 from audit_log)"),
    ("A01", "update session_charges set amount_vnd = 24000 where id::text like '%402'"),
    ("A02", "update ledger_transfers set source_id = gen_random_uuid() where id::text like '%902'"),
    (
        "A03",
        "update ledger_entries set account_code = 'bank' where transfer_id::text like '%902' and amount_vnd > 0",
    ),
    ("A04", "update payments set refunded_vnd = 0 where merchant_ref = 'REF00000002'"),
    ("A05", "update reservations set vehicle_id = gen_random_uuid() where status = 'held'"),
    ("A06", "update parking_sessions set reservation_id = null where id::text like '%301'"),
];

#[tokio::test(flavor = "multi_thread")]
async fn sound_rows_have_no_break() {
    let world = World::sound().await;
    let report = world.audit().await;
    assert!(report.is_clean(), "{:#?}", report.breaks);
    assert_eq!(report.checked, audit::CHECKS.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invariant_catches_its_planted_fault() {
    for (invariant, fault) in PLANTS {
        let world = World::sound().await;
        world.plant(fault).await;
        let report = world.audit().await;
        assert!(broken(&report).contains(invariant), "{invariant} missed: {fault}\n{report:#?}");
    }
}

#[test]
fn no_invariant_is_without_a_planted_fault() {
    let planted: BTreeSet<&str> = PLANTS.iter().map(|(invariant, _)| *invariant).collect();
    for check in audit::CHECKS {
        assert!(planted.contains(check.invariant), "nothing shows that {} works", check.invariant);
    }
}

fn line(merchant_ref: &str, kind: &str, amount_vnd: i64, state: &str) -> BookLine {
    BookLine {
        merchant_ref: merchant_ref.into(),
        kind: kind.into(),
        amount_vnd,
        state: state.into(),
    }
}

fn true_books() -> Vec<BookLine> {
    vec![
        line("REF00000001", "payment", 25_000, "paid"),
        line("REF00000002", "payment", 25_000, "paid"),
        line("REF00000002", "refund", 10_000, "done"),
        line("REF00000002", "refund", 15_000, "processing"),
        line("REF00000003", "payment", 50_000, "open"),
    ]
}

async fn compared_with(world: &World, items: Vec<BookLine>) -> Report {
    let mut report = Report::default();
    audit::outside::provider(&world.app, "vnpay", &Books { items }, &mut report).await.unwrap();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_own_books_are_compared_payment_by_payment() {
    let world = World::sound().await;
    let same = compared_with(&world, true_books()).await;
    assert!(same.is_clean(), "{:#?}", same.breaks);

    let mut lost_money = true_books();
    lost_money.push(line("NEVERHEARDOF", "payment", 25_000, "paid"));
    assert_eq!(broken(&compared_with(&world, lost_money).await), BTreeSet::from(["I07"]));

    let mut never_taken = true_books();
    never_taken.remove(0);
    assert_eq!(broken(&compared_with(&world, never_taken).await), BTreeSet::from(["I08"]));

    let mut refunded_twice = true_books();
    refunded_twice.push(line("REF00000002", "refund", 10_000, "done"));
    assert_eq!(broken(&compared_with(&world, refunded_twice).await), BTreeSet::from(["I08"]));

    let mut unseen_capture = true_books();
    unseen_capture[4].state = "paid".into();
    assert_eq!(broken(&compared_with(&world, unseen_capture).await), BTreeSet::from(["I08"]));
}
