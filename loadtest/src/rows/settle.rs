//! Settle: VNPAY's IPN through HTTP, against the settlement's own SQL as one function.

use std::rc::Rc;

use anyhow::{Context as _, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha512;
use sqlx::PgConnection;

use super::{http_turn, pgbench_turn, say_turn};
use crate::Options;
use crate::bed::Bed;
use crate::client::Load;
use crate::report::{Row, say};
use crate::seed::tidy;
use crate::stats;

/// What every stay here costs.
const AMOUNT_VND: u64 = 25_000;

/// Settlements a second that are prepared for at first; later what was seen and half as much.
const RATE_AT_FIRST: f64 = 12_000.0;

/// The settlement's writes and locks, as `src/payments/groups.rs` does them for one IPN: the
/// message is kept, session and payment are locked, payment, session, transfer with two entries
/// and the message's verdict are written. The product keeps the message in a transaction of its
/// own; here it is one.
const FUNCTION: &str = "
    create or replace function bench_settle(n bigint) returns void language plpgsql as $$
    declare
        ref text := 'IP' || upper(replace(bench_id(6, n)::text, '-', ''));
        message uuid := bench_id(8, n);
        transfer uuid := bench_id(9, n);
        at timestamptz := clock_timestamp();
        session_id uuid;
        fare bigint;
        paid bigint;
        payment payments;
    begin
        insert into provider_messages (id, provider, kind, received_at, remote_addr, body)
        values (message, 'vnpay', 'ipn', at, '127.0.0.1', repeat('x', 440));
        select parking_session_id into strict session_id from payments where merchant_ref = ref;
        select s.fare_vnd, s.paid_vnd into strict fare, paid
        from parking_sessions s join operators o on o.id = s.operator_id
        where s.id = session_id for update of s;
        select * into strict payment from payments where merchant_ref = ref for update;
        if payment.status <> 'pending' then
            raise exception 'payment % is %', n, payment.status;
        end if;
        update payments set status = 'succeeded', settled_at = at, failure = null,
            provider_txn = '14226112', provider_paid_at = at, late = false, held = false,
            refunding_vnd = 0, refunded_vnd = 0
        where id = payment.id;
        update parking_sessions set fare_vnd = fare, paid_vnd = paid + payment.amount_vnd,
            status = case when status = 'ended' then 'paid' else status end
        where id = session_id;
        insert into ledger_transfers (id, kind, source_id, posted_at, description)
        values (transfer, 'payment_received', payment.id, at, 'Thanh toán phí gửi xe');
        insert into ledger_entries (transfer_id, account_code, amount_vnd) values
            (transfer, 'provider_clearing:vnpay', payment.amount_vnd),
            (transfer, 'driver_receivable', -payment.amount_vnd);
        update provider_messages set verdict = 'settled', judged_at = at, payment_id = payment.id
        where id = message;
    end $$;
";

/// A payment that was settled is refused a second time: pgbench would stop with an error.
const SCRIPT: &str =
    "\\set i :i + 1\n\\set n (:i - 1) * 64 + :client_id\nselect bench_settle(:n);\n";

/// Sessions that ended and owe a fare, each with a pending payment; in place of what was there.
/// The books are as the product would have written them. No triggers: bulk, and checked after.
const SEED: &str = "
    set session_replication_role = replica;
    truncate refunds, payments, session_charges, parking_sessions, provider_messages,
        ledger_entries, ledger_transfers;
    insert into parking_sessions (id, lot_id, operator_id, vehicle_class, plate, plate_key,
        status, sale_mode, tariff_version_id, started_at, correctable_until, forgotten_at,
        ended_at, fare_vnd, vat_rate, city_share_rate, platform_fee_rate)
    select bench_id(4, n), l.id, l.operator_id, 'car', '30A-' || lpad(n::text, 6, '0'),
        '30A' || lpad(n::text, 6, '0'), 'ended', 'pay_on_exit', t.id,
        now() - interval '2 hours', now() - interval '110 minutes', now() + interval '22 hours',
        now(), 25000, 0.08, 0.30, 0.05
    from generate_series(0, PAYMENTS - 1) n,
        (select id, operator_id from lots order by id limit 1) l,
        (select id from tariff_versions order by id limit 1) t;
    insert into session_charges (id, parking_session_id, kind, amount_vnd, charged_at)
    select bench_id(5, n), bench_id(4, n), 'stopped', 25000, now()
    from generate_series(0, PAYMENTS - 1) n;
    insert into ledger_transfers (id, kind, source_id, posted_at, description)
    select bench_id(7, n), 'session_charged', bench_id(5, n), now(), 'Phí gửi xe'
    from generate_series(0, PAYMENTS - 1) n;
    insert into ledger_entries (transfer_id, account_code, amount_vnd)
    select bench_id(7, n), p.code, p.amount
    from generate_series(0, PAYMENTS - 1) n,
        (values ('driver_receivable', 25000), ('vat_payable', -1852), ('city_payable', -6944),
            ('fee_income', -1157),
            ((select code from ledger_accounts where code like 'operator_payable:%'
              order by code limit 1), -15047)) p (code, amount)
    where p.code is not null;
    insert into payments (id, parking_session_id, provider, merchant_ref, amount_vnd, status,
        recovery_point, return_url, client_ip, redirect_url, created_at, expires_at)
    select bench_id(6, n), bench_id(4, n), 'vnpay',
        'IP' || upper(replace(bench_id(6, n)::text, '-', '')), 25000, 'pending', 'instructed',
        'https://127.0.0.1/back', '127.0.0.1', 'https://127.0.0.1/' || repeat('x', 400),
        now(), now() + interval '6 hours'
    from generate_series(0, PAYMENTS - 1) n;
    -- Messages of yesterday: statistics of an empty table would make a plan that reads it whole.
    insert into provider_messages (id, provider, kind, received_at, body, verdict, judged_at)
    select bench_id(9, n), 'vnpay', 'ipn', now() - interval '1 day', repeat('x', 400),
        'settled', now() - interval '1 day'
    from generate_series(0, 19999) n;
    set session_replication_role = origin;
";

const TIDY: &[&str] = &[
    "vacuum analyze payments",
    "vacuum analyze parking_sessions",
    "vacuum analyze provider_messages",
    "vacuum analyze ledger_transfers",
    "vacuum analyze ledger_entries",
    "checkpoint",
];

async fn seed(conn: &mut PgConnection, payments: u64) -> anyhow::Result<()> {
    let statements = SEED.replace("PAYMENTS", &payments.to_string());
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
        .execute(&mut *conn)
        .await
        .context("cannot make payments")?;
    tidy(conn, TIDY).await
}

/// Measures the row.
pub async fn row(bed: &Bed, options: &Options) -> anyhow::Result<Row> {
    let mut row = Row::new(
        "settle a VNPAY IPN".into(),
        "pgbench, the settlement's own SQL as one function",
        1.0,
    );
    let mut conn = bed.database().await?;
    sqlx::raw_sql(FUNCTION).execute(&mut conn).await.context("cannot make the function")?;
    let seconds = options.turn().as_secs();
    let mut rate = RATE_AT_FIRST;
    for turn in 0..=options.turns {
        if turn == 0 {
            say("settle: warm-up");
        } else {
            say_turn(&row, turn, options);
        }
        // Half more than the fastest turn so far, and a second's worth.
        let payments = count(stats::times(rate, 1.5)) * seconds + count(rate);
        seed(&mut conn, payments).await?;
        let limit = pgbench_turn(bed, options, SCRIPT).await?;
        check(&mut conn, None).await?;
        seed(&mut conn, payments).await?;
        let load = Rc::new(load(bed, payments)?);
        let (done, ours) = http_turn(bed, options, (bed.port, bed.pids.server), &load).await?;
        check(&mut conn, Some(done.answered)).await?;
        if turn == 0 {
            rate = 1000.0;
        }
        rate = rate.max(limit.rate).max(ours.rate);
        if turn > 0 {
            row.limit.push(limit);
            row.ours.push(ours);
        }
    }
    say_turn(&row, options.turns + 1, options);
    forget_unpaid(&mut conn).await?;
    Ok(row)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of some thousands"
)]
fn count(rate: f64) -> u64 {
    rate as u64
}

