# `make demo` and `make test` each set up all that they need below .venv, from nothing but Python 3.11+.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HOUSE := $(VENV)/house
ROOMS := asr codecs streaming client
PIP := $(BIN)/python -m pip --disable-pip-version-check
SPEECH ?= ../shared/speech
OUT ?= build/benchmarks
# Files of tests at a time: many wait for speech to be spoken. Each process takes up to 2 GB.
JOBS ?= 2

# OpenMP's idle threads spin by default and take the cores from whatever runs beside them.
export GOMP_SPINCOUNT ?= 0

.DEFAULT_GOAL := help
.PHONY: help install demo browser proxies test test-fast lint format constraints docs docker clean \
	bench-accuracy bench-latency bench-longform bench-noise bench-tradeoff bench-comparison bench-codec bench-load bench-crowd \
	bench-faults bench-soak bench-assistant screenshots

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  make %-15s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## Create .venv with everything in it

# torch first and with its own dependencies, since a CUDA build needs packages that a CPU build does not;
# then exactly the list, without resolving anything: what is not pinned cannot slip in.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'voicewire needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo 'Python lacks its venv module: apt-get install python3-venv' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch setuptools
	$(PIP) install --quiet --no-deps --no-build-isolation --requirement constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## Live captions of real speech from a real server
	$(BIN)/voicewire demo

# The tests of the captions page drive a real Chromium, which no Python package brings. Where this may not install
# one, they are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test -n "$$VOICEWIRE_CHROMIUM" \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
			&& apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes \
				--no-install-recommends chromium >/dev/null; } \
		|| echo 'no Chromium: the tests of the captions page are skipped (apt-get install chromium)' >&2

# And those of deploy/ go through the proxies. A machine with systemd would begin to serve with them.
proxies:
	@{ command -v haproxy && command -v nginx; } >/dev/null \
		|| { test "$$(id -u)" = 0 && test ! -d /run/systemd/system && command -v apt-get >/dev/null \
			&& apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes \
				--no-install-recommends haproxy nginx-light >/dev/null; } \
		|| echo 'no HAProxy or nginx: tests of deploy/ are skipped (apt-get install haproxy nginx)' >&2

test: $(STAMP) browser proxies ## All tests
	$(BIN)/python -m pytest -n $(JOBS) --max-worker-restart=0 --dist loadgroup

test-fast: $(STAMP) browser proxies ## Without the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS) --max-worker-restart=0 --dist loadgroup -m 'not slow'

# mypy follows no editable installs, so the rooms are linked together below the name that they are installed by.
# It must run there: in the repository it would take the folder `codecs` for Python's own module of that name.
$(HOUSE): $(STAMP)
	@mkdir -p $(HOUSE)/voicewire
	@for room in $(ROOMS); do ln -sfn "$(CURDIR)/$$room" $(HOUSE)/voicewire/$$room; done
	@touch $@

lint: $(STAMP) $(HOUSE) ## ruff, mypy, the arrows between rooms, the documents, the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(HOUSE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache \
		$(addprefix -p voicewire.,$(ROOMS))
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@if test -x $(BIN)/hadolint; then echo hadolint Dockerfile; $(BIN)/hadolint Dockerfile; \
		else echo 'hadolint: no build of it for this platform, Dockerfile not checked'; fi

format: $(STAMP) ## Let ruff rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(STAMP) ## Pin today's versions of everything in constraints.txt
	$(BIN)/python .ci/pin.py

bench-accuracy: $(STAMP) ## Word error rates on every set in SPEECH (hours; resumes where it stopped)
	$(BIN)/python -m benchmarks.accuracy --json $(OUT)/accuracy.json --markdown docs/accuracy.md \
		--data $(wildcard $(SPEECH)/dev-*.tar $(SPEECH)/test-*.tar $(SPEECH)/common-voice-*.tar $(SPEECH)/noise-*.tar)

