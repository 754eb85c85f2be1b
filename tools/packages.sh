#!/usr/bin/env bash
# Installs what the build and the tests need of Debian, if it is missing.
set -euo pipefail

missing=()
need() { # need PACKAGE TEST…: the package is missing if the test fails
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

need libseccomp-dev test -e /usr/include/seccomp.h
need pkg-config command -v pkg-config
need busybox-static test -x /bin/busybox
need nftables command -v nft
need iproute2 command -v ip
need e2fsprogs command -v resize2fs
need mount command -v losetup
need curl command -v curl

if ((${#missing[@]} == 0)); then
	exit 0
fi
if [[ $(id -u) != 0 ]]; then
	echo "packages: install these first: ${missing[*]}" >&2
	exit 1
fi
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
