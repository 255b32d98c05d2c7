#!/bin/sh
# download.sh ARCHITECTURE FOLDER: puts the Debian packages of the tools, and all that they depend on, into FOLDER.
# apt looks at an empty machine of that architecture: nothing is installed here, and nothing has to run there.
set -eu
mkdir -p "$2/lists/partial" "$2/partial"
: > "$2/status"
apt() {
  apt-get --quiet=2 --yes \
    --option APT::Architecture="$arch" --option APT::Architectures="$arch" --option APT::Sandbox::User=root \
    --option Dir::State::status="$folder/status" --option Dir::State::lists="$folder/lists" \
    --option Dir::Cache::archives="$folder" --option Dir::Cache::pkgcache= --option Dir::Cache::srcpkgcache= "$@"
}
arch=$1 folder=$2
apt update
apt --download-only --no-install-recommends install base-files iproute2 iptables libc6 libgcc-s1 nftables util-linux
