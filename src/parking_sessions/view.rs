//! A session as answers show it.

use jiff::Timestamp;
use serde::Serialize;

use super::{Session, SessionStatus};
use crate::kernel::ids::{LotId, ParkingSessionId, QuoteId, ReservationId, TariffVersionId};
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::SaleMode;
use crate::tariffs::FareLine;

/// The JSON of a session.
#[derive(Debug, Serialize)]
pub struct SessionView {
    /// Its id; also the key of its place in a list.
    pub id: ParkingSessionId,
    lot_id: LotId,
    lot_name: String,
    plate: String,
    vehicle_class: VehicleClass,
    status: SessionStatus,
    sale_mode: SaleMode,
    started_at: Timestamp,
    paid_until: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    amount_due_vnd: Vnd,
    amount_paid_vnd: Vnd,
    fare_vnd: Vnd,
    lines: Vec<FareLine>,
    tariff_version_id: TariffVersionId,
    quote_id: Option<QuoteId>,
    reservation_id: Option<ReservationId>,
    correctable_until: Timestamp,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> SessionView {
        SessionView {
            amount_due_vnd: session.amount_due(),
            id: session.id,
            lot_id: session.lot_id,
            lot_name: session.lot_name,
            plate: session.plate,
            vehicle_class: session.vehicle_class,
            status: session.status,
            sale_mode: session.sale_mode,
            started_at: session.started_at,
            paid_until: session.paid_until,
            ended_at: session.ended_at,
            amount_paid_vnd: session.paid,
            fare_vnd: session.fare,
            lines: session.lines,
            tariff_version_id: session.tariff_version_id,
            quote_id: session.quote_id,
            reservation_id: session.reservation_id,
            correctable_until: session.correctable_until,
        }
    }
}
