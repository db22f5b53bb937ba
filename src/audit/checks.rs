//! The invariants that SQL can state: each query gives one line of text per break. `$1` is now.

/// One invariant.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its number.
    pub invariant: &'static str,
    /// What it demands, in words.
    pub demands: &'static str,
    /// Gives a line per break.
    pub sql: &'static str,
}

const fn check(invariant: &'static str, demands: &'static str, sql: &'static str) -> Check {
    Check { invariant, demands, sql }
}

/// Every invariant of the database.
pub const CHECKS: &[Check] = &[
    check(
        "I01",
        "the entries of a transfer sum to nothing",
        "select format('transfer %s sums to %s', transfer_id, sum(amount_vnd))
         from ledger_entries where $1::timestamptz is not null
         group by transfer_id having sum(amount_vnd) <> 0",
    ),
    check(
        "I02",
        "a transfer has two entries or more",
        "select format('transfer %s has %s', t.id, count(e.id))
         from ledger_transfers t left join ledger_entries e on e.transfer_id = t.id
         where $1::timestamptz is not null
         group by t.id having count(e.id) < 2",
    ),
    check(
        "I03",
        "the ledger as a whole sums to nothing",
        "select format('sum is %s', sum(amount_vnd)) from ledger_entries
         where $1::timestamptz is not null having coalesce(sum(amount_vnd), 0) <> 0",
    ),
    check(
        "I04",
        "a payment that succeeded is posted with its amount",
        "select format('payment %s of %s VND is posted with %s', p.id, p.amount_vnd, posted.amount)
         from payments p
         left join lateral (
             select sum(e.amount_vnd) as amount
             from ledger_transfers t join ledger_entries e on e.transfer_id = t.id
             where t.kind = 'payment_received' and t.source_id = p.id
                 and e.account_code = 'provider_clearing:' || p.provider
         ) posted on true
         where $1::timestamptz is not null and p.settled_at is not null
             and posted.amount is distinct from p.amount_vnd",
    ),
    check(
        "I05",
        "a posted payment is one that succeeded",
        "select format('transfer %s is for payment %s, which did not succeed', t.id, t.source_id)
         from ledger_transfers t left join payments p on p.id = t.source_id
         where $1::timestamptz is not null and t.kind = 'payment_received'
             and (p.id is null or p.settled_at is null)",
    ),
    check(
        "I06",
        "a clearing account holds what was collected less what went back",
        "select format('%s: ledger %s, payments %s', c.code, c.balance, coalesce(p.balance, 0))
         from (
             select a.code, coalesce(sum(e.amount_vnd), 0) as balance
             from ledger_accounts a
             left join ledger_entries e on e.account_code = a.code
             where a.code like 'provider_clearing:%'
             group by a.code
         ) c
         left join (
             select 'provider_clearing:' || provider as code,
                 sum(amount_vnd - coalesce((
                     select sum(amount_vnd) from refunds
                     where payment_id = payments.id and status in ('accepted', 'succeeded')
                 ), 0)) as balance
             from payments where settled_at is not null group by provider
         ) p on p.code = c.code
         where $1::timestamptz is not null
             and c.balance <> coalesce(p.balance, 0) + coalesce((
                 -- Paid into the bank.
                 select sum(e.amount_vnd) from ledger_entries e
                 join ledger_transfers t on t.id = e.transfer_id
                 where e.account_code = c.code and t.kind = 'settlement_matched'), 0)",
    ),
    check(
        "I09",
        "no two payments of a session wait for money at the same time",
        "select format('session %s has %s', parking_session_id, count(*))
         from payments where $1::timestamptz is not null and status = 'pending'
         group by parking_session_id having count(*) > 1",
    ),
    check(
        "I10",
        "what was collected and stays is not more than the fare",
        "select format('session %s: fare %s, kept %s', s.id, s.fare_vnd, kept.amount)
         from parking_sessions s
         join lateral (
             select sum(amount_vnd - refunded_vnd - refunding_vnd) as amount
             from payments where parking_session_id = s.id and settled_at is not null
         ) kept on true
         where $1::timestamptz is not null and kept.amount > s.fare_vnd",
    ),
    check(
        "I11",
        "a session counts as paid what its payments brought and kept",
        "select format('session %s: says %s, payments say %s', s.id, s.paid_vnd, kept.amount)
         from parking_sessions s
         cross join lateral (
             select coalesce(sum(p.amount_vnd - coalesce((
                 select sum(amount_vnd) from refunds
                 where payment_id = p.id and status <> 'failed'
             ), 0)), 0) as amount
             from payments p where p.parking_session_id = s.id and p.settled_at is not null
         ) kept
         where $1::timestamptz is not null and s.paid_vnd <> kept.amount
         union all
         select format('session %s is paid but owes %s', id, fare_vnd - paid_vnd)
         from parking_sessions where status = 'paid' and paid_vnd < fare_vnd",
    ),
    check(
        "I12",
        "what a provider sent is judged within a minute",
        "select format('message %s of %s', id, provider) from provider_messages
         where verdict is null and received_at < $1 - interval '60 seconds'",
    ),
    check(
        "I13",
        "a message with a bad signature moves nothing",
        "select format('message %s is tied to payment %s', id, payment_id) from provider_messages
         where $1::timestamptz is not null and verdict = 'bad_signature' and payment_id is not null",
    ),
    check(
        "I14",
        "spaces held and in use are not more than there are",
        "select format('lot %s %s: %s held, %s in use, %s spaces',
             lot_id, vehicle_class, held, in_use, capacity)
         from lot_capacity where $1::timestamptz is not null and held + in_use > capacity",
    ),
    check(
        "I15",
        "counters of spaces equal the live holds and the active sessions",
        "select format('lot %s %s: counters %s held %s in use, rows %s and %s',
             c.lot_id, c.vehicle_class, c.held, c.in_use, h.live, a.active)
         from lot_capacity c
         cross join lateral (
             select count(*) as live from reservations r
             where r.lot_id = c.lot_id and r.vehicle_class = c.vehicle_class and r.status = 'held'
         ) h
         cross join lateral (
             select count(*) as active from parking_sessions s
             where s.lot_id = c.lot_id and s.vehicle_class = c.vehicle_class and s.status = 'active'
         ) a
         where $1::timestamptz is not null and (c.held <> h.live or c.in_use <> a.active)",
    ),
    check(
        "I16",
        "a vehicle has one active session",
        "select format('a plate of class %s has %s', vehicle_class, count(*))
         from parking_sessions where $1::timestamptz is not null and status = 'active'
         group by plate_key, vehicle_class having count(*) > 1",
    ),
    check(
        "I17",
        "a hold ends within thirty seconds of its time",
        "select format('reservation %s', id) from reservations
         where status = 'held' and expires_at < $1 - interval '30 seconds'",
    ),
    check(
        "I18",
        "the newest reading is the one that counts",
        "select format('lot %s %s: shows %s, newest is %s',
             c.lot_id, c.vehicle_class, c.observed_at, r.newest)
         from lot_capacity c
         join (
             select lot_id, vehicle_class, max(observed_at) as newest
             from occupancy_readings group by lot_id, vehicle_class
         ) r using (lot_id, vehicle_class)
         where $1::timestamptz is not null and c.observed_at is distinct from r.newest",
    ),
    check(
        "I19",
        "a pending payment is given up soon after its time",
        "select format('payment %s', id) from payments
         where status = 'pending' and expires_at < $1 - interval '15 minutes'",
    ),
    check(
        "I20",
        "a refund is known within a day",
        "select format('refund %s', id) from refunds
         where status in ('pending', 'accepted') and created_at < $1 - interval '24 hours'",
    ),
    check(
        "I21",
        "a job that is due runs within a minute, and none is dead",
        "select format('job %s (%s)', id, kind) from jobs
         where dead_at is not null
             or (run_at < $1 - interval '60 seconds'
                 and (lease_until is null or lease_until < clock_timestamp()))",
    ),
    check(
        "I22",
        "a payment that waits for money has a job that asks for it",
        "select format('payment %s', p.id) from payments p
         where $1::timestamptz is not null and p.status = 'pending' and not exists (
             select 1 from jobs j where j.payload->>'payment_id' = p.id::text)",
    ),
    check(
        "I23",
        "a remembered request has an answer",
        "select format('a key of %s', actor) from idempotency_keys
         where $1::timestamptz is not null and status = 0",
    ),
    check(
        "A01",
        "a session owes the sum of its charges",
        "select format('session %s: fare %s, charges %s', s.id, s.fare_vnd, coalesce(c.total, 0))
         from parking_sessions s
         left join (
             select parking_session_id, sum(amount_vnd) as total
             from session_charges group by parking_session_id
         ) c on c.parking_session_id = s.id
         where $1::timestamptz is not null and s.fare_vnd <> coalesce(c.total, 0)",
    ),
    check(
        "A02",
        "each charge is posted with its amount",
        "select format('charge %s of %s VND is posted with %s', c.id, c.amount_vnd, posted.amount)
         from session_charges c
         left join lateral (
             select sum(e.amount_vnd) as amount
             from ledger_transfers t join ledger_entries e on e.transfer_id = t.id
             where t.source_id = c.id and t.kind in ('session_charged', 'fare_lowered')
                 and e.account_code = 'driver_receivable'
         ) posted on true
         where $1::timestamptz is not null and posted.amount is distinct from c.amount_vnd",
    ),
    check(
        "A03",
        "drivers owe in the ledger what their sessions say",
        "select format('ledger %s, sessions %s', l.balance, s.owed) from
             (select coalesce(sum(amount_vnd), 0) as balance from ledger_entries
              where account_code = 'driver_receivable') l,
             (select coalesce((select sum(fare_vnd) from parking_sessions), 0)
                 - coalesce((select sum(amount_vnd) from payments
                             where settled_at is not null), 0)
                 + coalesce((select sum(amount_vnd) from refunds
                             where status in ('accepted', 'succeeded')), 0) as owed) s
         where $1::timestamptz is not null and l.balance <> s.owed",
    ),
    check(
        "A04",
        "a payment's refunds sum to what it says, and not to more than it brought",
        "select format('payment %s: says %s done and %s under way, refunds say %s and %s',
             p.id, p.refunded_vnd, p.refunding_vnd, r.done, r.open)
         from payments p
         cross join lateral (
             select coalesce(sum(amount_vnd) filter (where status = 'succeeded'), 0) as done,
                 coalesce(sum(amount_vnd) filter (where status in ('pending', 'accepted')), 0) as open
             from refunds where payment_id = p.id
         ) r
         where $1::timestamptz is not null
             and (p.refunded_vnd <> r.done or p.refunding_vnd <> r.open
                 or r.done + r.open > p.amount_vnd)",
    ),
    check(
        "A05",
        "a hold belongs to a driver's own vehicle and a class that the lot serves",
        "select format('reservation %s', r.id) from reservations r
         left join vehicles v on v.id = r.vehicle_id and v.driver_id = r.driver_id
         left join lot_capacity c on c.lot_id = r.lot_id and c.vehicle_class = r.vehicle_class
         where $1::timestamptz is not null and (v.id is null or c.lot_id is null)",
    ),
    check(
        "A06",
        "a used hold has its session and a session's hold is used",
        "select format('reservation %s', r.id) from reservations r
         left join parking_sessions s on s.reservation_id = r.id
         where $1::timestamptz is not null and r.status = 'used' and s.id is null
         union all
         select format('session %s', s.id) from parking_sessions s
         left join reservations r on r.id = s.reservation_id
         where s.reservation_id is not null and (r.id is null or r.status <> 'used')",
    ),
];
