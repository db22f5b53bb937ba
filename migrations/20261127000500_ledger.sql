-- Double entry, append only. A positive amount is a debit, a negative one a credit.

create table ledger_accounts (
    code text primary key check (code ~ '^[a-z_]+(:[a-z0-9-]+)?$'),
    name text not null,
    kind text not null check (kind in ('asset', 'liability', 'income', 'expense')),
    created_at timestamptz not null
);

create table ledger_transfers (
    id uuid primary key,
    -- One business event is one transfer.
    kind text not null,
    source_id uuid not null,
    posted_at timestamptz not null,
    description text not null default '',
    corrects uuid references ledger_transfers (id),
    made_in xid8 not null default pg_current_xact_id(),
    constraint ledger_transfers_once unique (kind, source_id)
);

create table ledger_entries (
    id bigint generated always as identity primary key,
    transfer_id uuid not null references ledger_transfers (id),
    account_code text not null references ledger_accounts (code),
    amount_vnd bigint not null check (amount_vnd <> 0)
);
create index ledger_entries_of_transfer on ledger_entries (transfer_id);
create index ledger_entries_of_account on ledger_entries (account_code, id);

-- At commit every new transfer has two entries or more and their sum is nothing.
create function ledger_transfer_balances() returns trigger language plpgsql as $$
declare
    entries bigint;
    total numeric;
begin
    select count(*), coalesce(sum(amount_vnd), 0) into entries, total
    from ledger_entries where transfer_id = new.id;
    if entries < 2 or total <> 0 then
        raise exception 'ledger transfer % has % entries that sum to %', new.id, entries, total
            using errcode = 'check_violation', constraint = 'ledger_transfer_balances';
    end if;
    return null;
end $$;
create constraint trigger ledger_transfer_balances after insert on ledger_transfers
    deferrable initially deferred for each row execute function ledger_transfer_balances();

-- An entry belongs to the transaction that made its transfer: nothing is added later.
create function ledger_entries_not_late() returns trigger language plpgsql as $$
begin
    if exists (
        select 1 from added join ledger_transfers t on t.id = added.transfer_id
        where t.made_in <> pg_current_xact_id()
    ) then
        raise exception 'entries are added only with their transfer'
            using errcode = 'check_violation', constraint = 'ledger_entries_not_late';
    end if;
    return null;
end $$;
create trigger ledger_entries_not_late after insert on ledger_entries
    referencing new table as added for each statement execute function ledger_entries_not_late();

create trigger ledger_transfers_only_added before update or delete on ledger_transfers
    for each row execute function refuse_change();
create trigger ledger_entries_only_added before update or delete on ledger_entries
    for each row execute function refuse_change();
create trigger ledger_transfers_kept before truncate on ledger_transfers
    for each statement execute function refuse_change();
create trigger ledger_entries_kept before truncate on ledger_entries
    for each statement execute function refuse_change();

insert into ledger_accounts (code, name, kind, created_at) values
    ('driver_receivable', 'Phải thu của người gửi xe', 'asset', now()),
    ('provider_clearing:vnpay', 'Tiền VNPAY đã thu, chưa về ngân hàng', 'asset', now()),
    ('bank', 'Tiền gửi ngân hàng', 'asset', now()),
    ('city_payable', 'Phải nộp ngân sách thành phố', 'liability', now()),
    ('vat_payable', 'Thuế GTGT phải nộp', 'liability', now()),
    ('fee_income', 'Doanh thu phí dịch vụ nền tảng', 'income', now()),
    ('provider_fee_expense', 'Chi phí cổng thanh toán', 'expense', now());

-- What is owed to an operator has an account from the first day.
create function operators_have_an_account() returns trigger language plpgsql as $$
begin
    insert into ledger_accounts (code, name, kind, created_at)
    values ('operator_payable:' || new.code, 'Phải trả ' || new.name, 'liability', new.created_at)
    on conflict (code) do nothing;
    return null;
end $$;
create trigger operators_have_an_account after insert on operators
    for each row execute function operators_have_an_account();
