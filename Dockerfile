# The node's tools come from Debian; which back end of iptables is driven, the program finds out.
ARG DENO_VERSION=2.9.6

FROM docker.io/denoland/deno:bin-${DENO_VERSION} AS deno

FROM docker.io/library/debian:bookworm-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates make
COPY --from=deno /deno /usr/local/bin/deno
WORKDIR /src
COPY . .
ARG DENO_VERSION
ARG COMMIT=unknown
# DENORT_BIN: a runtime inside the context, where dl.deno.land is out of reach.
ARG DENORT_BIN
RUN make build

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
  && apt-get install --yes --no-install-recommends iproute2 iptables nftables \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/dist/apiserver-proxy-sidecar /usr/local/bin/
ENTRYPOINT ["apiserver-proxy-sidecar"]
