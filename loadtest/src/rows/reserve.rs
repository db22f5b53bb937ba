//! Reserve: holds that are decided and durable, spread over lots and on a single one.

use std::rc::Rc;

use anyhow::ensure;
use uuid::Uuid;

use super::{http_turn, pgbench_turn, say_turn};
use crate::bed::Bed;
use crate::client::{self, Load};
use crate::report::{Measured, Row, say};
use crate::{Options, seed, tokens};

/// Each has a token of his own; the server verifies it once and remembers it.
const DRIVERS: u64 = 4_096;

/// Each vehicle is held once in a turn at most: 98,304 holds.
const VEHICLES_EACH: u64 = 24;

const PLAIN_INSERT: &str = "insert into bench_rows \
    (driver_id, vehicle_id, lot_id, vehicle_class, expires_at) values \
    ('01990001-0000-7000-8000-000000000001', '01990002-0000-7000-8000-000000000002', \
    '01990003-0000-7000-8000-000000000003', 'car', '2027-01-01T00:00:00Z');\n";

const HOT_UPDATE: &str = "update bench_hot set held = held + 1 where id = 1 and held < capacity;\n";

/// Makes drivers, cars and room.
pub async fn prepare(bed: Bed, options: &Options) -> anyhow::Result<Bed> {
    say("making drivers and cars, and room for every hold");
    let mut conn = bed.database().await?;
    seed::drivers(&mut conn, DRIVERS, VEHICLES_EACH).await?;
    seed::roomy_lots(&mut conn).await?;
    bed.restart(&options.server, &options.var_dir).await
}

/// Where the holds go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Spread,
    OneLot,
}

/// Measures the row with holds spread over all lots.
pub async fn spread(bed: &Bed, options: &Options) -> anyhow::Result<Row> {
    let row = Row::new(
        "reserve, decided and durable, spread over lots".into(),
        "pgbench, plain one-row insert",
        1.0,
    );
    turns(bed, options, row, Where::Spread, PLAIN_INSERT).await
}

/// Measures the row with all holds on one lot.
pub async fn hot(bed: &Bed, options: &Options) -> anyhow::Result<Row> {
    let row =
        Row::new("reserve, one hot lot".into(), "pgbench, conditional update of one hot row", 6.0);
    turns(bed, options, row, Where::OneLot, HOT_UPDATE).await
}

async fn turns(
    bed: &Bed,
    options: &Options,
    mut row: Row,
    place: Where,
    script: &str,
) -> anyhow::Result<Row> {
    let mut conn = bed.database().await?;
    let lots = seed::roomy_lots(&mut conn).await?;
    let lots = if place == Where::OneLot { lots.into_iter().take(1).collect() } else { lots };
    let maker = Maker::new(bed, place, lots, seed::now_s(&mut conn).await?)?;
    // Warm-up, and the drivers' tokens become known.
    let load = Rc::new(maker.load(0)?);
    client::run(bed.port, options.connections, &load, options.turn() / 2).await?;
    seed::end_holds(&mut conn).await?;
    for turn in 1..=options.turns {
        say_turn(&row, turn, options);
        row.limit.push(pgbench_turn(bed, options, script).await?);
        let load = Rc::new(maker.load(turn)?);
        seed::end_holds(&mut conn).await?;
        row.ours.push(one(bed, options, &load, &mut conn).await?);
        seed::end_holds(&mut conn).await?;
    }
    say_turn(&row, options.turns + 1, options);
    Ok(row)
}

/// A turn; afterwards the database must have exactly the holds that were answered.
async fn one(
    bed: &Bed,
    options: &Options,
    load: &Rc<Load>,
    conn: &mut sqlx::PgConnection,
) -> anyhow::Result<Measured> {
    let (done, measured) = http_turn(bed, options, (bed.port, bed.pids.server), load).await?;
    let (rows, counters) = seed::holds(conn).await?;
    let answered = i64::try_from(done.answered)?;
    ensure!(
        rows == answered && counters == answered,
        "{answered} holds were answered, {rows} are in the database, its counters say {counters}"
    );
    Ok(measured)
}

struct Maker {
    port: u16,
    /// Begins the keys, which must not repeat between rows.
    key: &'static str,
    lots: Vec<Uuid>,
    tokens: Vec<String>,
}

impl Maker {
    fn new(bed: &Bed, place: Where, lots: Vec<Uuid>, now_s: i64) -> anyhow::Result<Self> {
        let key = if place == Where::OneLot { "hot" } else { "spread" };
        let drivers = (0..DRIVERS).map(|n| seed::id(seed::Kind::Driver, n));
        let drivers = drivers.collect::<anyhow::Result<Vec<Uuid>>>()?;
        Ok(Self { port: bed.port, key, lots, tokens: tokens::sign(bed, &drivers, now_s)? })
    }

    /// One request for each vehicle. Neighbours in the list are of different drivers and lots.
    fn load(&self, turn: u32) -> anyhow::Result<Load> {
        let mut requests = Vec::new();
        let drivers = self.tokens.iter().cycle();
        let lots = self.lots.iter().cycle();
        for ((n, token), lot) in (0..DRIVERS * VEHICLES_EACH).zip(drivers).zip(lots) {
            let vehicle = seed::id(seed::Kind::Vehicle, n)?;
            let body = format!(r#"{{"lot_id":"{lot}","vehicle_id":"{vehicle}"}}"#);
            let request = format!(
                "POST /v1/reservations HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\
                 authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
                 idempotency-key: {}-{turn}-{n}\r\ncontent-length: {}\r\n\r\n{body}",
                self.port,
                self.key,
                body.len(),
            );
            requests.push(request.into_bytes());
        }
        Ok(Load { requests, repeat: false, status: b"201", contains: b"\"held\"" })
    }
}