bench-latency: $(STAMP) ## Delay of words, their times, speed and memory
	$(BIN)/python -m benchmarks.latency --json $(OUT)/latency.json --markdown docs/accuracy.md --plot docs/delay.png \
		--data $(SPEECH)/words-00.tar $(SPEECH)/dev-00.tar

bench-longform: $(STAMP) ## Ten-minute streams: errors and cost against short clips
	$(BIN)/python -m benchmarks.longform --json $(OUT)/longform.json --data $(SPEECH)/dev-00.tar

bench-noise: $(STAMP) ## Words made up in an hour in which nobody speaks
	$(BIN)/python -m benchmarks.noise --json $(OUT)/noise.json --markdown docs/accuracy.md --data $(SPEECH)/noise-00.tar

bench-tradeoff: $(STAMP) ## The curve of delay against errors, as a plot
	$(BIN)/python -m benchmarks.tradeoff --json $(OUT)/tradeoff.json --plot docs/tradeoff.png \
		--data $(SPEECH)/test-clean-00.tar

bench-load: $(STAMP) ## How many live streams the machine carries, beside a peer (15 minutes)
	$(BIN)/python -m benchmarks.load --json $(OUT)/load.json --markdown docs/load.md --plot docs/load.png \
		--data $(SPEECH)/dev-00.tar --peer faster-whisper-local-agreement

bench-crowd: $(STAMP) ## A full server, and as many clients again before its doors
	$(BIN)/python -m benchmarks.crowd --json $(OUT)/crowd.json --markdown docs/load.md --data $(SPEECH)/dev-00.tar

bench-faults: $(STAMP) ## What is lost when connections, processes and clients fail (20 minutes)
	$(BIN)/python -m benchmarks.faults --json $(OUT)/faults.json --markdown docs/faults.md --data $(SPEECH)/dev-00.tar

bench-soak: $(STAMP) ## Two hours of speech in one session, and 500 sessions: memory, cost and delay
	$(BIN)/python -m benchmarks.soak --json $(OUT)/soak.json --markdown docs/faults.md --plot docs/soak.png \
		--data $(SPEECH)/dev-00.tar

bench-assistant: $(STAMP) ## How long an assistant waits for the words of a turn, by each door (half an hour)
	$(BIN)/python -m benchmarks.assistant --json $(OUT)/assistant.json --markdown docs/assistants.md \
		--data $(SPEECH)/test-clean-00.tar --limit 200 --longest 6 --sessions 2 --door native,deepgram,openai

bench-comparison: $(STAMP) ## Against LocalAgreement and a sliding window over faster-whisper (hours)
	$(BIN)/python -m benchmarks.comparison --json $(OUT)/comparison.json --markdown docs/accuracy.md --native \
		--data $(SPEECH)/dev-00.tar

# PESQ is C source alone, so it is not among the packages that `make install` brings.
bench-codec: $(STAMP) ## Quality and speed of the codecs beside Opus (hours; LYRA=FOLDER holds lyra_v2's weights)
	$(PIP) install --quiet --no-deps pesq==0.0.4 || echo 'PESQ needs a C compiler: left out' >&2
	$(BIN)/python -m benchmarks.codec --json $(OUT)/codec.json --markdown docs/codec.md \
		--plot docs/codec/spectrograms.png $(if $(LYRA),--weights lyra_v2=$(LYRA)) \
		--data $(SPEECH)/test-clean-00.tar $(SPEECH)/test-other-00.tar
	$(BIN)/python -m benchmarks.codec_speed --json $(OUT)/codec_speed.json --markdown docs/codec.md \
		$(if $(LYRA),--weights lyra_v2=$(LYRA)) --data $(SPEECH)/test-clean-00.tar

docs: $(STAMP) ## The documentation as a site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

screenshots: $(STAMP) browser ## Pictures of the captions page for the documents
	$(BIN)/python -m benchmarks.screenshots --output docs/page

docker: ## Build the server's image for CPUs
	docker build --tag voicewire .

clean: ## Remove .venv and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
