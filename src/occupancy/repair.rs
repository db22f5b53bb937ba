//! Puts Redis right: what is missing or behind is written, what is ahead of Postgres (somebody
//! else wrote it, or an old backup came back) is replaced.

use std::time::{Duration, Instant};

use super::live::{self, Stored, Write};
use super::service::Occupancy;
use super::store;
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::on_conn;
use crate::platform::db::DbError;
use crate::platform::redis::RedisDown;

/// How often suspects are compared: a driver must not be refused for a wrong count for longer
/// than two seconds.
const SUSPECTS_EVERY: Duration = Duration::from_millis(700);

/// How often everything is compared, by one server of all.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Rows compared in one go.
const PAGE: usize = 500;

/// What a comparison found and put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Not in Redis.
    pub missing: u64,
    /// Older in Redis.
    pub behind: u64,
    /// Newer than true, or not a row at all.
    pub wrong: u64,
}

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisDown),
    /// Postgres failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Compares suspects often and everything now and then, until the picture is stopped.
pub async fn run(occupancy: Occupancy) {
    let stopped = occupancy.stopped().clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        () = go_round(&occupancy) => {}
    }
}

async fn go_round(occupancy: &Occupancy) {
    let mut swept: Option<Instant> = None;
    loop {
        tokio::time::sleep(SUSPECTS_EVERY).await;
        let suspects = occupancy.take_suspects();
        if let Err(error) = compare_and_repair(occupancy, &suspects).await {
            tracing::debug!(error = %error, "suspects could not be compared");
            occupancy.suspect(suspects);
        }
        if occupancy.is_loaded()
            && swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY)
            && is_our_turn(occupancy).await
        {
            swept = Some(Instant::now());
            sweep(occupancy).await;
        }
    }
}

/// Whether this server sweeps now. Only saves work: two sweeps at once do no harm.
async fn is_our_turn(occupancy: &Occupancy) -> bool {
    let redis = occupancy.app().redis();
    let mut claim = redis::cmd("SET");
    claim.arg(redis.key("occupancy:sweep")).arg(1).arg("NX").arg("PX").arg(25_000);
    redis.ask::<Option<String>>(&claim).await.is_ok_and(|answer| answer.is_some())
}

async fn sweep(occupancy: &Occupancy) {
    let keys = occupancy.index().keys();
    match compare_and_repair(occupancy, &keys).await {
        Ok(repaired) if repaired != Repaired::default() => {
            tracing::warn!(
                missing = repaired.missing,
                behind = repaired.behind,
                wrong = repaired.wrong,
                "put redis right"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(error = %error, "redis could not be compared"),
    }
}

/// Compares Redis with Postgres for some lots and classes and puts Redis right.
///
/// Redis is read before Postgres. Versions only grow and reach Redis after their commit, so what
/// is newer in Redis than in Postgres read afterwards was never true.
pub async fn compare_and_repair(
    occupancy: &Occupancy,
    keys: &[(LotId, VehicleClass)],
) -> Result<Repaired, RepairError> {
    let app = occupancy.app();
    let mut repaired = Repaired::default();
    for page in keys.chunks(PAGE) {
        let stored = live::read(app.redis(), page).await?;
        let rows: Result<_, DbError> = on_conn!(app.db(), |conn| store::rows_of(conn, page).await);
        let rows = rows?;
        let mut writes = Vec::new();
        for (key, stored) in page.iter().zip(stored) {
            let row = rows.iter().find(|row| (row.lot_id, row.class) == *key);
            writes.extend(row.and_then(|row| repair_of(row, stored, &mut repaired)));
        }
        if !writes.is_empty() {
            live::publish(app.redis(), &writes).await?;
        }
    }
    metrics::counter!("occupancy_repaired_total", "fault" => "missing").increment(repaired.missing);
    metrics::counter!("occupancy_repaired_total", "fault" => "behind").increment(repaired.behind);
    metrics::counter!("occupancy_repaired_total", "fault" => "wrong").increment(repaired.wrong);
    Ok(repaired)
}

fn repair_of(row: &CapacityRow, stored: Stored, repaired: &mut Repaired) -> Option<Write> {
    match stored {
        Stored::Missing => {
            repaired.missing += 1;
            Some(Write::from(*row))
        }
        Stored::Row(snapshot, _) if snapshot == row.now => None,
        Stored::Row(snapshot, _) if snapshot.version < row.now.version => {
            repaired.behind += 1;
            Some(Write::from(*row))
        }
        Stored::Row(_, version) | Stored::Broken(version) => {
            repaired.wrong += 1;
            Some(Write { row: *row, replaces: Some(version) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lots::capacity::Snapshot;
    use rstest::rstest;

    fn numbers(version: i64, held: u32) -> Snapshot {
        Snapshot { capacity: 10, held, in_use: 0, observed: None, version }
    }

    fn stored(version: i64, held: u32) -> Stored {
        Stored::Row(numbers(version, held), version.to_string())
    }

    #[rstest]
    #[case::equal(stored(5, 2), "leave")]
    #[case::missing(Stored::Missing, "write")]
    #[case::behind(stored(4, 1), "write")]
    #[case::ahead(stored(9, 0), "replace 9")]
    #[case::same_version_other_numbers(stored(5, 0), "replace 5")]
    #[case::junk(Stored::Broken("junk".into()), "replace junk")]
    fn postgres_is_right(#[case] stored: Stored, #[case] wanted: &str) {
        let row = CapacityRow {
            lot_id: LotId::from_uuid(uuid::Uuid::nil()),
            class: VehicleClass::Car,
            now: numbers(5, 2),
        };
        let repair = repair_of(&row, stored, &mut Repaired::default());
        let done = match repair.map(|write| write.replaces) {
            None => "leave".to_owned(),
            Some(None) => "write".to_owned(),
            Some(Some(version)) => format!("replace {version}"),
        };
        assert_eq!(done, wanted);
    }
}
