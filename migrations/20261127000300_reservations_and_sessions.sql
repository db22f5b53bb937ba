-- Holds on spaces and stays from entry to exit.

-- No foreign keys here: a hold is written in the hottest statement of the product, which joins
-- the vehicle and the capacity row anyway; `iparking audit` checks the references.
create table reservations (
    id uuid primary key,
    driver_id uuid not null,
    vehicle_id uuid not null,
    lot_id uuid not null,
    vehicle_class text not null,
    status text not null default 'held' check (status in ('held', 'used', 'cancelled', 'expired')),
    created_at timestamptz not null,
    arrive_by timestamptz,
    expires_at timestamptz not null,
    ended_at timestamptz,
    -- The request that made it: the same key again gets the same hold (no second table to write).
    idempotency_key text not null check (octet_length(idempotency_key) between 1 and 255),
    request_hash bytea not null,
    check ((status = 'held') = (ended_at is null))
);
create unique index reservations_by_key on reservations (driver_id, idempotency_key);
create unique index reservations_live on reservations (driver_id, vehicle_id) where status = 'held';
create index reservations_to_expire on reservations (expires_at) where status = 'held';
create index reservations_expired on reservations (driver_id, ended_at) where status = 'expired';

create table parking_sessions (
    id uuid primary key,
    lot_id uuid not null references lots (id),
    operator_id uuid not null references operators (id),
    vehicle_class text not null,
    plate text not null,
    plate_key text not null,
    -- Null when an attendant entered a car whose driver has no account.
    driver_id uuid references drivers (id),
    vehicle_id uuid,
    reservation_id uuid unique,
    started_by_staff uuid references staff (id),
    status text not null default 'active'
        check (status in ('active', 'ended', 'paid', 'waived', 'cancelled')),
    sale_mode text not null check (sale_mode in ('pay_on_exit', 'prepaid')),
    -- Frozen at the start: what was posted then is what is charged.
    tariff_version_id uuid not null references tariff_versions (id),
    quote_id uuid references quotes (id),
    started_at timestamptz not null,
    correctable_until timestamptz not null,
    -- The stay is priced as if stopped here when nobody stops it.
    forgotten_at timestamptz not null,
    paid_until timestamptz,
    ended_at timestamptz,
    -- Sum of all charges so far.
    fare_vnd bigint not null default 0 check (fare_vnd >= 0),
    -- Money that came in and stayed.
    paid_vnd bigint not null default 0 check (paid_vnd >= 0),
    lines jsonb not null default '[]',
    -- Shares frozen at the start.
    vat_rate numeric(5, 4) not null,
    city_share_rate numeric(5, 4) not null,
    platform_fee_rate numeric(5, 4) not null,
    check ((status = 'active') = (ended_at is null))
);
create unique index parking_sessions_one_open on parking_sessions (plate_key, vehicle_class)
    where status = 'active';
create index parking_sessions_of_driver on parking_sessions (driver_id, id);
create index parking_sessions_of_lot on parking_sessions (lot_id, id);
create index parking_sessions_by_plate on parking_sessions (plate_key, vehicle_class, started_at);
-- Almost always empty: more was paid than the stay costs after a correction.
create index parking_sessions_surplus on parking_sessions (id) where paid_vnd > fare_vnd;
create index parking_sessions_open on parking_sessions (forgotten_at) where status = 'active';

-- Each amount that a session came to owe, with the posting it caused.
create table session_charges (
    id uuid primary key,
    parking_session_id uuid not null references parking_sessions (id),
    kind text not null check (kind in ('bought', 'extended', 'stopped', 'corrected')),
    amount_vnd bigint not null,
    charged_at timestamptz not null
);
create index session_charges_of_session on session_charges (parking_session_id);
