# Functions for scripts that look at Services from outside: a network namespace without pods, connected to the node's by a
# link, plays the rest of the world. Sourced; needs KUBECONFIG and MAINSTAY (path of the program), iproute2 and nft.
# shellcheck shell=sh
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
node() { "${MAINSTAY:?path of the program}" exec --kubeconfig "${KUBECONFIG:?kubeconfig of the instance}" -- "$@"; }
field() { kubectl get "$1" -o "jsonpath=$2"; }
same() { # same STEP EXPECTED SEEN
    [ "$2" = "$3" ] || failed "$1" "$2" "$3"
}
has() { # has STEP PART TEXT
    case "$3" in *"$2"*) ;; *) failed "$1" "something with '$2'" "$3" ;; esac
}
until_is() { # until_is STEP EXPECTED COMMAND...: looks again until the state is there
    step=$1 expected=$2
    shift 2
    looked=0
    while seen=$("$@" 2>&1) || true; [ "$seen" != "$expected" ]; do
        looked=$((looked + 1))
        [ "$looked" -lt 600 ] || failed "$step" "$expected" "$seen"
        sleep 0.05
    done
}
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
pod_of() { member pod; }
client_of() { member client; }

# The node's end is 192.0.2.1 and 2001:db8::1, the client outside 192.0.2.2 and 2001:db8::2. It lives as long as the sandbox.
connect_outside() {
    # shellcheck disable=SC2016 # expanded inside
    outside_pid=$(node sh -c '
        unshare -n sleep infinity </dev/null >/dev/null 2>&1 &
        pid=$!
        until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
        ip link delete outside 2>/dev/null
        ip link add outside type veth peer name eth0 netns $pid
        ip addr add 192.0.2.1/24 dev outside
        ip addr add 2001:db8::1/64 dev outside nodad
        ip link set outside up
        nsenter -t $pid -n sh -c "ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0
            ip addr add 2001:db8::2/64 dev eth0 nodad; ip route add default via 192.0.2.1
            ip -6 route add default via 2001:db8::1"
        echo $pid')
}
outside() { node nsenter -t "$outside_pid" -n "$@"; }
ask() { outside curl -s --max-time 5 "$@"; }
silence() { # silence STEP URL: dropped, as opposed to refused
    code=0
    outside curl -s -o /dev/null --connect-timeout 1 "$2" || code=$?
    same "$1: dropped" 28 "$code"
}
refused() { # refused STEP URL
    code=0
    outside curl -s -o /dev/null --max-time 5 "$2" || code=$?
    same "$1: refused" 7 "$code"
}
ask_udp() { # ask_udp ADDRESS PORT, from outside
    # shellcheck disable=SC2016 # expanded inside
    outside bash -c 'exec 3<>"/dev/udp/$0/$1"; echo hello >&3; timeout 5 head -n 1 <&3' "$1" "$2"
}

# Manifests from standard input; then every Service named is programmed, with an address if it is a load balancer.
serve() { # serve SERVICE...
    kubectl apply -f - >/dev/null
    for service in "$@"; do
        if [ "$(field "service/$service" '{.spec.type}')" = LoadBalancer ]; then
            kubectl wait --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout=60s "service/$service" >/dev/null
        fi
        kubectl wait --for=condition=Programmed --timeout=60s "service/$service" >/dev/null
    done
}
address_of() { field "service/$1" '{.status.loadBalancer.ingress[0].ip}'; }
cluster_ip_of() { field "service/$1" '{.spec.clusterIP}'; }
# A balanced Service over the pods of my-app, with more of its spec in flow style.
balanced() { # balanced NAME [MORE]
    cat <<YAML
---
apiVersion: v1
kind: Service
metadata: { name: $1 }
spec: { type: LoadBalancer, selector: { app: my-app }, ports: [{ port: 80, targetPort: 8080 }]${2:+, $2} }
YAML
}
