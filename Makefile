# `make` alone lists the targets; the scripts in deploy/dev/ do the work.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up down clean newcomer test check fuzz storm grey bench sqlx

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Install, build and start everything, with a first project (RELEASE=core-3|supabase-2025.12-3; SETUP=browser: make the first user there)
	@RELEASE='$(RELEASE)' SETUP='$(SETUP)' deploy/dev/up.sh

down: ## Stop everything and keep the data
	@deploy/dev/down.sh

clean: ## Stop everything and remove everything that `make up` made, including data
	@deploy/dev/clean.sh

test: ## Start what the tests need and run all tests (ONLY='fleet cli' TEST=words: only these)
	@ONLY='$(ONLY)' TEST='$(TEST)' deploy/dev/test.sh

newcomer: ## Run the commands of the README on a fresh minimal system and check their output (ALL=1: Debian 12 and 13, root and sudo)
	@ALL='$(ALL)' deploy/dev/newcomer.sh

check: ## Formatting, lints, protos, scripts, licences
	@deploy/dev/check.sh

fuzz: ## Feed every parser of untrusted bytes a million mutated inputs (SUPALOVE_FUZZ_CASES, SUPALOVE_FUZZ_SEED)
	@deploy/dev/fuzz.sh

storm: ## Random concurrent acts on a controller with doubles of agents, then all must fit (SEEDS=1000 FIRST=0)
	@SUPALOVE_STORM_SEEDS='$(or $(SEEDS),1000)' SUPALOVE_STORM_FIRST='$(or $(FIRST),0)' ONLY=api TEST=random_concurrent deploy/dev/test.sh

grey: ## Each grey fault of database, agent links and engine, for minutes (SECONDS=180)
	@SUPALOVE_GREY_SECONDS='$(or $(SECONDS),180)' ONLY=faults TEST=during_a_grey_fault deploy/dev/test.sh

bench: ## Measure release builds against the aims of docs/bench.md (QUICK=1 to try it in minutes)
	@QUICK='$(QUICK)' ITEMS='$(ITEMS)' deploy/dev/bench.sh

sqlx: ## Regenerate .sqlx (metadata for compile-time query checks) and docs/schema.md
	@deploy/dev/sqlx.sh
