-- Money in, money back, and every word that providers said.

create table payments (
    id uuid primary key,
    parking_session_id uuid not null references parking_sessions (id),
    driver_id uuid references drivers (id),
    provider text not null,
    -- Our reference at the provider; the same on every retry.
    merchant_ref text not null unique check (merchant_ref ~ '^[A-Z0-9]{8,40}$'),
    amount_vnd bigint not null check (amount_vnd > 0),
    status text not null default 'pending' check (status in (
        'pending', 'succeeded', 'failed', 'cancelled', 'expired',
        'refund_pending', 'partially_refunded', 'refunded')),
    -- How far creation got: continued from here after a crash.
    recovery_point text not null default 'created' check (recovery_point in ('created', 'instructed')),
    return_url text not null,
    client_ip text not null,
    locale text not null default 'vi',
    redirect_url text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    settled_at timestamptz,
    -- Why it failed, in our words.
    failure text,
    -- The provider's own number of the money, and when it says it was paid.
    provider_txn text,
    provider_paid_at timestamptz,
    -- The money came after we had given the payment up.
    late boolean not null default false,
    -- The provider took the money but holds it as suspicious: it does not expire meanwhile.
    held boolean not null default false,
    refunding_vnd bigint not null default 0 check (refunding_vnd >= 0),
    refunded_vnd bigint not null default 0 check (refunded_vnd >= 0),
    constraint payments_refunds_within_capture check (refunding_vnd + refunded_vnd <= amount_vnd),
    check (settled_at is not null or refunding_vnd + refunded_vnd = 0)
);
-- One attempt at a time.
create unique index payments_one_pending on payments (parking_session_id) where status = 'pending';
create index payments_of_session on payments (parking_session_id);
create index payments_of_driver on payments (driver_id, id);
create index payments_pending on payments (created_at) where status = 'pending';

-- The state machine once more, where nobody can go around it.
create function payments_keep_to_states() returns trigger language plpgsql as $$
begin
    if old.settled_at is not null and new.status in ('pending', 'failed', 'cancelled', 'expired') then
        raise exception 'payment % was paid and cannot become %', old.id, new.status
            using errcode = 'check_violation', constraint = 'payments_keep_to_states';
    end if;
    if old.status <> 'pending' and new.status = 'pending' then
        raise exception 'payment % cannot become pending again', old.id
            using errcode = 'check_violation', constraint = 'payments_keep_to_states';
    end if;
    if new.amount_vnd <> old.amount_vnd or new.merchant_ref <> old.merchant_ref
        or new.parking_session_id <> old.parking_session_id or new.provider <> old.provider then
        raise exception 'what a payment is about does not change'
            using errcode = 'check_violation', constraint = 'payments_keep_to_states';
    end if;
    return new;
end $$;
create trigger payments_keep_to_states before update on payments
    for each row execute function payments_keep_to_states();

create table refunds (
    id uuid primary key,
    payment_id uuid not null references payments (id),
    -- Our request id at the provider; the same on every retry.
    merchant_ref text not null unique,
    amount_vnd bigint not null check (amount_vnd > 0),
    -- Booked when the provider accepts it, done when it sent the money to the bank.
    status text not null default 'pending'
        check (status in ('pending', 'accepted', 'succeeded', 'failed')),
    reason text not null,
    requested_by uuid,
    created_at timestamptz not null,
    -- How often it was sent without an answer that we understood: then we ask before we repeat.
    unanswered integer not null default 0,
    -- The provider's own number of the refund.
    provider_ref text,
    accepted_at timestamptz,
    done_at timestamptz,
    failure text
);
create index refunds_of_payment on refunds (payment_id);
create index refunds_open on refunds (created_at) where status in ('pending', 'accepted');

-- What providers sent, as received, before anything is believed.
create table provider_messages (
    id uuid primary key,
    provider text not null,
    kind text not null check (kind in ('ipn', 'query', 'refund')),
    received_at timestamptz not null,
    remote_addr text,
    body text not null,
    -- Null until judged.
    verdict text,
    judged_at timestamptz,
    payment_id uuid
);
create index provider_messages_unjudged on provider_messages (received_at) where verdict is null;
create index provider_messages_of_payment on provider_messages (payment_id)
    where payment_id is not null;
