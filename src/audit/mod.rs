//! Is everything as it must be? One snapshot of the database, a list of invariants, every break.
//!
//! The audit trusts nothing that the product wrote for itself: it counts again from the rows, and
//! where they can be had it compares with books that are not ours (the providers' and Redis).
//! Numbers `I01` to `I24` are those of the product's failure model; `A..` are added.

mod checks;
pub mod outside;

use serde::Serialize;
use sqlx::Acquire;
use sqlx::postgres::PgConnection;

use crate::kernel::ids::PaymentId;
use crate::on_conn;
use crate::platform::App;
use crate::platform::audit_trail;
use crate::platform::db::DbError;

pub use checks::CHECKS;

/// The most breaks of one invariant that are listed; the count is always whole.
const LISTED_MAX: usize = 100;

/// Rows of the audit trail checked at a time.
const TRAIL_PAGE: i64 = 5_000;

/// What the audit found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The instant that the deadlines were compared with.
    pub at: String,
    /// How many invariants were checked.
    pub checked: usize,
    /// Every break.
    pub breaks: Vec<Break>,
}

/// One row that breaks an invariant.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Break {
    /// Which invariant.
    pub invariant: String,
    /// What it demands.
    pub demands: String,
    /// What was found instead.
    pub found: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.breaks.is_empty()
    }

    /// Adds what one check found.
    pub(crate) fn add(&mut self, invariant: &str, demands: &str, found: Vec<String>) {
        self.checked = self.checked.saturating_add(1);
        let hidden = found.len().saturating_sub(LISTED_MAX);
        let listed = found.into_iter().take(LISTED_MAX).map(|found| Break {
            invariant: invariant.to_owned(),
            demands: demands.to_owned(),
            found,
        });
        self.breaks.extend(listed);
        if hidden > 0 {
            self.breaks.push(Break {
                invariant: invariant.to_owned(),
                demands: demands.to_owned(),
                found: format!("and {hidden} more"),
            });
        }
    }
}

/// Checks the database against itself in one repeatable-read snapshot.
pub async fn database(app: &App) -> Result<Report, DbError> {
    let now = app.now();
    let mut report = Report { at: now.to_string(), ..Report::default() };
    // Not on_conn!: a big database may take longer than a request may.
    let mut lease = app.db().lease().await?;
    {
        let mut tx = lease.begin().await?;
        sqlx::query("set transaction isolation level repeatable read, read only")
            .execute(&mut *tx)
            .await?;
        sqlx::query("set local statement_timeout = '10min'").execute(&mut *tx).await?;
        for check in CHECKS {
            let found = sqlx::query_scalar::<_, String>(check.sql)
                .bind(jiff_sqlx::ToSqlx::to_sqlx(now))
                .fetch_all(&mut *tx)
                .await?;
            report.add(check.invariant, check.demands, found);
        }
        let broken = broken_trail(&mut tx).await?;
        report.add("I24", "each row of the audit trail follows from the one before it", broken);
        tx.rollback().await?;
    }
    lease.finish(false).await?;
    Ok(report)
}

async fn broken_trail(conn: &mut PgConnection) -> Result<Vec<String>, DbError> {
    let mut previous: Option<Vec<u8>> = None;
    let mut after = 0;
    loop {
        let rows = audit_trail::read(conn, after, TRAIL_PAGE).await?;
        let Some(last) = rows.last() else { return Ok(Vec::new()) };
        if let Some(id) = audit_trail::first_break(previous.as_deref(), &rows) {
            return Ok(vec![format!("row {id}")]);
        }
        after = last.id;
        previous = Some(last.hash.clone());
    }
}

/// What we believe to have collected and given back through a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurMovement {
    /// Our payment.
    pub payment_id: PaymentId,
    /// Our reference at the provider.
    pub merchant_ref: String,
    /// Collected, VND; zero when the payment never succeeded.
    pub captured_vnd: i64,
    /// Given back, or taken by the provider to be, VND.
    pub refunded_vnd: i64,
    /// Asked for, and not known whether the provider has heard of it, VND.
    pub refunding_vnd: i64,
}

/// Our side of a provider's books.
pub async fn our_movements(app: &App, provider: &str) -> Result<Vec<OurMovement>, DbError> {
    on_conn!(app.db(), |conn| {
        sqlx::query_as!(
            OurMovement,
            r#"
            select p.id as "payment_id: PaymentId", p.merchant_ref,
                case when p.settled_at is null then 0 else p.amount_vnd end as "captured_vnd!",
                coalesce(sum(r.amount_vnd) filter (
                    where r.status in ('accepted', 'succeeded')), 0)::bigint as "refunded_vnd!",
                coalesce(sum(r.amount_vnd) filter (
                    where r.status = 'pending'), 0)::bigint as "refunding_vnd!"
            from payments p
            left join refunds r on r.payment_id = p.id
            where p.provider = $1
            group by p.id
            "#,
            provider,
        )
        .fetch_all(conn)
        .await
        .map_err(DbError::from)
    })
}
