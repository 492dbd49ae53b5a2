#!/bin/sh
# sessionAffinity ClientIP on real packets: one pod per client, another one when that dies, forgotten when the time is over.
# Prints a line per step; ends with status 1 at the first step that was not seen to work.
set -eu
here=$(dirname "$0")
# shellcheck source=crates/mainstay/tests/e2e/outside.sh
. "$here/outside.sh"
kubectl apply -f "$here/../../src/cli/demo/types.yaml" >/dev/null
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
kubectl wait --for=condition=Ready --timeout=60s pod/client >/dev/null
connect_outside
sticky() { # sticky NAME SECONDS
    balanced "$1" "sessionAffinity: ClientIP, sessionAffinityConfig: { clientIP: { timeoutSeconds: $2 } }"
}
# A connection per request; the pods that answered, with how often.
counts() { # counts COMMAND...: a command that prints answers
    "$@" | sed 's/}{/}\
{/g' | pod_of | sort | uniq -c | awk '{ print $1, $2 }'
}
many() { ask -H 'Connection: close' "http://$1/?request=[1-100]"; }
many_from_pod() { kubectl exec client -- sh -c "for one in \$(seq 100); do curl -s --max-time 5 http://$1/; done"; }

sticky my-affinity-service 10800 | serve my-affinity-service
address=$(address_of my-affinity-service)
first=$(counts many "$address")
has "100 requests" "100 my-app-" "$first"
same "of one client reach one pod" 1 "$(echo "$first" | wc -l)"
inside=$(counts many_from_pod "$(cluster_ip_of my-affinity-service)")
has "100 requests of a pod" "100 my-app-" "$inside"
ok "100 requests of one client: ${first#* }; of a pod by ClusterIP: ${inside#* }"

remembered=$(node nft list map inet mainstay affinity4)
has "the kernel remembers the client" "192.0.2.2 . " "$remembered"
has "for as long as the Service says" "timeout 3h" "$remembered"

gone=${first#* }
kubectl delete pod "$gone" --grace-period=1 --wait=true >/dev/null
second=$(counts many "$address")
has "after its pod died" "100 my-app-" "$second"
same "one pod again" 1 "$(echo "$second" | wc -l)"
[ "${second#* }" != "$gone" ] || failed "another pod" "not $gone" "$second"
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
same "and it stays, also when a new pod is there" "$second" "$(counts many "$address")"
ok "$gone died: ${second#* } took over and kept the client"

# The timeout ends when the kernel says so, and each new connection starts it again.
sticky short 2 | serve short
short=$(address_of short)
word=$(node nft list map inet mainstay affinity4 | grep -o '192.0.2.2 . [0-9a-f:]*' | sort)
ask "http://$short" >/dev/null
forgotten() { node nft list map inet mainstay affinity4 | grep -o '192.0.2.2 . [0-9a-f:]*' | sort; }
has "two Services, two memories" "$word" "$(forgotten)"
[ "$(forgotten)" != "$word" ] || failed "the second memory" "a new element" "$word"
has "the timeout is that of the Service" "timeout 2s" "$(node nft list map inet mainstay affinity4)"
until_is "after two seconds of silence it is forgotten" "$word" forgotten
ok "timeoutSeconds: 2 is forgotten after two seconds of silence, 10800 is not"

kubectl patch service my-affinity-service --type=merge -p '{"spec":{"sessionAffinity":"None"}}' >/dev/null
kubectl wait --for=condition=Programmed --timeout=60s service/my-affinity-service >/dev/null
same "None spreads at once" 3 "$(counts many "$address" | wc -l)"
kubectl patch service my-affinity-service --type=merge -p '{"spec":{"sessionAffinity":"ClientIP"}}' >/dev/null
kubectl wait --for=condition=Programmed --timeout=60s service/my-affinity-service >/dev/null
same "ClientIP sticks at once" 1 "$(counts many "$address" | wc -l)"
ok "affinity is switched on a living Service"
