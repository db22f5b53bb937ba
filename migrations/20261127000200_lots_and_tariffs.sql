-- Places to park, what they cost, and how full they are.

create table lots (
    id uuid primary key,
    code text not null unique check (code ~ '^[A-Z0-9][A-Z0-9-]{1,31}$'),
    operator_id uuid not null references operators (id),
    permit_id uuid references permits (id),
    name text not null check (char_length(name) between 1 and 200),
    address text not null default '' check (char_length(address) <= 300),
    lat double precision not null check (lat between 8 and 24),
    lng double precision not null check (lng between 102 and 110),
    kind text not null check (kind in ('on_street', 'off_street')),
    features text[] not null default '{}',
    status text not null default 'open' check (status in ('open', 'closed')),
    sale_mode text not null default 'pay_on_exit' check (sale_mode in ('pay_on_exit', 'prepaid')),
    hold_minutes integer not null default 15 check (hold_minutes between 1 and 120),
    -- A session that nobody stopped is priced as if stopped after so long.
    forgotten_stop_minutes integer not null default 1440
        check (forgotten_stop_minutes between 60 and 43200),
    correction_grace_minutes integer not null default 10
        check (correction_grace_minutes between 0 and 120),
    -- {"always": true} or {"mon": [["06:00", "22:00"]], …}; civil time in Hanoi.
    opening_hours jsonb not null default '{"always": true}',
    capacity_source text not null check (capacity_source in ('stated', 'estimate')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index lots_of_operator on lots (operator_id, code);
-- Servers ask every second whether a lot changed.
create index lots_by_change on lots (updated_at);

-- The only row that decides whether a space is free. Every change adds one to `version`, so that
-- copies (Redis, the servers' memory) can be written in any order: the newer version wins.
create table lot_capacity (
    lot_id uuid not null references lots (id),
    vehicle_class text not null
        check (vehicle_class in ('bicycle', 'motorbike', 'car', 'van', 'bus', 'truck')),
    capacity integer not null check (capacity between 0 and 100000),
    -- Live holds.
    held integer not null default 0 check (held >= 0),
    -- Active parking sessions.
    in_use integer not null default 0 check (in_use >= 0),
    -- What the newest reading of a device says is occupied, if there is one.
    observed integer check (observed >= 0),
    observed_at timestamptz,
    observed_device text,
    observed_sequence bigint,
    version bigint not null default 1,
    primary key (lot_id, vehicle_class),
    constraint lot_capacity_not_promised_twice check (held + in_use <= capacity),
    constraint lot_capacity_observed_whole check ((observed is null) = (observed_at is null))
) with (fillfactor = 50);

create table occupancy_readings (
    lot_id uuid not null,
    device_id text not null check (char_length(device_id) between 1 and 64),
    sequence bigint not null check (sequence >= 0),
    vehicle_class text not null,
    occupied integer not null check (occupied >= 0),
    observed_at timestamptz not null,
    received_at timestamptz not null,
    primary key (lot_id, device_id, vehicle_class, sequence)
);
create index occupancy_readings_by_time on occupancy_readings using brin (received_at);

-- Zones carry validity dates of their own: districts were abolished on 1 July 2025.
create table zones (
    id uuid primary key,
    code text not null unique,
    name text not null,
    valid_from date not null,
    valid_to date,
    check (valid_to is null or valid_to >= valid_from)
);

create table lot_zones (
    lot_id uuid not null references lots (id),
    zone_id uuid not null references zones (id),
    valid_from date not null,
    valid_to date,
    primary key (lot_id, zone_id, valid_from)
);

create table tariffs (
    id uuid primary key,
    -- Null: the city's.
    operator_id uuid references operators (id),
    code text not null check (code ~ '^[a-z0-9][a-z0-9-]{1,63}$'),
    name text not null check (char_length(name) between 1 and 200),
    source text not null default '',
    created_at timestamptz not null,
    unique nulls not distinct (operator_id, code)
);

create table tariff_versions (
    id uuid primary key,
    tariff_id uuid not null references tariffs (id),
    version integer not null check (version >= 1),
    starts_on date not null,
    rules jsonb not null,
    created_by uuid,
    created_at timestamptz not null,
    unique (tariff_id, version),
    unique (tariff_id, starts_on)
);

-- Which tariff holds where: a lot's own assignment beats its zone's.
create table tariff_assignments (
    id uuid primary key,
    zone_id uuid references zones (id),
    lot_id uuid references lots (id),
    vehicle_class text not null
        check (vehicle_class in ('bicycle', 'motorbike', 'car', 'van', 'bus', 'truck')),
    tariff_id uuid not null references tariffs (id),
    valid_from date not null,
    check ((zone_id is null) <> (lot_id is null))
);
create unique index tariff_assignments_of_lot
    on tariff_assignments (lot_id, vehicle_class, valid_from) where lot_id is not null;
create unique index tariff_assignments_of_zone
    on tariff_assignments (zone_id, vehicle_class, valid_from) where zone_id is not null;

create table quotes (
    id uuid primary key,
    lot_id uuid not null references lots (id),
    vehicle_class text not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    amount_vnd bigint not null check (amount_vnd >= 0),
    tariff_version_id uuid not null references tariff_versions (id),
    lines jsonb not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    signature text not null
);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% rows are only added', tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger tariff_versions_only_added before update or delete on tariff_versions
    for each row execute function refuse_change();
