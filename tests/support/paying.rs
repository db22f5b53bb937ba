//! A running product with a gateway, drivers whose stays are over, and an audit at the end.

use std::ops::Deref;
use std::time::Duration;

use iparking::in_tx;
use iparking::kernel::ids::{DriverId, PaymentId};
use iparking::kernel::money::{Rate, Vnd};
use iparking::ledger::Transfer;
use iparking::ledger::chart::{Shares, fare_lowered, session_charged};
use iparking::ledger::store;
use iparking::platform::db::DbError;
use serde_json::{Value, json};
use uuid::Uuid;

use super::actors::{Actor, Driver, random_plate};
use super::app::TestApp;
use super::client::Answer;
use super::gateway::{Gateway, ipn_query};

/// A product whose payments go to a gateway of the test.
pub struct Paying {
    pub app: TestApp,
    pub gateway: Gateway,
    lot: Uuid,
    operator: Uuid,
    tariff_version: Uuid,
}

impl Deref for Paying {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// A payment as its driver got it.
#[derive(Clone, Debug)]
pub struct Made {
    pub id: String,
    pub merchant_ref: String,
    pub amount: i64,
    pub session: Uuid,
}

impl Paying {
    pub async fn start() -> Paying {
        let gateway = Gateway::start().await;
        let app = TestApp::start_with(|config| {
            config.payments.vnpay.api_url = gateway.api_url();
            config.outbound.timeout_ms = 1_000;
            config.outbound.breaker_failures = 1_000;
        })
        .await;
        let operator = app.operator().await.get();
        let (lot, tariff, tariff_version) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let run = |statement: &'static str| sqlx::query(statement);
        run("insert into ledger_accounts (code, name, kind, created_at)
             select 'operator_payable:' || code, name, 'liability', now() from operators
             where id = $1 on conflict do nothing")
        .bind(operator)
        .execute(app.pool())
        .await
        .unwrap();
        run("insert into lots (id, code, operator_id, name, address, lat, lng, kind,
                 capacity_source, created_at, updated_at)
             values ($1, 'L-' || upper(left($1::text, 8)), $2, 'Bãi thử', '1 Tràng Tiền', 21.03, 105.85,
                 'on_street', 'stated', now(), now())")
        .bind(lot)
        .bind(operator)
        .execute(app.pool())
        .await
        .unwrap();
        run("insert into tariffs (id, code, name, created_at)
             values ($1, 't-' || left($1::text, 8), 'T', now())")
        .bind(tariff)
        .execute(app.pool())
        .await
        .unwrap();
        run("insert into tariff_versions (id, tariff_id, version, starts_on, rules, created_at)
             values ($1, $2, 1, '2026-01-01', '{}', now())")
        .bind(tariff_version)
        .bind(tariff)
        .execute(app.pool())
        .await
        .unwrap();
        Paying { app, gateway, lot, operator, tariff_version }
    }

    /// A stay of this driver that is over and owes `fare`, with its posting.
    pub async fn stay(&self, driver: DriverId, fare: i64) -> Uuid {
        let (session, charge) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query(
            "insert into parking_sessions (id, lot_id, operator_id, vehicle_class, plate,
                 plate_key, driver_id, status, sale_mode, tariff_version_id, started_at,
                 correctable_until, forgotten_at, ended_at, fare_vnd, vat_rate, city_share_rate,
                 platform_fee_rate)
             values ($1, $2, $3, 'car', $4, replace(replace($4, '-', ''), '.', ''), $5, 'ended',
                 'pay_on_exit', $6, now() - interval '1 hour', now(), now() + interval '1 day',
                 now(), $7, 0.08, 0.3, 0.05)",
        )
        .bind(session)
        .bind(self.lot)
        .bind(self.operator)
        .bind(random_plate())
        .bind(driver.get())
        .bind(self.tariff_version)
        .bind(fare)
        .execute(self.pool())
        .await
        .unwrap();
        sqlx::query(
            "insert into session_charges (id, parking_session_id, kind, amount_vnd, charged_at)
             values ($1, $2, 'stopped', $3, now())",
        )
        .bind(charge)
        .bind(session)
        .bind(fare)
        .execute(self.pool())
        .await
        .unwrap();
        let transfer = session_charged(charge, &self.shares().await, Vnd::new(fare)).unwrap();
        self.post(transfer).await;
        session
    }

    /// What a correction does to a stay's fare.
    pub async fn lower_fare(&self, session: Uuid, from: i64, to: i64) {
        let charge = Uuid::now_v7();
        sqlx::query(
            "with c as (
                 insert into session_charges
                     (id, parking_session_id, kind, amount_vnd, charged_at)
                 values ($1, $2, 'corrected', $3 - $4, now())
             )
             update parking_sessions set fare_vnd = $3 where id = $2",
        )
        .bind(charge)
        .bind(session)
        .bind(to)
        .bind(from)
        .execute(self.pool())
        .await
        .unwrap();
        let shares = self.shares().await;
        let transfer = fare_lowered(charge, &shares, Vnd::new(from), Vnd::new(to)).unwrap();
        self.post(transfer).await;
    }

    async fn shares(&self) -> Shares {
        let code: String = sqlx::query_scalar("select code from operators where id = $1")
            .bind(self.operator)
            .fetch_one(self.pool())
            .await
            .unwrap();
        Shares {
            operator_code: code,
            vat: Rate::percent(8),
            city: Rate::percent(30),
            platform: Rate::percent(5),
        }
    }

    async fn post(&self, transfer: Transfer) {
        let app = &self.app.app;
        let posted: Result<_, DbError> = in_tx!(app.db(), "test.charge", |tx| {
            store::post(app, tx, app.now(), std::slice::from_ref(&transfer)).await
        });
        posted.unwrap();
    }

    /// Asks for a payment of a stay.
    pub async fn try_pay(&self, driver: &Driver, session: Uuid, key: &str) -> Answer {
        driver.post("/v1/payments").key(key).json(pay_body(session)).send().await
    }

    /// A driver's payment of a new stay.
    pub async fn pay(&self, driver: &Driver, fare: i64) -> Made {
        let session = self.stay(driver.id, fare).await;
        self.pay_again(driver, session).await
    }

    /// A further payment of a stay.
    pub async fn pay_again(&self, driver: &Driver, session: Uuid) -> Made {
        let answer = self.try_pay(driver, session, &Uuid::now_v7().to_string()).await.expect(201);
        Made {
            id: answer.str("id").to_owned(),
            merchant_ref: answer.str("merchant_ref").to_owned(),
            amount: answer.int("amount_vnd"),
            session,
        }
    }

    /// Calls our IPN address; the `RspCode`.
    pub async fn ipn(&self, query: &str) -> String {
        let path = format!("/v1/payments/ipn/vnpay?{query}");
        self.client.get(&path).send().await.expect(200).str("RspCode").to_owned()
    }

    /// An IPN about a payment with its own amount.
    pub async fn ipn_of(&self, made: &Made, response: &str, status: &str) -> String {
        self.ipn(&ipn_query(&made.merchant_ref, made.amount, response, status)).await
    }

    /// Pays and has it told: a payment that succeeded, known to the gateway.
    pub async fn paid(&self, driver: &Driver, fare: i64) -> Made {
        let made = self.pay(driver, fare).await;
        self.gateway.order(&made.merchant_ref, made.amount, "00");
        assert_eq!(self.ipn_of(&made, "00", "00").await, "00");
        made
    }

    pub async fn refund(&self, finance: &Actor, made: &Made, amount: Option<i64>) -> Answer {
        let mut body = json!({"reason": "Cổng ra hỏng"});
        if let Some(amount) = amount {
            body["amount_vnd"] = json!(amount);
        }
        let path = format!("/v1/payments/{}/refunds", made.id);
        finance.post(&path).key(&Uuid::now_v7().to_string()).json(body).send().await
    }

    pub async fn status(&self, made: &Made) -> String {
        sqlx::query_scalar("select status from payments where id = $1")
            .bind(made.id.parse::<PaymentId>().unwrap().get())
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// `(status, fare, paid)` of a stay.
    pub async fn session(&self, session: Uuid) -> (String, i64, i64) {
        sqlx::query_as("select status, fare_vnd, paid_vnd from parking_sessions where id = $1")
            .bind(session)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(self.pool()).await.unwrap()
    }

    pub async fn balance(&self, account: &str) -> i64 {
        let sum = "select coalesce(sum(amount_vnd), 0)::bigint from ledger_entries
                   where account_code = $1";
        sqlx::query_scalar(sum).bind(account).fetch_one(self.pool()).await.unwrap()
    }

    /// Runs the jobs of the next seconds, step by step.
    pub async fn go_on(&self, seconds: u64, step: u64) {
        for _ in 0..seconds / step {
            self.advance(Duration::from_secs(step));
            self.run_jobs().await;
        }
    }

    /// The books are sound.
    pub async fn audit(&self) {
        self.run_jobs().await;
        let report = iparking::audit::database(&self.app.app).await.unwrap();
        assert!(report.is_clean(), "{:#?}", report.breaks);
    }
}

pub fn pay_body(session: Uuid) -> Value {
    json!({
        "parking_session_id": session,
        "provider": "vnpay",
        "return_url": "https://app.example.vn/thanh-toan/xong",
    })
}
