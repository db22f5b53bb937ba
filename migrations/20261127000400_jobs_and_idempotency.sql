-- Background work and remembered answers.

create table jobs (
    id uuid primary key,
    kind text not null,
    payload jsonb not null,
    run_at timestamptz not null,
    attempts integer not null default 0,
    -- Set while a worker has it; the database clock decides, so a dead worker's job comes back.
    lease_until timestamptz,
    -- One job per key at a time: schedules and "once per payment" work.
    unique_key text unique,
    -- The request that caused it, for following one request through the logs.
    request_id text,
    dead_at timestamptz,
    last_error text,
    created_at timestamptz not null
);
create index jobs_ready on jobs (run_at) where dead_at is null;

create table idempotency_keys (
    actor text not null,
    key text not null check (octet_length(key) between 1 and 255),
    route text not null,
    request_hash bytea not null,
    status smallint not null,
    -- The answer's bytes as text, so that the second answer is the same to the letter.
    response text not null,
    created_at timestamptz not null,
    primary key (actor, key)
);
create index idempotency_keys_by_age on idempotency_keys using brin (created_at);

-- Who looked up what by plate, and other acts that must be provable. Each row's hash covers the
-- row before it, so a changed or missing row shows.
create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    previous_hash bytea not null,
    hash bytea not null
);
create trigger audit_log_only_added before update or delete on audit_log
    for each row execute function refuse_change();
