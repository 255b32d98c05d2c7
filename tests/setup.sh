#!/bin/sh
# setup.sh VERSION [network|image|releases|cluster]: prints the folder in which `deno` of that version is, fetching it with
# npx if need be. With a word, sees to it that the network tools are installed; with "image", what builds and runs images too,
# with "releases" what makes root directories, and with "cluster" those of a whole cluster.
set -eu
PATH="$PATH:/usr/sbin:/sbin" # plain users have no sbin in theirs

missing=
need() { command -v "$1" > /dev/null || missing="$missing $2"; }
if [ -n "${2-}" ]; then
  need ip iproute2
  need iptables-nft-save iptables
  need nft nftables
  need conntrack conntrack
  need nsenter util-linux
  need curl curl
  if [ "$2" = cluster ]; then
    need haproxy haproxy
    need openssl openssl
    need prometheus prometheus
  fi
  # What tests can do without, but CI must not.
  [ -z "${CI-}" ] || need strace strace
  [ -z "${CI-}" ] || need promtool prometheus
  [ -z "${CI-}" ] || need systemd-analyze systemd
  [ -z "${CI-}" ] || need kubectl kubernetes-client
fi
if [ "${2-}" = image ]; then
  need buildah buildah
  need podman podman
  need runc runc
  need catatonit catatonit
  need debootstrap debootstrap
  need qemu-aarch64-static qemu-user-static
  need curl curl
  need jq jq
fi
if [ "${2-}" = releases ]; then
  need debootstrap debootstrap
fi
if [ -n "$missing" ]; then
  install="apt-get install --yes --no-install-recommends$missing"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "Some Debian packages are missing; as root, run: $install" >&2
    exit 1
  fi
  echo "Installing$missing ..." >&2
  log=$(apt-get --quiet update 2>&1 && DEBIAN_FRONTEND=noninteractive $install 2>&1) || {
    echo "$log" >&2
    exit 1
  }
fi

if [ "$(deno --version 2> /dev/null | head -n 1 | cut -d ' ' -f 2)" = "$1" ]; then
  deno=$(command -v deno)
elif command -v npx > /dev/null; then
  deno=$(npx --yes "deno@$1" eval --quiet 'console.log(Deno.execPath())')
else
  remedy='apt-get install npm'
  if command -v deno > /dev/null; then remedy="deno upgrade $1"; fi
  echo "Neither Deno $1 nor npx is installed; run: $remedy" >&2
  exit 1
fi
dirname "$deno"
