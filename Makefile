# Mooring's verbs. `make demo` and `make test` each install what they need.
.PHONY: setup demo test check bless bench soak lock clean
PYTEST = .venv/bin/python -m pytest
# Or every process of a cluster, and every worker of the tests, would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
BENCH ?= dataplane_sync datapath propagation apiserver store dns names ingress ingress_changes

setup:  ## system packages and .venv (quick when done before)
	@scripts/bootstrap

demo: setup  ## the whole story on one machine: a Service over real pods, from kubectl to packets
	@.venv/bin/python examples/hello/demo.py

test: setup check  ## every test: pure, kernel, clients, end to end
	$(PYTEST) -n 3 --dist loadfile

check: setup  ## style, types and the one-way imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

bless: setup  ## rewrite the golden files of tests/scenarios; read the diff
	$(PYTEST) tests/scenarios --bless

bench:  ## benchmarks with their peers in the same run
	@scripts/bootstrap bench
	@for name in $(BENCH); do .venv/bin/python -m bench $$name; done

soak: setup  ## 1,000 examples of each property, 100,000 random packets, 200 kills and 200 power cuts of the store; kill -9 of each role
	MOORING_EXAMPLES=1000 $(PYTEST) -q -n 2 --dist loadfile -m hypothesis --timeout=1800
	MOORING_KERNEL_PACKETS=100000 MOORING_SEED=$$RANDOM $(PYTEST) -q tests/dataplane/test_agreement.py
	MOORING_CRASHES=200 MOORING_SEED=$$RANDOM $(PYTEST) -q tests/edges/sqlite/test_crashes.py
	MOORING_API_CASES=5 MOORING_SEED=$$RANDOM $(PYTEST) -q tests/edges/http/test_schemathesis.py
	.venv/bin/python -m bench.soak --minutes 10

lock: setup  ## requirements.in -> requirements.lock (needs pip-tools)
	.venv/bin/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --no-header --allow-unsafe --strip-extras -o requirements.lock requirements.in

clean:
	rm -rf .venv build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
