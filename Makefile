# make demo           show the main job, without touching the machine
# make test           format, lint, types and all tests but those of the compiled program
# make build          compile the program to dist/apiserver-proxy-sidecar (ARCH=amd64 or arm64)
# make test-binary    test what make build has made
# make docker-images  build the image for amd64 and arm64 (ARCH, IMAGE, TAG, ENGINE=docker or buildah, CA_FILE)
# make release        put into dist/ what a release consists of: both programs, what is in the images, checksums
# make test-image     build the image, and run the pods of deploy/; as root
# make test-releases  run tests/kernel with the tools of other releases of Debian; as root (RELEASES, TESTS, RELEASES_CACHE)
# make test-cluster   make a cluster of what make build has made (NODES=3, LOSSES=4, POLL=10s, MINUTES=0: see tests/cluster/main.ts)
# make chaos          do random harm to what make build has made (CHAOS_SECONDS=60, CHAOS_SEED=random)
# make bench          measure what make build has made (QUICK=1, PROGRAM=FILE, ONLY=GROUP)
# make revendor       update the packages and the lock
#
# What each does is a task in deno.json. This file finds Deno, and installs what is missing.

DENO_VERSION ?= 2.9.6
export DENO_TLS_CA_STORE ?= system,mozilla
export DENO_NO_UPDATE_CHECK = 1

.PHONY: demo test ok build test-binary docker-images release test-image test-releases test-cluster chaos bench revendor

test: ok

demo ok test-binary chaos bench: SETUP = network
test-image: SETUP = image
test-releases: SETUP = releases
test-cluster: SETUP = cluster
demo ok build test-binary docker-images release test-image test-releases test-cluster chaos bench revendor:
	@deno=$$(sh tests/setup.sh $(DENO_VERSION) $(SETUP)) && PATH="$$deno:$$PATH:/usr/sbin:/sbin" deno task --quiet $@
