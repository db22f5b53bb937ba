# iParking: `make` prints what there is. Needs Rust and make; the rest is installed when missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Builds read the checked-in .sqlx, so that none needs a database.
export SQLX_OFFLINE := true

.PHONY: help
help: ## This list
	@sed -n -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: run
run: ## Build and run everything: API, worker, sandbox, private PostgreSQL and Redis
	@scripts/install.sh run
	cargo build --release --locked -p iparking -p iparking-sandbox
	@exec $(TARGET_DIR)/release/iparking dev

.PHONY: demo
demo: ## Walk the main job with curl against a running `make run`
	@scripts/install.sh run
	@scripts/demo.sh

.PHONY: test
test: ## Every test, on private throw-away servers
	@scripts/install.sh test
	scripts/with-servers.sh cargo nextest run --workspace --locked

.PHONY: check
check: ## Format, lints, offline queries, docs, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	scripts/sqlx-prepare.sh --check
	@scripts/check-dependencies.sh

.PHONY: audit
audit: ## Check the books and every invariant of a running `make run`
	@exec $(TARGET_DIR)/release/iparking audit

.PHONY: bench
bench: ## The table of speeds against their limits; writes loadtest/RESULTS.md
	@scripts/install.sh run
	cargo build --release --locked --workspace
	scripts/bench.sh

.PHONY: schemathesis
schemathesis: ## Fuzz the API against openapi.yaml for a minute (needs python3)
	@scripts/install.sh run
	cargo build --release --locked -p iparking -p iparking-sandbox
	TARGET_DIR=$(TARGET_DIR) scripts/schemathesis.sh

.PHONY: sqlx-prepare
sqlx-prepare: ## Regenerate .sqlx after a query or a migration has changed
	@scripts/install.sh run
	scripts/sqlx-prepare.sh

.PHONY: db-reset
db-reset: ## Forget all data of `make run` (stop it first)
	@scripts/db-reset.sh
