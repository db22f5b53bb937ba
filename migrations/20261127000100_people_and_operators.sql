-- Who uses the product: drivers, operators, their staff and devices; logins and codes.

create table drivers (
    id uuid primary key,
    -- E.164; null once the driver asked to be forgotten, so that the number can register again.
    phone text unique check (phone ~ '^\+84[35789][0-9]{8}$'),
    display_name text check (char_length(display_name) between 1 and 100),
    locale text not null default 'vi' check (locale in ('vi', 'en')),
    created_at timestamptz not null,
    deleted_at timestamptz,
    check ((phone is null) = (deleted_at is not null))
);

create table vehicles (
    id uuid primary key,
    driver_id uuid not null references drivers (id),
    -- As the driver wrote it, tidied; the key is the identity together with the class.
    plate text not null check (char_length(plate) between 3 and 20),
    plate_key text not null check (char_length(plate_key) between 3 and 12),
    vehicle_class text not null
        check (vehicle_class in ('bicycle', 'motorbike', 'car', 'van', 'bus', 'truck')),
    created_at timestamptz not null,
    removed_at timestamptz
);
-- A plate may move to another owner (Law on Road Traffic Order and Safety 2024): only live links
-- are unique, and only within one driver; families share cars.
create unique index vehicles_live on vehicles (driver_id, plate_key, vehicle_class)
    where removed_at is null;

create table operators (
    id uuid primary key,
    code text not null unique check (code ~ '^[a-z][a-z0-9-]{1,31}$'),
    name text not null check (char_length(name) between 1 and 200),
    tax_code text not null check (tax_code ~ '^[0-9]{10}(-[0-9]{3})?$'),
    -- The platform's fee, as a share of the net revenue.
    platform_fee_rate numeric(5, 4) not null default 0.0500
        check (platform_fee_rate between 0 and 1),
    created_at timestamptz not null
);

-- A permit to use road or pavement; a lot may trade only while it is valid.
create table permits (
    id uuid primary key,
    operator_id uuid not null references operators (id),
    number text not null unique,
    -- The city's share of the net revenue: 30 % on iParking lots in 2018.
    city_share_rate numeric(5, 4) not null default 0.3000
        check (city_share_rate between 0 and 1),
    valid_from date not null,
    valid_to date,
    check (valid_to is null or valid_to >= valid_from)
);

create table staff (
    id uuid primary key,
    -- Null for the platform's own people (finance).
    operator_id uuid references operators (id),
    username text not null unique check (username ~ '^[a-z0-9][a-z0-9._-]{2,63}$'),
    password_hash text not null,
    role text not null check (role in ('manager', 'attendant', 'finance')),
    created_at timestamptz not null,
    disabled_at timestamptz,
    check ((role = 'finance') = (operator_id is null))
);

create table api_keys (
    id uuid primary key,
    operator_id uuid not null references operators (id),
    name text not null,
    -- SHA-256 of a 256-bit random key: no dictionary to try, so no slow hash is needed.
    key_hash bytea not null unique check (octet_length(key_hash) = 32),
    created_at timestamptz not null,
    revoked_at timestamptz
);

-- One login is one family of refresh tokens.
create table logins (
    id uuid primary key,
    driver_id uuid references drivers (id),
    staff_id uuid references staff (id),
    created_at timestamptz not null,
    ended_at timestamptz,
    ended_why text check (ended_why in ('logout', 'reuse', 'deleted', 'disabled')),
    check ((driver_id is null) <> (staff_id is null)),
    check ((ended_at is null) = (ended_why is null))
);
create index logins_ended on logins (ended_at) where ended_at is not null;
create index logins_of_driver on logins (driver_id) where driver_id is not null;

create table refresh_tokens (
    token_hash bytea primary key check (octet_length(token_hash) = 32),
    login_id uuid not null references logins (id),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index refresh_tokens_of_login on refresh_tokens (login_id);

create table otp_challenges (
    id uuid primary key,
    phone text not null,
    -- Random; the code is computed from it with the server's secret, so that neither this table
    -- nor the job that sends the code tells it.
    code_seed bytea not null check (octet_length(code_seed) = 32),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    attempts integer not null default 0,
    used_at timestamptz
);
create index otp_challenges_of_phone on otp_challenges (phone, created_at);
create index otp_challenges_by_age on otp_challenges using brin (created_at);