/// Every settlement moved the money exactly once, and the books balance.
async fn check(conn: &mut PgConnection, answered: Option<u64>) -> anyhow::Result<()> {
    let (settled, sessions, posted, unbalanced): (i64, i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from payments where status = 'succeeded'),
             (select count(*) from parking_sessions where status = 'paid' and paid_vnd = fare_vnd),
             (select count(*) from ledger_transfers where kind = 'payment_received'),
             (select count(*) from (select from ledger_entries group by transfer_id
              having sum(amount_vnd) <> 0) t)",
    )
    .fetch_one(conn)
    .await?;
    ensure!(
        settled == sessions && settled == posted,
        "{settled} payments settled, {sessions} sessions paid, {posted} transfers posted"
    );
    ensure!(unbalanced == 0, "{unbalanced} transfers do not balance");
    if let Some(answered) = answered {
        ensure!(
            settled == i64::try_from(answered)?,
            "{answered} settlements were answered, {settled} are in the database"
        );
    }
    Ok(())
}

/// Takes away what nobody will pay, so that the product does not wait for it.
async fn forget_unpaid(conn: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("delete from payments where status = 'pending'").execute(conn).await?;
    Ok(())
}

/// One signed IPN for each payment.
fn load(bed: &Bed, payments: u64) -> anyhow::Result<Load> {
    let terminal = bed.setting("IPARKING__PAYMENTS__VNPAY__TMN_CODE")?;
    let secret = bed.setting("IPARKING__PAYMENTS__VNPAY__SECRET")?;
    let mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).context("no key")?;
    let amount = (AMOUNT_VND * 100).to_string();
    let requests = (0..payments).map(|n| {
        let reference = format!("IP01990006000070008000{n:012X}");
        let info = format!("Thanh toan phi do xe {reference}");
        let number = (14_000_000 + n).to_string();
        // In the order of their names, as they are signed.
        let text = form_urlencoded::Serializer::new(String::new())
            .append_pair("vnp_Amount", &amount)
            .append_pair("vnp_BankCode", "NCB")
            .append_pair("vnp_BankTranNo", &format!("VNP{number}"))
            .append_pair("vnp_CardType", "ATM")
            .append_pair("vnp_OrderInfo", &info)
            .append_pair("vnp_PayDate", "20261127120000")
            .append_pair("vnp_ResponseCode", "00")
            .append_pair("vnp_TmnCode", terminal)
            .append_pair("vnp_TransactionNo", &number)
            .append_pair("vnp_TransactionStatus", "00")
            .append_pair("vnp_TxnRef", &reference)
            .finish();
        let mut mac = mac.clone();
        mac.update(text.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        format!(
            "GET /v1/payments/ipn/vnpay?{text}&vnp_SecureHash={signature} HTTP/1.1\r\n\
             host: 127.0.0.1:{}\r\n\r\n",
            bed.port,
        )
        .into_bytes()
    });
    Ok(Load {
        requests: requests.collect(),
        repeat: false,
        status: b"200",
        contains: br#""RspCode":"00""#,
    })
}
