#!/bin/sh
# Installs, upgrades or removes Mainstay. Says what it will do, then does that and nothing else. `sh install.sh --help`.
set -eu

program=${0##*/}
prefix='' from='' sums='' digest='' action=install dry_run='' service='' purge='' yes='' verify=yes work=''

usage() {
    cat <<EOF
Usage: sh $program [--from FILE|URL] [flags]

Installs the program, its manual pages and its shell completions. Run from an unpacked release, it installs that release.

  --from FILE|URL   the release: mainstay-VERSION-linux-ARCH.tar.gz
  --sums FILE|URL   its SHA256SUMS [default: the one beside it]
  --sha256 HEX      its checksum, instead of --sums
  --no-verify       do not compare checksums
  --prefix DIR      where to install [default: /usr/local as root, else ~/.local]
  --service         also install the systemd unit (root); nothing is started
  --uninstall       stop every instance, give the host back as it was, remove what was installed
  --purge           with --uninstall: also delete the data (objects, addresses, certificates)
  --dry-run         only say what would be done
  --yes             do not ask
  -h, --help        this text

Installing again upgrades: running pods and their connections go on, also while a systemd service is restarted.
EOF
}

fail() { # fail WHAT NEXT: ends with an error in parts
    printf '%s: %s\n%s\n' "$program" "$1" "$2" >&2
    exit "${3:-1}"
}

say() { printf '%s\n' "$*"; }

need_value() { [ "$2" -ge 2 ] || fail "$1 needs a value." "Type: sh $program --help" 3; }

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --from | --sums | --sha256 | --prefix)
            need_value "$1" $#
            case $1 in
            --from) from=$2 ;;
            --sums) sums=$2 ;;
            --sha256) digest=$2 ;;
            --prefix) prefix=$2 ;;
            esac
            shift
            ;;
        --no-verify) verify= ;;
        --service) service=yes ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --dry-run) dry_run=yes ;;
        --yes | -y) yes=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "there is no flag $1." "Type: sh $program --help" 3 ;;
        esac
        shift
    done
    root=''
    default=${HOME:+$HOME/.local}
    if [ "$(id -u)" = 0 ]; then root=yes default=/usr/local; fi
    prefix=${prefix:-$default}
    [ -n "$prefix" ] || fail "HOME is not set, so there is no default place." "Give one: --prefix DIR" 3
    case $prefix in
    *[!A-Za-z0-9_./+@:,-]*) fail "--prefix $prefix has a letter that units and lists cannot carry." "Give a plain path: --prefix /opt/mainstay" 3 ;;
    /*) ;;
    *) fail "--prefix $prefix is no absolute path." "Give one: --prefix $(pwd)/$prefix" 3 ;;
    esac
    prefix=${prefix%/}
    list=$prefix/share/mainstay/installed
    [ -z "$purge" ] || [ "$action" = uninstall ] || fail "--purge deletes data." "Use it with --uninstall." 3
    case $service$prefix in
    /* | yes/usr | yes/usr/local) ;;
    *) fail "--service works with --prefix /usr/local or /usr: systemd looks for units nowhere else." "Leave --prefix out" 3 ;;
    esac
    [ -z "$service" ] || [ -n "$root" ] || fail "--service needs root: units belong to the system." "Type: sudo sh $program --service" 3
}

confirm() {
    [ -z "$dry_run" ] || { say "nothing was done (--dry-run)" && exit 0; }
    if [ -z "$yes" ] && [ -t 0 ] && [ -t 1 ]; then
        printf 'Go on? [y/N] '
        read -r answer
        case $answer in y | Y | yes) ;; *) say "nothing was done" && exit 0 ;; esac
    fi
}

# ---- where the release comes from

machine() {
    case $(uname -m) in
    x86_64 | amd64) echo x86_64 ;;
    aarch64 | arm64) echo aarch64 ;;
    *) fail "there is no release for $(uname -m)." "Build it: cargo build --release" ;;
    esac
}

fetch() { # fetch FILE|URL TO
    case $1 in
    http://* | https://*)
        if command -v curl >/dev/null 2>&1; then
            curl -fsSL --retry 2 -o "$2" "$1" || fail "cannot download $1." "Look whether the address is right."
        elif command -v wget >/dev/null 2>&1; then
            wget -qO "$2" "$1" || fail "cannot download $1." "Look whether the address is right."
        else
            fail "neither curl nor wget is here." "Install one, or download $1 yourself and give it with --from FILE."
        fi
        ;;
    *) cp "$1" "$2" 2>/dev/null || fail "cannot read $1." "Give the release's file: --from FILE" ;;
    esac
}

unpack() { # finds the release, verifies it, and unpacks it into $release
    here=$(dirname -- "$0")
    if [ -z "$from" ]; then
        [ -x "$here/bin/mainstay" ] || fail "there is no release beside this script." \
            "Give one: sh $program --from mainstay-VERSION-linux-$(machine).tar.gz" 3
        release=$here
        return
    fi
    name=${from##*/}
    fetch "$from" "$work/$name"
    if [ -n "$verify" ]; then
        if [ -z "$digest" ]; then
            [ -n "$sums" ] || sums=${from%"$name"}SHA256SUMS
            fetch "$sums" "$work/SHA256SUMS"
            digest=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$work/SHA256SUMS")
            [ -n "$digest" ] || fail "$sums has no line for $name." "Give the right one: --sums FILE, or --sha256 HEX"
        fi
        found=$(sha256sum "$work/$name" | cut -d ' ' -f 1)
        digest=$(printf %s "$digest" | tr A-F a-f)
        [ "$found" = "$digest" ] || fail "$name is damaged or not what was released: its SHA-256 is $found, not $digest." \
            "Download it again. Nothing was installed."
    fi
    mkdir "$work/release"
    tar -xzf "$work/$name" -C "$work/release" || fail "$name is no release of Mainstay." "Give a .tar.gz of one: --from FILE"
    set -- "$work"/release/*
    release=$1
    [ -f "$release/bin/mainstay" ] || fail "$name holds no program bin/mainstay." "Give a release of Mainstay: --from FILE"
}

# ---- installing

files() { # the files to install, relative to the release and to the prefix alike
    (cd "$release" && find bin lib share -type f | sort) | while read -r file; do
        case $file in lib/systemd/*) [ -z "$service" ] || say "$file" ;; *) say "$file" ;; esac
    done
}

missing_directories() { # missing_directories PATH: those above it that do not exist yet, outermost first
    [ -d "$(dirname "$1")" ] || { missing_directories "$(dirname "$1")" && dirname "$1"; }
}

put() { # put FROM TO: whole or not at all, also when TO is a running program
    mkdir -p "$(dirname "$2")"
    case $1 in
    */mainstay.service) sed "s|/usr/bin/mainstay|$prefix/bin/mainstay|" "$1" >"$2.new" ;;
    *) cp "$1" "$2.new" ;;
    esac
    case $1 in */bin/*) chmod 755 "$2.new" ;; *) chmod 644 "$2.new" ;; esac
    mv -f "$2.new" "$2"
}

has_systemd() { [ -n "$root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

uses_service() { [ -e "$prefix/lib/systemd/system/mainstay.service" ]; }

install_all() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    umask 022
    unpack
    # An installed unit is upgraded with the rest.
    ! uses_service || service=yes
    version=$("$release/bin/mainstay" --version 2>/dev/null) || fail "$release/bin/mainstay does not run on this machine ($(uname -m))." \
        "Take the release for it: mainstay-VERSION-linux-$(machine).tar.gz"
    old=
    [ ! -x "$prefix/bin/mainstay" ] || old=$("$prefix/bin/mainstay" --version 2>/dev/null || echo "another program")
    if [ -n "$old" ]; then say "$version will replace $old in $prefix:"; else say "$version will be installed in $prefix:"; fi
    files | sed "s|^|  $prefix/|"
    if uses_service; then say "  and a running service is restarted; its pods go on"; fi
    [ -z "$service" ] || uses_service || say "  the unit is not started"
    say "  $list, for --uninstall"
    confirm
    mkdir -p "$prefix" 2>/dev/null || true
    [ -w "$prefix" ] || fail "$prefix cannot be written by $(id -un)." \
        "Choose another place (--prefix DIR), or: sudo sh $program"
    {
        if [ -e "$list" ]; then grep '^d ' "$list" || true; fi
        { files | sed "s|^|$prefix/|" && say "$list"; } | while read -r file; do missing_directories "$file"; done | sed 's/^/d /'
        files | sed "s|^|f $prefix/|"
        say "f $list"
    } | awk '!seen[$0]++' >"$work/installed"
    # The list comes first: an installation that stops half-way can be undone, and what an older release had stays in it.
    mkdir -p "$(dirname "$list")"
    { if [ -e "$list" ]; then cat "$list"; fi && cat "$work/installed"; } | awk '!seen[$0]++' >"$work/both"
    cp "$work/both" "$list" || fail "cannot write $list." "Free space, then try again."
    chmod 644 "$list"
    files | while read -r file; do
        put "$release/$file" "$prefix/$file" || {
            rm -f "$prefix/$file.new"
            fail "cannot write $prefix/$file." "Free space and try again, or undo it: sh $program --uninstall"
        }
    done
    sed -n 's/^f //p' "$work/both" | while read -r file; do grep -qxF "f $file" "$work/installed" || rm -f "$file"; done
    cp "$work/installed" "$list"
    if [ -n "$service" ] && has_systemd; then
        systemctl daemon-reload
        systemctl try-restart mainstay.service
    fi
    say "installed $version"
    case :$PATH: in *:"$prefix/bin":*) run=mainstay ;; *) run=$prefix/bin/mainstay ;; esac
    say "try it: $run demo"
    [ -z "$service" ] || say "on this host itself: systemctl enable --now mainstay"
}

# ---- removing

data_directory() {
    if [ -n "$root" ]; then echo /var/lib/mainstay; else echo "${XDG_STATE_HOME:-$HOME/.local/state}/mainstay"; fi
}

give_back() { # stops every instance; 3 means that an older program does not know --all
    "$mainstay" down --all || [ $? = 3 ] || return 1
    "$mainstay" down
}

uninstall_all() {
    data=$(data_directory)
    if [ ! -e "$list" ]; then
        say "nothing is installed in $prefix (there is no $list)"
        [ -z "$purge" ] || [ ! -e "$data" ] || fail "the data in $data was not deleted: the program that gives the host back is gone." \
            "Install it again, then: sh $program --uninstall --purge"
        exit 0
    fi
    say "this will be done:"
    say "  every instance stopped, with its pods; addresses, routes, rules and sysctls of this host as they were before"
    ! uses_service || say "  mainstay.service stopped and disabled"
    sed -n 's/^f /  removed: /p' "$list"
    if [ -n "$purge" ]; then say "  deleted: $data"; elif [ -e "$data" ]; then say "  kept:    $data (--purge deletes it)"; fi
    confirm
    if uses_service && has_systemd; then systemctl disable --now mainstay.service || true; fi
    mainstay=$prefix/bin/mainstay
    if [ ! -x "$mainstay" ] && [ -e "$data" ]; then
        fail "$mainstay is gone, and with it the way to stop instances and to give this host back; nothing was removed." \
            "Install it again (sh $program --from RELEASE), then: sh $program --uninstall"
    fi
    if [ -x "$mainstay" ]; then
        # The ledger of what was changed on this host is in the data: nothing goes before it was followed.
        give_back || fail "an instance could not be stopped, so nothing was removed." "See what it said, then try again."
        # What an older program leaves is removed below.
        [ -z "$purge" ] || [ ! -d "$data" ] || "$mainstay" down --data-dir "$data" --delete-data || true
    fi
    directories=$(sed -n 's/^d //p' "$list" | sort -r)
    sed -n 's/^f //p' "$list" | while read -r file; do rm -f "$file"; done
    # Only directories that the installation made, and only empty ones.
    say "$directories" | while read -r directory; do
        [ -z "$directory" ] || rmdir "$directory" 2>/dev/null || true
    done
    if has_systemd; then systemctl daemon-reload; fi
    [ -z "$purge" ] || rm -rf "$data"
    say "removed"
}

main() {
    parse "$@"
    case $action in install) install_all ;; uninstall) uninstall_all ;; esac
}

# The last line: a script that was cut off while downloading does nothing.
main "$@"
