//! Changes of drivers and vehicles, one transaction each.

use super::store::{self, Involvement};
use super::{Change, DisplayName, DriverError, Locale, NewVehicle, Profile, VEHICLES_MAX, Vehicle};
use crate::auth::Auth;
use crate::kernel::ids::{DriverId, VehicleId};
use crate::platform::App;
use crate::platform::db::DbError;
use crate::{in_tx, on_conn};

/// A driver's profile.
pub async fn profile(app: &App, id: DriverId) -> Result<Profile, DriverError> {
    let found: Result<_, DbError> = on_conn!(app.db(), |conn| store::profile(conn, id).await);
    found?.ok_or(DriverError::Gone)
}

/// Changes what is given and gives the whole profile back.
pub async fn change_profile(
    app: &App,
    id: DriverId,
    name: Change<DisplayName>,
    locale: Option<Locale>,
) -> Result<Profile, DriverError> {
    in_tx!(app.db(), "drivers.change_profile", |tx| {
        store::change_profile(tx, id, &name, locale).await?;
        store::profile(tx, id).await?.ok_or(DriverError::Gone)
    })
}

/// Forgets a driver, unless they are in the middle of something.
pub async fn forget(app: &App, auth: &Auth, id: DriverId) -> Result<(), DriverError> {
    let now = app.now();
    let outcome: Result<_, DriverError> = in_tx!(app.db(), "drivers.forget", |tx| {
        if !store::lock_driver(tx, id).await? {
            return Err(DriverError::Gone);
        }
        match store::involvement(tx, id).await? {
            Involvement { parks: true, .. } => {
                return Err(DriverError::Involved("A parking session is active."));
            }
            Involvement { owes: true, .. } => {
                return Err(DriverError::Involved("A fare is not settled."));
            }
            Involvement { holds: true, .. } => {
                return Err(DriverError::Involved("A hold is live; cancel it first."));
            }
            Involvement { .. } => {}
        }
        Ok(store::forget(tx, id, now).await?)
    });
    auth.ended().learn(outcome?.into_iter().map(|login| (login, now)), now);
    Ok(())
}

/// One page of a driver's vehicles, newest first, and one more row if there are more.
pub async fn vehicles(
    app: &App,
    driver: DriverId,
    before: Option<VehicleId>,
    limit: i64,
) -> Result<Vec<Vehicle>, DriverError> {
    on_conn!(app.db(), |conn| {
        let rows = limit.saturating_add(1);
        store::vehicles(conn, driver, before, rows).await.map_err(DriverError::from)
    })
}

/// Adds a vehicle.
pub async fn add_vehicle(
    app: &App,
    driver: DriverId,
    new: NewVehicle,
) -> Result<Vehicle, DriverError> {
    let now = app.now();
    let id = app.new_id::<VehicleId>();
    let outcome: Result<(), DriverError> = in_tx!(app.db(), "drivers.add_vehicle", |tx| {
        // Locked, so that two parallel additions cannot both be the last allowed one.
        if !store::lock_driver(tx, driver).await? {
            return Err(DriverError::Gone);
        }
        if store::vehicle_count(tx, driver).await? >= VEHICLES_MAX {
            return Err(DriverError::TooManyVehicles);
        }
        if !store::insert_vehicle(tx, id, driver, &new, now).await? {
            return Err(DriverError::VehicleAlreadyThere);
        }
        Ok(())
    });
    outcome?;
    Ok(Vehicle { id, plate: new.plate, vehicle_class: new.key.class(), created_at: now })
}

/// Unlinks a vehicle that is not in use.
pub async fn remove_vehicle(app: &App, driver: DriverId, id: VehicleId) -> Result<(), DriverError> {
    let now = app.now();
    in_tx!(app.db(), "drivers.remove_vehicle", |tx| {
        match store::vehicle_in_use(tx, driver, id).await? {
            None => Err(DriverError::NoSuchVehicle),
            Some(true) => Err(DriverError::VehicleInUse),
            Some(false) => Ok(store::remove_vehicle(tx, id, now).await?),
        }
    })
}
