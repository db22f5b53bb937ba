//! Lots for tests, entered past the front door.

use std::future::Future;
use std::time::{Duration, Instant};

use iparking::kernel::geo::LatLng;
use iparking::kernel::ids::{LotId, OperatorId};
use iparking::kernel::vehicle::VehicleClass;
use iparking::lots::{CapacitySource, LotCode, LotKind, NewLot, SaleMode, store};

use super::app::TestApp;
use super::client::{Answer, Client};

/// Hoàn Kiếm lake.
pub const LAKE: (f64, f64) = (21.0287, 105.8524);

/// The most that a test waits for something that must happen: a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A lot to be entered.
pub fn new_lot(code: &str, at: (f64, f64)) -> NewLot {
    NewLot {
        code: LotCode::parse(code).unwrap(),
        name: format!("Bãi xe {code}"),
        address: String::new(),
        at: LatLng::new(at.0, at.1).unwrap(),
        kind: LotKind::OffStreet,
        features: Vec::new(),
        sale_mode: SaleMode::PayOnExit,
        hold_minutes: 15,
        forgotten_stop_minutes: 1_440,
        correction_grace_minutes: 10,
        capacity_source: CapacitySource::Stated,
    }
}

/// Asks again until the answer is as wanted; gives that answer.
pub async fn eventually<T, F: Future<Output = T>>(
    what: &str,
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: still {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl TestApp {
    /// A lot of a new operator with spaces for cars, known to the first server.
    pub async fn lot_at(&self, at: (f64, f64), cars: i32) -> LotId {
        let operator = self.operator().await;
        self.lot_of(operator, at, &[(VehicleClass::Car, cars)]).await
    }

    /// A lot of this operator, known to the first server.
    pub async fn lot_of(
        &self,
        operator: OperatorId,
        at: (f64, f64),
        spaces: &[(VehicleClass, i32)],
    ) -> LotId {
        let code = format!("T-{:016X}", rand::random::<u64>());
        let id = self.enter_lot(operator, &new_lot(&code, at), spaces).await;
        known(&self.client, id).await;
        id
    }

    /// Enters a lot without waiting for any server to know it.
    pub async fn enter_lot(
        &self,
        operator: OperatorId,
        lot: &NewLot,
        spaces: &[(VehicleClass, i32)],
    ) -> LotId {
        let id = self.app.new_id();
        let mut conn = self.pool().begin().await.unwrap();
        store::insert(&mut conn, operator, id, lot, self.app.now()).await.unwrap();
        for (class, capacity) in spaces {
            store::set_capacity(&mut conn, id, *class, *capacity).await.unwrap();
        }
        conn.commit().await.unwrap();
        id
    }
}

/// Waits until a server knows the lot.
pub async fn known(client: &Client, id: LotId) {
    let path = format!("/v1/lots/{id}");
    let has_numbers = |answer: &Answer| {
        answer.status == 200 && answer.json["capacities"][0]["capacity"].is_number()
    };
    eventually("the lot is known", || client.get(&path).send(), has_numbers).await;
}

/// Free spaces for cars, as a server answers.
pub async fn free_cars(client: &Client, id: LotId) -> i64 {
    let answer = client.get(&format!("/v1/lots/{id}")).send().await.expect(200);
    let cars = answer.json["capacities"].as_array().unwrap();
    let car = cars.iter().find(|class| class["vehicle_class"] == "car").unwrap();
    car["free_spaces"].as_i64().unwrap()
}
