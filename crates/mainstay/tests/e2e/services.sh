#!/bin/sh
# Every change of a Service that a user makes, on real packets, with stock kubectl, dig and curl: the Services and
# EndpointSlice lists of Kubernetes' conformance tests as far as one node has them. Needs a running instance: KUBECONFIG,
# and MAINSTAY (path of the program). Prints a line per step; ends with status 1 at the first that was not seen to work.
set -eu
here=$(dirname "$0")
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
node() { "${MAINSTAY:?path of the program}" exec --kubeconfig "${KUBECONFIG:?kubeconfig of the instance}" -- "$@"; }
field() { kubectl get "$1" -o "jsonpath=$2"; }
same() { # same STEP EXPECTED SEEN
    [ "$2" = "$3" ] || failed "$1" "$2" "$3"
}
has() { # has STEP PART WHOLE
    case $3 in *"$2"*) ;; *) failed "$1" "$2" "$3" ;; esac
}
eventually() { # eventually STEP EXPECTED COMMAND...: looks until the command prints that
    step=$1 expected=$2 left=600
    shift 2
    while seen=$("$@" 2>&1) || true; [ "$seen" != "$expected" ]; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || failed "$step" "$expected" "$seen"
        sleep 0.1
    done
}
# The pods that answer at URL, and "none" if nobody does. One connection per request.
pods_at() {
    answers=$(node curl -s --max-time 2 -H 'Connection: close' "$1/?request=[1-${2:-1}]") || { echo none; return 0; }
    echo "$answers" | sed 's/}{/}\
{/g' | sed -n 's/.*"pod":"\([^"]*\)".*/\1/p' | sort -u | tr '\n' ' ' | sed 's/ $//'
}
udp_at() { kubectl exec client -- sh -c "echo hello | nc -u -w 2 $1 $2" 2>/dev/null | sed -n 's/.*"pod":"\([^"]*\)".*/\1/p' | grep . || echo none; }
dns=$(kubectl get service kube-dns -n kube-system -o 'jsonpath={.spec.clusterIP}')
resolve() { node dig +short +time=5 +tries=1 "@$dns" "$@" | sort; }
slices() { kubectl get endpointslices -l "kubernetes.io/service-name=$1" -o "jsonpath=$2"; }
programmed() { kubectl wait --for=condition=Programmed --timeout=60s "service/$1" >/dev/null; }
change() { kubectl patch service "$1" --type=merge -p "$2" >/dev/null; programmed "$1"; }

kubectl apply -f "$here/services.yaml" >/dev/null
for pod in a b c client; do kubectl wait --for=condition=Ready --timeout=60s "pod/$pod" >/dev/null; done
eventually "the address of late" 1 sh -c "kubectl get pod late -o 'jsonpath={.status.podIP}' | grep -c ."
address_a=$(field pod/a '{.status.podIP}')
address_b=$(field pod/b '{.status.podIP}')
web=$(field service/web '{.spec.clusterIP}')

eventually "two slices" "8080 9090" sh -c "kubectl get endpointslices -l kubernetes.io/service-name=web -o 'jsonpath={range .items[*]}{.ports[0].port}{\"\\n\"}{end}' | sort | tr '\\n' ' ' | sed 's/ \$//'"
programmed web
eventually "named ports" "a b" pods_at "http://$web" 40
ok "a named port that is another number in each pod: both answer at $web"

same "appProtocol" "kubernetes.io/h2c kubernetes.io/h2c" "$(slices web '{.items[*].ports[*].appProtocol}')"
ok "appProtocol is in every slice"

both=$(field service/both '{.spec.clusterIP}')
programmed both
eventually "TCP of both" a pods_at "http://$both"
eventually "UDP of both" a udp_at "$both" 80
kubectl patch service both --type=json -p '[{"op":"remove","path":"/spec/ports/1"}]' >/dev/null
eventually "UDP without its port" none udp_at "$both" 80
eventually "TCP alone" a pods_at "http://$both"
kubectl patch service both --type=json -p '[{"op":"replace","path":"/spec/ports/0/protocol","value":"UDP"}]' >/dev/null
eventually "TCP without its port" none pods_at "http://$both"
eventually "UDP alone" a udp_at "$both" 80
ok "TCP and UDP on one port, and each alone"

change web '{"spec":{"sessionAffinity":"ClientIP"}}'
first=$(pods_at "http://$web" 16)
case $first in a | b) ;; *) failed "affinity" "one pod" "$first" ;; esac
change web '{"spec":{"sessionAffinity":"None"}}'
eventually "no affinity" "a b" pods_at "http://$web" 40
ok "ClientIP: 16 requests to $first; None: to both"

