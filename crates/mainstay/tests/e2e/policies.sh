#!/bin/sh
# Traffic policies, source ranges, affinity and kept sources on real packets, seen from another network namespace.
# Prints a line per step; ends with status 1 at the first step that was not seen to work.
set -eu
here=$(dirname "$0")
# shellcheck source=crates/mainstay/tests/e2e/outside.sh
. "$here/outside.sh"
kubectl apply -f "$here/../../src/cli/demo/types.yaml" >/dev/null
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
kubectl wait --for=condition=Ready --timeout=60s pod/client >/dev/null
connect_outside
machine=$(field nodes '{.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d ' ' -f 1)
from_pod() { kubectl exec client -- curl -s --max-time 5 "$@"; }
pod_ip=$(field pod/client '{.status.podIP}')

{ balanced spread; balanced my-external-service 'externalTrafficPolicy: Local'; } | serve spread my-external-service
local_ip=$(address_of my-external-service) spread_ip=$(address_of spread)
local_port=$(field service/my-external-service '{.spec.ports[0].nodePort}')
same "policy Cluster: the node's address" "$machine" "$(ask "http://$spread_ip" | client_of)"
same "policy Local: the client's address" 192.0.2.2 "$(ask "http://$local_ip" | client_of)"
same "policy Local by node port" 192.0.2.2 "$(ask "http://$machine:$local_port" | client_of)"
same "policy Local, from a pod" "$pod_ip" "$(from_pod "http://$local_ip" | client_of)"
ok "externalTrafficPolicy: Cluster shows $machine, Local shows the client 192.0.2.2"

check=$(field service/my-external-service '{.spec.healthCheckNodePort}')
probe() { outside curl -s -o /dev/null -w '%{http_code} %header{x-load-balancing-endpoint-weight}' --max-time 5 "http://$machine:$check/any/path"; }
same "health check" "200 3" "$(probe)"
same "its body" '{"service":{"namespace":"default","name":"my-external-service"},"localEndpoints":3,"serviceProxyHealthy":true}' \
    "$(ask "http://$machine:$check" | tr -d '\n\t ')"
six=$(field nodes '{.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d ' ' -f 2)
has "health check over IPv6: no endpoint of a Service without IPv6" '"localEndpoints": 0' "$(ask "http://[$six]:$check")"
ok "the health-check node port answers on every address of the node"

# The same Service with its only endpoint on another node: a slice made by hand.
elsewhere() { # elsewhere NODE
    cat <<YAML
---
apiVersion: v1
kind: Service
metadata: { name: far }
spec: { type: LoadBalancer, externalTrafficPolicy: Local, internalTrafficPolicy: Local, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: far-1, labels: { kubernetes.io/service-name: far } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [{ addresses: ["$(field pods '{.items[?(@.metadata.labels.app=="my-app")].status.podIP}' | cut -d ' ' -f 1)"], nodeName: $1 }]
YAML
}
elsewhere another-node | serve far
far=$(address_of far) check=$(field service/far '{.spec.healthCheckNodePort}')
until_is "nobody here: 503" "503 0" probe
silence "nobody here: load balancer" "http://$far"
silence "nobody here: node port" "http://$machine:$(field service/far '{.spec.ports[0].nodePort}')"
has "but pods use the whole cluster" '"pod":"my-app-' "$(from_pod "http://$far")"
has "and so does the node" '"pod":"my-app-' "$(node curl -s --max-time 5 "http://$far")"
code=0
kubectl exec client -- curl -s -o /dev/null --connect-timeout 1 "http://$(cluster_ip_of far)" || code=$?
same "internalTrafficPolicy Local, nobody here: dropped" 28 "$code"
elsewhere "$(field nodes '{.items[0].metadata.name}')" | serve far
until_is "somebody here: 200" "200 1" probe
has "somebody here" 192.0.2.2 "$(ask "http://$far" | client_of)"
same "internalTrafficPolicy Local, somebody here" "$pod_ip" "$(from_pod "http://$(cluster_ip_of far)" | client_of)"
kubectl delete service far >/dev/null
until_is "the health check is closed" 000\  probe
ok "policy Local without an endpoint here: dropped and 503; with one: the client's address and 200"

balanced fenced 'loadBalancerSourceRanges: [198.51.100.0/24]' | serve fenced
fenced=$(address_of fenced)
silence "not in the ranges" "http://$fenced"
has "ranges do not bind the node port" '"pod":"my-app-' "$(ask "http://$machine:$(field service/fenced '{.spec.ports[0].nodePort}')")"
ranges() { # ranges JSON
    kubectl patch service fenced --type=merge -p "{\"spec\":{\"loadBalancerSourceRanges\":$1}}" >/dev/null
    kubectl wait --for=condition=Programmed --timeout=60s service/fenced >/dev/null
}
code=0
node curl -s -o /dev/null --connect-timeout 1 "http://$fenced" || code=$?
same "the node is not in the ranges" 28 "$code"
ranges '["192.0.2.0/24"]'
same "in the ranges" "$machine" "$(ask "http://$fenced" | client_of)"
ranges "[\"$machine/32\"]"
has "the node is in the ranges" '"pod":"my-app-' "$(node curl -s --max-time 5 "http://$fenced")"
has "and with it the load balancer's own address" "$fenced" "$(node nft list set inet mainstay lb_allow4)"
silence "which admits nobody else" "http://$fenced"
ranges '[" 192.0.2.2/32 ", "0.0.0.0/0"]'
has "everybody" '"pod":"my-app-' "$(ask "http://$fenced")"
ok "loadBalancerSourceRanges: who is not in them is dropped, on the load-balancer address only"

cluster=$(cluster_ip_of my-clusterip-service)
same "pod to ClusterIP" "$pod_ip" "$(from_pod "http://$cluster" | client_of)"
same "node to ClusterIP" "$machine" "$(node curl -s --max-time 5 "http://$cluster" | client_of)"
ok "a pod's own address reaches the pod behind a ClusterIP"

cat <<YAML | serve alone
apiVersion: v1
kind: Pod
metadata: { name: alone, labels: { app: alone } }
spec: { containers: [{ name: echo, image: mainstay/echo, ports: [{ containerPort: 8080 }] }], terminationGracePeriodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: alone }
spec: { selector: { app: alone }, ports: [{ port: 80, targetPort: 8080 }] }
YAML
kubectl wait --for=condition=Ready --timeout=60s pod/alone >/dev/null
hairpin() { kubectl exec alone -- curl -s --max-time 5 "http://$(cluster_ip_of alone)" | client_of; }
until_is "hairpin" "$machine" hairpin
ok "a pod reaches itself through its Service"
