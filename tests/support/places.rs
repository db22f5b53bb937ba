//! Lots with spaces and prices, and drivers with cars by the hundred, entered past the front door.

use std::time::Duration;

use iparking::kernel::clock::hanoi;
use iparking::kernel::ids::{LotId, OperatorId, TariffVersionId, VehicleId};
use jiff::civil::Time;
use serde_json::Value;
use sqlx::Executor;
use uuid::Uuid;

use super::actors::{Driver, random_plate};
use super::app::TestApp;

const SEED: &str = include_str!("../../seed/tariffs.json");

/// What a test lot is like.
#[derive(Clone, Debug)]
pub struct Place {
    /// Spaces by class.
    pub spaces: Vec<(&'static str, i32)>,
    /// Code of the seed tariff that all classes cost.
    pub tariff: &'static str,
    pub sale_mode: &'static str,
    pub forgotten_stop_minutes: i32,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            spaces: vec![("car", 10)],
            tariff: "hanoi-iparking-car",
            sale_mode: "pay_on_exit",
            forgotten_stop_minutes: 1_440,
        }
    }
}

impl Place {
    /// A lot for so many cars.
    pub fn for_cars(capacity: i32) -> Place {
        Place { spaces: vec![("car", capacity)], ..Place::default() }
    }
}

/// One row of `lot_capacity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub capacity: i32,
    pub held: i32,
    pub in_use: i32,
}

impl TestApp {
    /// A new lot, open day and night.
    pub async fn lot(&self, operator: OperatorId, place: &Place) -> LotId {
        let id = self.app.new_id::<LotId>();
        let tariff = self.seed_tariff(place.tariff).await;
        sqlx::query(
            "insert into lots (id, code, operator_id, name, address, lat, lng, kind, sale_mode, \
             forgotten_stop_minutes, capacity_source, created_at, updated_at) \
             values ($1, $2, $3, 'Bãi thử', '1 Tràng Thi', 21.0287, 105.8524, 'on_street', $4, \
             $5, 'stated', now(), now())",
        )
        .bind(id.get())
        .bind(format!("T-{:X}", rand::random::<u64>()))
        .bind(operator.get())
        .bind(place.sale_mode)
        .bind(place.forgotten_stop_minutes)
        .execute(self.pool())
        .await
        .unwrap();
        for (class, capacity) in &place.spaces {
            sqlx::query(
                "insert into lot_capacity (lot_id, vehicle_class, capacity) values ($1, $2, $3)",
            )
            .bind(id.get())
            .bind(class)
            .bind(capacity)
            .execute(self.pool())
            .await
            .unwrap();
            sqlx::query(
                "insert into tariff_assignments (id, lot_id, vehicle_class, tariff_id, valid_from) \
                 values ($1, $2, $3, $4, '2018-01-01')",
            )
            .bind(self.app.new_id::<Uuid>())
            .bind(id.get())
            .bind(class)
            .bind(tariff)
            .execute(self.pool())
            .await
            .unwrap();
        }
        id
    }

    /// A new lot of a new operator for so many cars.
    pub async fn car_lot(&self, capacity: i32) -> LotId {
        let operator = self.operator().await;
        self.lot(operator, &Place::for_cars(capacity)).await
    }

    /// The city's tariff of this code, entered once.
    async fn seed_tariff(&self, code: &str) -> Uuid {
        let seed: Value = serde_json::from_str(SEED).unwrap();
        let tariffs = seed["tariffs"].as_array().unwrap();
        let rules = &tariffs.iter().find(|tariff| tariff["code"] == code).unwrap()["rules"];
        let known: Option<Uuid> =
            sqlx::query_scalar("select id from tariffs where operator_id is null and code = $1")
                .bind(code)
                .fetch_optional(self.pool())
                .await
                .unwrap();
        if let Some(known) = known {
            return known;
        }
        let id = self.app.new_id::<Uuid>();
        sqlx::query(
            "insert into tariffs (id, operator_id, code, name, created_at) \
             values ($1, null, $2, $2, now())",
        )
        .bind(id)
        .bind(code)
        .execute(self.pool())
        .await
        .unwrap();
        sqlx::query(
            "insert into tariff_versions (id, tariff_id, version, starts_on, rules, created_at) \
             values ($1, $2, 1, '2018-01-01', $3, now())",
        )
        .bind(self.app.new_id::<TariffVersionId>().get())
        .bind(id)
        .bind(rules)
        .execute(self.pool())
        .await
        .unwrap();
        id
    }

    /// So many drivers, each with a car.
    pub async fn drivers_with_cars(&self, count: usize) -> Vec<(Driver, VehicleId)> {
        let mut drivers = Vec::with_capacity(count);
        for _ in 0..count {
            let driver = self.driver().await;
            let vehicle = self.car_of(&driver).await;
            drivers.push((driver, vehicle));
        }
        drivers
    }

    /// A new car of this driver.
    pub async fn car_of(&self, driver: &Driver) -> VehicleId {
        let id = self.app.new_id::<VehicleId>();
        let plate = random_plate();
        sqlx::query(
            "insert into vehicles (id, driver_id, plate, plate_key, vehicle_class, created_at) \
             values ($1, $2, $3, $4, 'car', now())",
        )
        .bind(id.get())
        .bind(driver.id.get())
        .bind(&plate)
        .bind(plate.replace(['-', '.'], ""))
        .execute(self.pool())
        .await
        .unwrap();
        id
    }

    /// The capacity row of a lot's cars.
    pub async fn counts(&self, lot: LotId) -> Counts {
        let (capacity, held, in_use) = sqlx::query_as(
            "select capacity, held, in_use from lot_capacity \
             where lot_id = $1 and vehicle_class = 'car'",
        )
        .bind(lot.get())
        .fetch_one(self.pool())
        .await
        .unwrap();
        Counts { capacity, held, in_use }
    }

    /// Runs one statement.
    pub async fn sql(&self, statement: &'static str) {
        self.pool().execute(statement).await.unwrap();
    }

    /// Moves the clock forward to the next time that it is so late in Hanoi.
    pub fn advance_to_hanoi(&self, time: Time) {
        let now = self.app.now().to_zoned(hanoi());
        let today = now.date().to_datetime(time).to_zoned(hanoi()).unwrap();
        let next = if today > now { today } else { today.tomorrow().unwrap() };
        let wait = now.timestamp().duration_until(next.timestamp());
        self.advance(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap()));
    }
}
