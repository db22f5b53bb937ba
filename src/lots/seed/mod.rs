//! Seeding: the 119 real places, their zones and the printed tariffs, with illustrative operators.
//!
//! Running it again adds what is missing and changes nothing that is there, so an operator's own
//! changes stay. It is the one place that writes several domains' tables, all in one transaction.

mod places;
mod store;
mod zones;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::kernel::ids::{LotId, OperatorId};
use crate::lots::{self, LotError};
use crate::platform::App;
use crate::platform::db::DbError;
use places::{OPERATORS, SeedLot};
use store::Seeder;
use zones::{PublicPlaces, ZoneFile};

/// Why seeding failed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The list of places is damaged.
    #[error("the list of places cannot be read")]
    Csv(#[from] csv::Error),
    /// Zones or tariffs are damaged.
    #[error("zones or tariffs cannot be read")]
    Json(#[source] serde_json::Error),
    /// Something in the data that cannot be.
    #[error("the seed data has {0}")]
    Data(&'static str),
    /// The database.
    #[error("seeding failed at the database")]
    Db(#[from] DbError),
    /// A lot was refused.
    #[error("a lot could not be entered")]
    Lot(#[from] LotError),
}

impl From<sqlx::Error> for SeedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Enters what is missing, in one transaction; gives the number of lots that were added.
///
/// # Errors
/// When the database fails or the data that was built in is damaged.
pub async fn seed(app: &App) -> Result<usize, SeedError> {
    let mut tx = app.db().pool().begin().await?;
    let mut seeder = Seeder::new(app, &mut tx);
    seeder.lock().await?;

    let mut operators = BTreeMap::new();
    for operator in OPERATORS {
        let id = seeder.operator(&operator).await?;
        operators.insert(operator.code, (id, seeder.permit(&operator, id).await?));
    }
    let mut tariffs = BTreeMap::new();
    for tariff in zones::tariffs()? {
        let id = seeder.tariff(&tariff).await?;
        tariffs.insert(tariff.code, id);
    }
    let zones = ZoneFile::read()?;
    let mut zone_ids = BTreeMap::new();
    for zone in &zones.zones {
        let id = seeder.zone(zone).await?;
        for (class, code) in &zone.tariffs {
            let tariff = tariffs.get(code).ok_or(SeedError::Data("an unknown tariff"))?;
            seeder.assign_to_zone(id, *class, *tariff, zone.valid_from).await?;
        }
        zone_ids.insert(zone.code.as_str(), id);
    }
    let mut added = 0;
    for lot in places::lots()? {
        let owner = operators.get(lot.operator).ok_or(SeedError::Data("an unknown operator"))?;
        let Some(id) = add_lot(&mut seeder, *owner, &lot).await? else { continue };
        added += 1;
        let zone = zones.zone_of(lot.lot.at)?;
        let zone_id = zone_ids.get(zone.code.as_str()).ok_or(SeedError::Data("a lost zone"))?;
        seeder.put_into_zone(id, *zone_id, zone.valid_from).await?;
        if zones.public_places.includes(&lot.lot.name) {
            let from = zone.valid_from;
            add_public_prices(&mut seeder, &zones.public_places, id, &tariffs, from).await?;
        }
    }
    tx.commit().await?;
    Ok(added)
}

/// Enters a lot with its hours and capacities; `None` if its code is there already.
async fn add_lot(
    seeder: &mut Seeder<'_>,
    (operator, permit): (OperatorId, Uuid),
    lot: &SeedLot,
) -> Result<Option<LotId>, SeedError> {
    if seeder.has_lot(lot.lot.code.as_str()).await? {
        return Ok(None);
    }
    let id = seeder.app.new_id::<LotId>();
    let now = seeder.app.now();
    lots::store::insert(seeder.conn, operator, id, &lot.lot, now).await?;
    lots::store::set_hours(seeder.conn, operator, id, &lot.hours, now).await?;
    seeder.set_permit(id, permit).await?;
    for (class, capacity) in &lot.capacity {
        lots::store::set_capacity(seeder.conn, id, *class, *capacity).await?;
    }
    Ok(Some(id))
}

async fn add_public_prices(
    seeder: &mut Seeder<'_>,
    public: &PublicPlaces,
    lot: LotId,
    tariffs: &BTreeMap<String, Uuid>,
    from: jiff::civil::Date,
) -> Result<(), SeedError> {
    for (class, code) in &public.tariffs {
        let tariff = tariffs.get(code).ok_or(SeedError::Data("an unknown tariff"))?;
        seeder.assign_to_lot(lot, *class, *tariff, from).await?;
    }
    Ok(())
}
