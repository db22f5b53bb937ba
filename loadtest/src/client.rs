//! The client: a few dozen connections, each sends its next request when the last is answered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::LocalSet;

use crate::http::Connection;

/// The requests of a turn, as bytes, made before it.
pub struct Load {
    /// Each is sent once, in order; with `repeat`, from the start again.
    pub requests: Vec<Vec<u8>>,
    /// Whether a request may be sent more than once.
    pub repeat: bool,
    /// The status that each answer must have.
    pub status: &'static [u8],
    /// What each answer's body must contain; nothing if empty.
    pub contains: &'static [u8],
}

/// What a turn did.
#[derive(Debug, Clone)]
pub struct Done {
    /// Answers within the time.
    pub counted: u64,
    /// All answers, also those that came just after it.
    pub answered: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Microseconds of each answer.
    pub latencies_us: Vec<u32>,
}

struct Turn {
    load: Rc<Load>,
    next: Cell<usize>,
    ends: Instant,
}

impl Turn {
    fn take(&self) -> Option<&[u8]> {
        let index = self.next.get();
        self.next.set(index + 1);
        let count = self.load.requests.len();
        let index = if self.load.repeat { index.checked_rem(count)? } else { index };
        self.load.requests.get(index).map(Vec::as_slice)
    }
}

struct Lane {
    counted: u64,
    latencies_us: Vec<u32>,
    ran_out_at: Option<Instant>,
}

/// Sends requests over `connections` connections for `duration`, or until there are none left.
///
/// # Errors
/// When an answer is not the expected one: a number of refusals is no speed.
pub async fn run(
    port: u16,
    connections: usize,
    load: &Rc<Load>,
    duration: Duration,
) -> anyhow::Result<Done> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(port).await.context("cannot connect to the server")?);
    }
    let started = Instant::now();
    let turn =
        Rc::new(Turn { load: Rc::clone(load), next: Cell::new(0), ends: started + duration });
    let lanes = LocalSet::new();
    let handles: Vec<_> = open
        .into_iter()
        .map(|connection| lanes.spawn_local(lane(connection, Rc::clone(&turn))))
        .collect();
    lanes.await;
    let mut done = Done { counted: 0, answered: 0, elapsed: duration, latencies_us: Vec::new() };
    let mut ran_out_at = None;
    for handle in handles {
        let lane = handle.await.context("a connection's task failed")??;
        done.counted += lane.counted;
        done.answered += u64::try_from(lane.latencies_us.len())?;
        done.latencies_us.extend(lane.latencies_us);
        ran_out_at = ran_out_at.max(lane.ran_out_at);
    }
    if let Some(at) = ran_out_at {
        // The requests ended before the time did: all of them count, up to the last answer.
        (done.counted, done.elapsed) = (done.answered, at.duration_since(started));
    }
    if done.counted == 0 {
        bail!("no request was answered in time");
    }
    Ok(done)
}

async fn lane(mut connection: Connection, turn: Rc<Turn>) -> anyhow::Result<Lane> {
    let load = &turn.load;
    let mut lane = Lane { counted: 0, latencies_us: Vec::with_capacity(8192), ran_out_at: None };
    let mut sent = Instant::now();
    while sent < turn.ends {
        let Some(request) = turn.take() else {
            lane.ran_out_at = Some(sent);
            break;
        };
        let wrong = connection
            .exchange(request, |response| {
                let right =
                    response.status == load.status && contains(response.body, load.contains);
                (!right).then(|| {
                    let status = String::from_utf8_lossy(response.status).into_owned();
                    (status, String::from_utf8_lossy(response.body).into_owned())
                })
            })
            .await?;
        if let Some((status, body)) = wrong {
            bail!("an answer was {status} {body}");
        }
        let now = Instant::now();
        let micros = now.duration_since(sent).as_micros();
        lane.latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
        if now < turn.ends {
            lane.counted += 1;
        }
        sent = now;
    }
    Ok(lane)
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    part.is_empty() || body.windows(part.len()).any(|window| window == part)
}
