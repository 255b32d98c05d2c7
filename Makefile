# make demo         show the main job, without touching the machine
# make test         format, lint, types and all tests but those of the compiled program
# make build        compile the program to dist/apiserver-proxy-sidecar
# make test-binary  test what make build has made
# make chaos        do random harm to what make build has made (CHAOS_SECONDS=60, CHAOS_SEED=random)
# make bench        measure
# make revendor     update the packages and the lock
#
# What each does is a task in deno.json. This file finds Deno, and installs what is missing.

DENO_VERSION ?= 2.9.6
export DENO_TLS_CA_STORE ?= system,mozilla
export DENO_NO_UPDATE_CHECK = 1

.PHONY: demo test ok build test-binary chaos bench revendor

test: ok

demo ok test-binary chaos bench: SETUP = network
demo ok build test-binary chaos bench revendor:
	@deno=$$(sh tests/setup.sh $(DENO_VERSION) $(SETUP)) && PATH="$$deno:$$PATH:/usr/sbin:/sbin" deno task --quiet $@