machine=$(kubectl get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d ' ' -f 1)
change web '{"spec":{"type":"NodePort"}}'
port=$(field service/web '{.spec.ports[0].nodePort}')
same "NodePort keeps the address" "$web" "$(field service/web '{.spec.clusterIP}')"
eventually "NodePort" "a b" pods_at "http://$machine:$port" 40
change web '{"spec":{"type":"LoadBalancer"}}'
same "LoadBalancer keeps address and port" "$web $port" "$(field service/web '{.spec.clusterIP} {.spec.ports[0].nodePort}')"
change web '{"spec":{"type":"ClusterIP"}}'
same "ClusterIP keeps the address" "$web" "$(field service/web '{.spec.clusterIP}{.spec.ports[0].nodePort}')"
eventually "the node port is closed" none pods_at "http://$machine:$port"
eventually "ClusterIP" "a b" pods_at "http://$web" 40
ok "ClusterIP, NodePort $port, LoadBalancer, ClusterIP: the address stays, the port is freed"

name=web.default.svc.cluster.local
kubectl patch service web --type=merge -p '{"spec":{"type":"ExternalName","externalName":"both.default.svc.cluster.local"}}' >/dev/null
same "ExternalName has no address" "" "$(field service/web '{.spec.clusterIP}{.spec.clusterIPs}')"
eventually "the alias" both.default.svc.cluster.local. resolve $name CNAME
eventually "nobody at the old address" none pods_at "http://$web"
kubectl patch service web --type=merge -p '{"spec":{"externalName":"bar.example.com"}}' >/dev/null
eventually "the new alias" bar.example.com. resolve $name CNAME
change web '{"spec":{"type":"ClusterIP","externalName":null}}'
web=$(field service/web '{.spec.clusterIP}')
eventually "the name is an address again" "$web" resolve $name A
eventually "ClusterIP again" "a b" pods_at "http://$web" 40
change web '{"spec":{"type":"NodePort"}}'
kubectl patch service web --type=merge -p '{"spec":{"type":"ExternalName","externalName":"bar.example.com"}}' >/dev/null
eventually "NodePort to alias" bar.example.com. resolve $name CNAME
change web '{"spec":{"type":"NodePort","externalName":null}}'
port=$(field service/web '{.spec.ports[0].nodePort}')
eventually "alias to NodePort" "a b" pods_at "http://$machine:$port" 40
change web '{"spec":{"type":"ClusterIP"}}'
ok "ExternalName from and to ClusterIP and NodePort: an alias, then an address and a port again"

slice() { # slice NAME SERVICE "PORTNAME PORT..." ADDRESS
    ports=$(echo "$3" | xargs -n 2 | while read -r called number; do printf '{"name":"%s","port":%s},' "$called" "$number"; done)
    printf '{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"%s","labels":{"kubernetes.io/service-name":"%s"}},"addressType":"IPv4","endpoints":[{"addresses":["%s"]}],"ports":[%s]}' "$1" "$2" "$4" "${ports%,}"
}
own=$(field service/own '{.spec.clusterIP}')
slice own-1 own "one 8080" "$address_a" | kubectl apply -f - >/dev/null
slice own-2 own "two 9091" "$address_b" | kubectl apply -f - >/dev/null
eventually "port one" a pods_at "http://$own:80"
eventually "port two" b pods_at "http://$own:81"
slice own-2 own "one 9090 two 9091" "$address_b" | kubectl apply -f - >/dev/null
slice own-1 own "one 8080 two 8081" "$address_a" | kubectl apply -f - >/dev/null
eventually "port one of both" "a b" pods_at "http://$own:80" 40
eventually "port two of both" "a b" pods_at "http://$own:81" 40
same "nobody touches them" "own-1 own-2" "$(slices own '{.items[*].metadata.name}')"
ok "a Service without selector: ports and addresses from two slices made by hand"

