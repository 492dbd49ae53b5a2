#!/bin/sh
# The demo's steps "types" and "spread" once more, with stock kubectl, curl and dig only: the node's network is reached by
# `mainstay exec -- curl|dig`. Needs a running instance: KUBECONFIG, and MAINSTAY (path of the program). Prints a line per
# step; ends with status 1 at the first step that was not seen to work.
set -eu
manifests=$(dirname "$0")/../../src/cli/demo
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
node() { "${MAINSTAY:?path of the program}" exec --kubeconfig "${KUBECONFIG:?kubeconfig of the instance}" -- "$@"; }
field() { kubectl get "$1" -o "jsonpath=$2"; }
pod_of() { sed -n 's/.*"pod":"\([^"]*\)".*/\1/p'; }
same() { # same STEP EXPECTED SEEN
    [ "$2" = "$3" ] || failed "$1" "$2" "$3"
}
lines() { tr ' ' '\n' | sed '/^$/d' | sort; }

# By content, so that a manifest that kubectl does not understand is noticed here.
kubectl apply -f "$manifests/breakfast.yaml" -f "$manifests/types.yaml" >/dev/null
for one in "-n perf deployment/ham" "-n qa deployment/ham" "-n qa deployment/eggs" "deployment/my-app"; do
    # shellcheck disable=SC2086 # a namespace and a name
    kubectl rollout status --timeout=60s $one >/dev/null
done
for service in my-clusterip-service my-nodeport-service my-headless-service; do
    kubectl wait --for=condition=Programmed --timeout=60s "service/$service" >/dev/null
done
pods=$(kubectl get pods -l app=my-app -o 'jsonpath={.items[*].metadata.name}' | lines)
same "pods" 3 "$(echo "$pods" | wc -l)"
ok "3 pods behind 4 Services"

dns=$(kubectl get service kube-dns -n kube-system -o 'jsonpath={.spec.clusterIP}')
resolve() { node dig +short +time=5 +tries=1 "@$dns" "$@"; }

address=$(field service/my-clusterip-service '{.spec.clusterIP}')
same "ClusterIP, name" "$address" "$(resolve my-clusterip-service.default.svc.cluster.local A)"
answer=$(node curl -s --max-time 5 "http://$address")
echo "$pods" | grep -qx "$(echo "$answer" | pod_of)" || failed "ClusterIP" "one of $pods" "$answer"
ok "ClusterIP: $address answers from a pod of my-app, and its name is that address"

machine=$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d ' ' -f 1)
answer=$(node curl -s --max-time 5 "http://$machine:30007")
echo "$pods" | grep -qx "$(echo "$answer" | pod_of)" || failed "NodePort" "one of $pods" "$answer"
ok "NodePort: $machine:30007 answers from a pod of my-app"

expected=$(kubectl get pods -l app=my-app -o 'jsonpath={.items[*].status.podIP}' | lines)
same "headless" "$expected" "$(resolve my-headless-service.default.svc.cluster.local A | lines)"
ports=$(resolve _http._tcp.my-headless-service.default.svc.cluster.local SRV | cut -d ' ' -f 3 | sort -u)
same "headless, SRV" 8080 "$ports"
ok "headless: the name is the three pods"

same "ExternalName" ham-svc.perf.svc.cluster.local. "$(resolve my-external-name.default.svc.cluster.local CNAME)"
# Asked for an address, the server follows its own alias: the alias first, then the address of ham.
ham=$(kubectl get service ham-svc -n perf -o 'jsonpath={.spec.clusterIP}')
same "ExternalName, followed" "$ham" "$(resolve my-external-name.default.svc.cluster.local A | tail -n 1)"
ok "ExternalName: an alias for ham-svc.perf.svc.cluster.local"

# A connection per request; 5 sigma of a binomial with n = 300, p = 1/3 are 41.
answers=$(node curl -s --max-time 5 -H 'Connection: close' "http://$address/?request=[1-300]" | sed 's/}{/}\
{/g' | pod_of | sort | uniq -c)
same "spread, answers" 300 "$(echo "$answers" | awk '{ sum += $1 } END { print sum }')"
same "spread, pods" "$pods" "$(echo "$answers" | awk '{ print $2 }' | lines)"
echo "$answers" | awk '$1 < 59 || $1 > 141 { exit 1 }' || failed "spread" "100 each, give or take 41" "$answers"
ok "spread: $(echo "$answers" | awk '{ printf "%s%s", sep, $1; sep = ", " }') of 300"
