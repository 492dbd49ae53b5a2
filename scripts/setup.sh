#!/bin/sh
# Installs what is missing on a Debian or Ubuntu machine: a C compiler, and with the argument "test" also the stock
# programs that the tests drive (kubectl 1.30 or newer, curl, dig, nft, ip, setpriv, node, npm, python3, strace); with
# "dist" what `cargo xtask dist` and `cargo xtask stranger` need instead. Says what it does; changes nothing else.
set -eu

want() { # want PROGRAM PACKAGE: remember the package if the program is missing
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

install_missing() {
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "setup: missing:$missing. Run as root, or: sudo apt-get install -y$missing" >&2
        exit 1
    fi
    echo "setup: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# The programs that the tests run Mainstay beside, in namespaces of their own. Their services neither start now nor at the
# next boot: a firewall that nobody asked for would close this machine.
install_neighbours() {
    missing=""
    want iptables iptables
    want dockerd docker.io
    want podman podman
    [ -d /usr/lib/cni ] || missing="$missing containernetworking-plugins"
    want ufw ufw
    want firewalld firewalld
    want dbus-daemon dbus-daemon
    [ -n "$missing" ] || return 0
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ "$(id -u)" = 0 ] && [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    installed=$missing
    install_missing
    [ "$ours" = no ] || rm -f "$policy"
    for unit in firewalld docker.service docker.socket ufw podman.socket podman-restart; do
        case "$installed" in
            *"${unit%%.*}"*) systemctl disable --quiet "$unit" 2>/dev/null || true ;;
        esac
    done
}

kubectl_minor() { # prints the minor version of the kubectl on PATH, or nothing
    kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1
}

kubectl_is_new_enough() {
    minor=$(kubectl_minor)
    [ -n "$minor" ] && [ "$minor" -ge 30 ]
}

install_kubectl() {
    kubectl_is_new_enough && return 0
    if [ "$(id -u)" != 0 ]; then
        echo "setup: kubectl 1.30 or newer is missing. Run as root, or install it: https://kubernetes.io/docs/tasks/tools/" >&2
        exit 1
    fi
    candidate=$(apt-cache policy kubernetes-client 2>/dev/null | sed -n 's/ *Candidate: [0-9:]*1\.\([0-9]*\).*/\1/p')
    if [ "${candidate:-0}" -ge 30 ]; then
        echo "setup: installing kubectl from the distribution"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends kubernetes-client >/dev/null
    else
        version=v1.34.1
        case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
        url=https://dl.k8s.io/release/$version/bin/linux/$arch/kubectl
        echo "setup: downloading kubectl $version from $url"
        curl -fsSLo /usr/local/bin/kubectl "$url"
        echo "$(curl -fsSL "$url.sha256")  /usr/local/bin/kubectl" | sha256sum --check --quiet
        chmod 755 /usr/local/bin/kubectl
    fi
    kubectl_is_new_enough || {
        echo "setup: still no kubectl 1.30 or newer on PATH; install it: https://kubernetes.io/docs/tasks/tools/" >&2
        exit 1
    }
}

# A cargo installed by rustup is not on root's PATH in a fresh shell.
command -v cargo >/dev/null 2>&1 || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$HOME/.cargo/bin:$PATH"
command -v cargo >/dev/null 2>&1 || {
    echo "setup: cargo is missing; install Rust 1.95 or newer from https://rustup.rs and try again" >&2
    exit 1
}

missing=""
want cc gcc
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
if [ "${1:-}" = test ]; then
    want curl curl
    want dig bind9-dnsutils
    want nft nftables
    want setpriv util-linux
    want ip iproute2
    want script bsdutils
    want ss iproute2
    want openssl openssl
    want dpkg-deb dpkg
    want node nodejs
    want npm npm
    want python3 python3
    want strace strace
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
fi
if [ "${1:-}" = dist ]; then
    want musl-gcc musl-tools
    want aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    want qemu-aarch64-static qemu-user-static
    want mmdebstrap mmdebstrap
    want systemd-nspawn systemd-container
    want lintian lintian
    want shellcheck shellcheck
fi
install_missing
[ "${1:-}" != test ] || install_neighbours
[ "${1:-}" != test ] || install_kubectl
[ "${1:-}" != dist ] || rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