endpoints() { # endpoints ADDRESS PORT
    printf '{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"mirrored"},"subsets":[{"addresses":[{"ip":"%s"}],"ports":[{"name":"http","port":%s}]}]}' "$1" "$2"
}
mirrored=$(field service/mirrored '{.spec.clusterIP}')
seen=$(endpoints "$address_a" 8080 | kubectl apply -f - 2>&1)
has "Endpoints are deprecated" "Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" "$seen"
eventually "the mirrored slice" endpointslicemirroring-controller.k8s.io slices mirrored '{.items[*].metadata.labels.endpointslice\.kubernetes\.io/managed-by}'
eventually "mirrored" a pods_at "http://$mirrored"
endpoints "$address_b" 9090 | kubectl apply -f - >/dev/null 2>&1
eventually "mirrored after an update" b pods_at "http://$mirrored"
kubectl delete endpoints mirrored >/dev/null 2>&1
eventually "no slice without its Endpoints" "" slices mirrored '{.items[*].metadata.name}'
endpoints "$address_b" 9090 | kubectl apply -f - >/dev/null 2>&1
eventually "mirrored anew" b pods_at "http://$mirrored"
kubectl patch service mirrored --type=merge -p '{"spec":{"selector":{"pod":"a"},"ports":[{"name":"http","port":80,"targetPort":8080}]}}' >/dev/null
eventually "the selector counts" a pods_at "http://$mirrored" 10
eventually "the mirrored slice is gone" endpointslice-controller.k8s.io slices mirrored '{.items[*].metadata.labels.endpointslice\.kubernetes\.io/managed-by}'
ok "Endpoints are mirrored through create, update, delete, and until the Service selects pods"

eventually "the hostname" "$(field pod/c '{.status.podIP}')" resolve first.peers.default.svc.cluster.local A
eventually "the headless name" "$(field pod/c '{.status.podIP}')" resolve peers.default.svc.cluster.local A
same "SRV names the pod" "0 100 8080 first.peers.default.svc.cluster.local." "$(resolve _http._tcp.peers.default.svc.cluster.local SRV)"
ok "headless with hostname and subdomain: first.peers is the pod"

late=$(field service/late '{.spec.clusterIP}')
programmed late
same "not ready" "false" "$(slices late '{.items[*].endpoints[*].conditions.ready}')"
same "nobody is ready" none "$(pods_at "http://$late")"
change late '{"spec":{"publishNotReadyAddresses":true}}'
eventually "published" late pods_at "http://$late"
same "ready because published" "true false" "$(slices late '{.items[*].endpoints[*].conditions.ready} {.items[*].endpoints[*].conditions.serving}')"
ok "publishNotReadyAddresses: refused without, answered with"

kubectl get endpoints kubernetes 2>&1 >/dev/null | grep -q 'Warning: v1 Endpoints is deprecated' || failed "a read of Endpoints" "a warning" "none"
same "kubernetes" "$(kubectl get endpoints kubernetes -o 'jsonpath={.subsets[*].addresses[*].ip} {.subsets[*].ports[*].port}' 2>/dev/null)" \
    "$(slices kubernetes '{.items[?(@.addressType=="IPv4")].endpoints[*].addresses[0]} {.items[?(@.addressType=="IPv4")].ports[*].port}')"
ok "Endpoints and slice of kubernetes.default are equal; Endpoints warn when read"

same "a slice for nobody" "" "$(slices nobody '{.items[*].endpoints}{.items[*].ports}' | tr -d '[]')"
same "one placeholder" 1 "$(slices nobody '{.items[*].metadata.name}' | wc -w)"
same "Endpoints for nobody" nobody "$(kubectl get endpoints nobody -o 'jsonpath={.metadata.name}' 2>/dev/null)"
kubectl delete endpointslices -l kubernetes.io/service-name=nobody >/dev/null
eventually "the placeholder is made again" 1 sh -c "kubectl get endpointslices -l kubernetes.io/service-name=nobody -o name | wc -l"
kubectl delete services -l team=b >/dev/null
same "deletion by label leaves the others" web "$(kubectl get services -A -l team -o 'jsonpath={.items[*].metadata.name}')"
eventually "slices go with their Service" 0 sh -c "kubectl get endpointslices -l kubernetes.io/service-name=nobody -o name 2>/dev/null | wc -l"
ok "a selector that matches nobody: one empty slice and Endpoints, made again, gone with the Service"

kubectl patch service web --subresource=status --type=merge -p '{"metadata":{"annotations":{"patched":"yes"}},"status":{"conditions":[{"type":"Mine","status":"True","reason":"Test","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}' >/dev/null
same "status and annotation" "yes Test" "$(field service/web '{.metadata.annotations.patched} {.status.conditions[?(@.type=="Mine")].reason}')"
ok "status takes conditions, and annotations with them"

seen=$(kubectl patch service web --type=merge -p '{"spec":{"externalIPs":["10.96.0.1"]}}' 2>&1) && failed "externalIPs" "a refusal" "$seen"
has "externalIPs" "spec.externalIPs: Forbidden" "$seen"
has "externalIPs" "--allow-external-ips" "$seen"
ok "externalIPs are refused, and the message says what allows them"
