# syntax=docker/dockerfile:1
# The program and the tools it starts, without a shell or anything else. Everything is made on the machine's own architecture:
# the packages of another one are unpacked, not installed, so that nothing has to be emulated.
ARG DENO_VERSION=2.9.6
ARG DENO_IMAGE=docker.io/denoland/deno:bin-${DENO_VERSION}
# Where the tools come from; packages of the same release of Debian.
ARG DEBIAN_IMAGE=docker.io/library/debian:trixie-slim
# What they are put on. One that has folders where Debian has links (/lib, /lib64) does not work.
ARG BASE_IMAGE=scratch

FROM --platform=$BUILDPLATFORM ${DENO_IMAGE} AS deno

# Runtimes of Deno for machines that cannot fetch them: --build-context denort=FOLDER takes its place.
FROM scratch AS denort

FROM --platform=$BUILDPLATFORM ${DEBIAN_IMAGE} AS build
COPY --from=deno /deno /usr/local/bin/deno
WORKDIR /src
COPY .ci/image/download.sh .ci/image/
ARG TARGETARCH
RUN .ci/image/download.sh "$TARGETARCH" /packages
COPY . .
ARG COMMIT=unknown
# Secret ca: the authorities to trust, behind a proxy that inspects TLS.
RUN --mount=type=secret,id=ca --mount=type=bind,from=denort,target=/denort \
  if [ -e /run/secrets/ca ]; then export DENO_CERT=/run/secrets/ca; fi; \
  DENORT_BIN=$(find /denort -type f | paste --serial --delimiters=:) ARCH=$TARGETARCH deno task --quiet build
ARG SOURCE_DATE_EPOCH=0
RUN deno run --quiet -P=test .ci/image/rootfs.ts "$TARGETARCH" /packages dist/apiserver-proxy-sidecar /rootfs \
  && mkdir -p /rootfs/usr/share/sbom \
  && deno run --quiet -P=test .ci/image/sbom.ts /rootfs > /rootfs/usr/share/sbom/apiserver-proxy-sidecar.cdx.json \
  && find /rootfs -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# For `make release`: what the image is made of, as a file.
FROM scratch AS sbom
COPY --from=build /rootfs/usr/share/sbom/ /

FROM ${BASE_IMAGE}
COPY --from=build /rootfs/ /
ENV PATH=/usr/sbin:/usr/bin
ARG BASE_IMAGE
ARG COMMIT=unknown
ARG VERSION=unknown
ARG SOURCE=https://github.com/gardener-community/apiserver-proxy-sidecar
LABEL org.opencontainers.image.title=apiserver-proxy-sidecar \
  org.opencontainers.image.description="Keeps an address and the iptables rules of an API server proxy on a node" \
  org.opencontainers.image.source=$SOURCE \
  org.opencontainers.image.version=$VERSION \
  org.opencontainers.image.revision=$COMMIT \
  org.opencontainers.image.licenses=Apache-2.0 \
  org.opencontainers.image.base.name=$BASE_IMAGE
ENTRYPOINT ["/apiserver-proxy-sidecar"]
