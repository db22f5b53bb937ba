//! `GET /v1/lots/events`: free spaces, live, as server-sent events.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::index::Wanted;
use super::service::{Change, Occupancy};
use super::stream::StreamId;
use crate::kernel::geo::{LatLng, Metres};
use crate::kernel::ids::LotId;
use crate::lots::capacity::{CapacityRow, ClassCapacity, Confidence};
use crate::web::problem::{Code, Problem};
use crate::web::query::Fields;
use crate::web::rate_limit::{Limited, PublicRead};

/// The most lots that can be followed by id.
pub const IDS_MAX: usize = 50;

/// The most lots followed in a circle: the nearest ones.
const LOTS_MAX: usize = 500;

/// A comment line comes at least this often, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A stream ends after this time; browsers come back by themselves, perhaps to another server.
const STREAM_MAX: Duration = Duration::from_hours(1);

/// Which lots a listener wants to hear of.
#[derive(Debug, Clone, PartialEq)]
pub enum EventsQuery {
    /// These.
    Ids(Vec<LotId>),
    /// Those in a circle.
    Around(LatLng, Metres),
}

impl EventsQuery {
    /// Reads a query string.
    pub fn parse(query: &str) -> Result<EventsQuery, Problem> {
        let mut fields = Fields::read(query);
        if fields.text("ids").is_some() {
            let rule = format!("1 to {IDS_MAX} lot ids separated by commas");
            let ids = fields.value("ids", &rule, |text| {
                let ids: Option<Vec<LotId>> =
                    text.split(',').take(IDS_MAX + 1).map(|id| id.parse().ok()).collect();
                ids.filter(|ids| ids.len() <= IDS_MAX)
            });
            return fields.finish(ids.map(EventsQuery::Ids));
        }
        fields.required(&["lat", "lng"]);
        let centre = fields.point();
        let radius = fields.radius();
        fields.finish(centre.map(|centre| EventsQuery::Around(centre, radius)))
    }
}

/// Opens a stream of changes.
pub async fn events(
    _limited: Limited<PublicRead>,
    request: HttpRequest,
    occupancy: web::Data<Occupancy>,
) -> Result<HttpResponse, Problem> {
    let query = EventsQuery::parse(request.query_string())?;
    if !occupancy.is_loaded() {
        return Err(Problem::new(Code::ServiceUnavailable).detail("The lots are being loaded."));
    }
    let Ok(place) = Arc::clone(occupancy.listeners()).try_acquire_owned() else {
        return Err(Problem::new(Code::ServiceUnavailable)
            .detail("Too many listeners; ask GET /v1/lots/search instead.")
            .retry_after_s(30));
    };
    let last = request
        .headers()
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<StreamId>().ok());
    let listener = Listener::new(occupancy.get_ref().clone(), &query, last, place);
    let events = stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<Bytes, std::io::Error>(Bytes::from(text)), listener))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events))
}

/// What an event tells.
#[derive(Serialize)]
struct Availability {
    lot_id: LotId,
    #[serde(flatten)]
    numbers: ClassCapacity,
}

/// One open stream.
struct Listener {
    occupancy: Occupancy,
    lots: HashSet<LotId>,
    changes: Receiver<Arc<Change>>,
    /// The last change sent; older ones that still arrive are repeats.
    sent: Option<StreamId>,
    ready: VecDeque<String>,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn new(
        occupancy: Occupancy,
        query: &EventsQuery,
        last: Option<StreamId>,
        place: OwnedSemaphorePermit,
    ) -> Listener {
        let lots = lots_of(&occupancy, query);
        // First listen, then look: what changes in between arrives twice rather than never.
        let changes = occupancy.listen();
        let ends = Instant::now() + STREAM_MAX;
        let ready = VecDeque::from(["retry: 2000\n\n".to_owned()]);
        let mut listener =
            Listener { occupancy, lots, changes, sent: last, ready, ends, _place: place };
        match last.and_then(|id| listener.occupancy.since(id)) {
            Some(missed) => missed.iter().for_each(|change| listener.take(change)),
            None => listener.push_present(),
        }
        listener
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            let change = tokio::select! {
                () = self.occupancy.stopped().cancelled() => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(": keep-alive\n\n".to_owned()),
                change = self.changes.recv() => change,
            };
            match change {
                Ok(change) => self.take(&change),
                Err(RecvError::Lagged(_)) => self.push_present(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Anew => self.push_present(),
            Change::Rows(id, rows) => {
                if id.is_some() && *id <= self.sent {
                    return;
                }
                self.sent = self.sent.max(*id);
                let ours: Vec<CapacityRow> =
                    rows.iter().filter(|row| self.lots.contains(&row.lot_id)).copied().collect();
                self.push(*id, &ours);
            }
        }
    }

    /// The present state of all lots.
    fn push_present(&mut self) {
        let id = self.occupancy.last_id();
        let index = self.occupancy.index();
        let mut rows = Vec::new();
        for lot_id in &self.lots {
            let Some(lot) = index.find(*lot_id) else { continue };
            rows.extend(index.numbers(lot).map(|(class, now)| CapacityRow {
                lot_id: *lot_id,
                class,
                now,
            }));
        }
        drop(index);
        self.sent = id;
        self.push(id, &rows);
    }

    /// One event per row. Only the last carries the id: whoever got a part of them gets all again.
    fn push(&mut self, id: Option<StreamId>, rows: &[CapacityRow]) {
        let now = self.occupancy.app().now();
        let in_step = self.occupancy.is_in_step();
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            let mut numbers = ClassCapacity::at(now, row.class, &row.now);
            if !in_step {
                numbers.confidence = numbers.confidence.max(Confidence::Stale);
            }
            let event = Availability { lot_id: row.lot_id, numbers };
            let Ok(data) = serde_json::to_string(&event) else { continue };
            if let (Some(id), true) = (id, at + 1 == rows.len()) {
                text.extend(["id: ", &id.to_string(), "\n"]);
            }
            text.extend(["event: availability\ndata: ", &data, "\n\n"]);
        }
        if !text.is_empty() {
            self.ready.push_back(text);
        }
    }
}

fn lots_of(occupancy: &Occupancy, query: &EventsQuery) -> HashSet<LotId> {
    let index = occupancy.index();
    match query {
        EventsQuery::Ids(ids) => {
            ids.iter().filter(|id| index.find(**id).is_some()).copied().collect()
        }
        EventsQuery::Around(centre, radius) => {
            let wanted = Wanted { class: None, kind: None, features: 0 };
            let near = index.nearest(*centre, *radius, LOTS_MAX, wanted, |_| true);
            near.iter().filter_map(|near| index.entry(near.lot)).map(|entry| entry.id).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", false)]
    #[case("ids=", false)]
    #[case("ids=1", false)]
    #[case("ids=0193a5c2-6d00-7a10-8c3e-2b9f4d5e6a71", true)]
    #[case("ids=0193a5c2-6d00-7a10-8c3e-2b9f4d5e6a71,x", false)]
    #[case("lat=21&lng=105&radius_m=300", true)]
    fn listeners_name_lots_or_a_circle(#[case] query: &str, #[case] good: bool) {
        assert_eq!(EventsQuery::parse(query).is_ok(), good);
    }
}
