//! Search: the 20 nearest lots with their price, against a handler that returns a constant.

use std::rc::Rc;

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{http_turn, say_turn};
use crate::Options;
use crate::bed::{Bed, free_port};
use crate::client::{self, Load};
use crate::http::Connection;
use crate::report::{Row, say};

/// Points that are asked for; far more than any cache by place would keep apart.
const POINTS: u32 = 4096;

/// Searches at points over the inner city, all different.
pub fn load(bed: &Bed, limit: u32) -> Load {
    let requests = (0..POINTS).map(|n| {
        // Two steps without a common measure with 1 cover a square evenly (Kronecker sequence).
        let (lat, lng) = (n * 7549 % 10_000, n * 5698 % 10_000);
        format!(
            "GET /v1/lots/search?lat={}.{:05}&lng={}.{:05}&radius_m=1000&vehicle_class=car\
             &stay_minutes=120&limit={limit} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n",
            21,
            lat * 6 / 10,
            105,
            78_000 + lng * 8 / 10,
            bed.port,
        )
        .into_bytes()
    });
    Load { requests: requests.collect(), repeat: true, status: b"200", contains: b"" }
}

/// Measures the row.
pub async fn row(bed: &Bed, options: &Options, lots: u32, target: f64) -> anyhow::Result<Row> {
    let load = Rc::new(load(bed, 20));
    let bytes = check(bed, &load).await?;
    say(&format!("search: answers have {bytes} bytes on average"));
    let port = free_port().await?;
    let mut bare = Command::new(std::env::current_exe()?)
        .args(["bare", "--port", &port.to_string(), "--bytes", &bytes.to_string()])
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the bare server")?;
    let bare_pid = bare.id().context("the bare server ended")?;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
    let constant =
        Rc::new(Load { requests: vec![request], repeat: true, status: b"200", contains: b"" });

    let mut row = Row::new(
        format!("search, 20 nearest with price, {} lots", thousands(lots)),
        "bare actix-web handler, constant body of the same size",
        target,
    );
    let warm_up = options.turn() / 2;
    client::run(port, options.connections, &constant, warm_up).await?;
    client::run(bed.port, options.connections, &load, warm_up).await?;
    for turn in 1..=options.turns {
        say_turn(&row, turn, options);
        row.limit.push(http_turn(bed, options, (port, bare_pid), &constant).await?.1);
        row.ours.push(http_turn(bed, options, (bed.port, bed.pids.server), &load).await?.1);
    }
    say_turn(&row, options.turns + 1, options);
    bare.kill().await?;
    Ok(row)
}

fn thousands(lots: u32) -> String {
    if lots < 10_000 { "5,000".into() } else { "100,000".into() }
}

/// Looks at some answers: 20 lots each, all with a price. Returns their mean size.
async fn check(bed: &Bed, load: &Load) -> anyhow::Result<usize> {
    const LOOKS: usize = 64;
    let mut connection = Connection::open(bed.port).await?;
    let (mut bytes, mut priced) = (0, 0);
    for request in load.requests.iter().take(LOOKS) {
        let body = connection.exchange(request, |response| response.body.to_vec()).await?;
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        let items = answer.get("items").and_then(serde_json::Value::as_array);
        let items = items.with_context(|| format!("search answers {answer}"))?;
        anyhow::ensure!(items.len() == 20, "a search found {} lots, not 20", items.len());
        bytes += body.len();
        priced += items
            .iter()
            .filter(|item| item.pointer("/quote/amount_vnd").is_some_and(serde_json::Value::is_i64))
            .count();
    }
    say(&format!("search: {priced} of {} lots in {LOOKS} answers have a price", LOOKS * 20));
    anyhow::ensure!(priced > 0, "no lot has a price");
    Ok(bytes / LOOKS)
}
