# The front door. `make` alone lists what there is; the work is done by the scripts in deploy/dev/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up down clean newcomer test check fuzz bench sqlx

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Install, build and start everything; ends with a first project that answers (RELEASE=core|supabase-2025.12)
	@RELEASE='$(RELEASE)' deploy/dev/up.sh

down: ## Stop everything and keep the data
	@deploy/dev/down.sh

clean: ## Stop everything and remove all that `make up` made, data included
	@deploy/dev/clean.sh

test: ## Start what the tests need and run all of them (ONLY='fleet cli' TEST=words: only these)
	@ONLY='$(ONLY)' TEST='$(TEST)' deploy/dev/test.sh

newcomer: ## Do what the README says on a machine as new and check what comes of it (ALL=1: Debian 12 and 13, root and sudo)
	@ALL='$(ALL)' deploy/dev/newcomer.sh

check: ## Formatting, lints, protos, scripts, licences
	@deploy/dev/check.sh

fuzz: ## Feed every parser of foreign bytes with a million damaged inputs (SUPALOVE_FUZZ_CASES, SUPALOVE_FUZZ_SEED)
	@deploy/dev/fuzz.sh

bench: ## Measure release builds against the aims of docs/bench.md (QUICK=1 to try it in minutes)
	@QUICK='$(QUICK)' ITEMS='$(ITEMS)' deploy/dev/bench.sh

sqlx: ## Write .sqlx, the record of the checked queries, anew
	@deploy/dev/sqlx.sh
