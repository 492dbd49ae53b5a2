# Helpers of the steps: every one says what it saw, and fails the step when it saw something else.
export KUBECONFIG=/var/lib/mainstay/kubeconfig
release=$(echo /root/mainstay-*-linux-*.tar.gz)

ok() { echo "ok: $*"; }
fail() {
    echo "FAIL: $*"
    exit 1
}

until_ok() { # until_ok SECONDS COMMAND...: tries again until it works
    limit=$(($(date +%s) + $1))
    shift
    until "$@" >/tmp/last 2>&1; do
        [ "$(date +%s)" -lt "$limit" ] || {
            cat /tmp/last
            fail "never worked: $*"
        }
        sleep 0.2
    done
}

same() { # same FILE FILE WHAT: two dumps are equal
    if diff "$1" "$2" >/tmp/differs; then ok "$3"; else
        cat /tmp/differs
        fail "$3: they differ"
    fi
}

cluster_ip() { kubectl get service web -o 'jsonpath={.spec.clusterIP}'; }

load_begin() { # asks the Service again and again, a new connection each time, until load_end
    ip=$(cluster_ip)
    rm -f /tmp/load-stop
    (
        asked=0 lost=0
        while [ ! -e /tmp/load-stop ]; do
            asked=$((asked + 1))
            curl -fsS --max-time 5 -o /dev/null "http://$ip/" 2>>/tmp/load-errors || lost=$((lost + 1))
        done
        echo "$asked $lost" >/tmp/load
    ) &
    load=$!
}

load_end() { # load_end WHAT: says how many were lost; none may be
    touch /tmp/load-stop
    wait "$load"
    read -r asked lost </tmp/load
    [ "$lost" = 0 ] || fail "$1: $lost of $asked connections failed: $(tail -n 1 /tmp/load-errors)"
    ok "$1: $asked new connections, none lost"
}

pods() { kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.metadata.name} {.status.podIP} {.status.containerStatuses[0].restartCount}{"\n"}{end}'; }
server() { systemctl show mainstay -p MainPID --value; }
