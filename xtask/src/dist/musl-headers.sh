#!/bin/sh
# musl-headers.sh ARCH DIR: unpacks Debian's musl-dev of a foreign architecture into DIR, with apt's lists in a directory
# of its own.
set -eu
arch=$1 place=$2
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$place"
set -- -qq -o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o Dir::State::lists="$apt/lists" \
    -o Dir::Cache="$apt/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root \
    -o Dir::Etc::sourceparts=- -o Dir::Etc::sourcelist="$apt/sources"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" >"$apt/sources"
apt-get "$@" update
cd "$apt"
apt-get "$@" download musl-dev
dpkg-deb -x musl-dev_*.deb "$place"
