#!/bin/sh
# Load-balancer addresses with stock kubectl and curl, from another network namespace: given, shared, refused, taken back.
# Prints a line per step; ends with status 1 at the first step that was not seen to work.
set -eu
here=$(dirname "$0")
# shellcheck source=crates/mainstay/tests/e2e/outside.sh
. "$here/outside.sh"
kubectl apply -f "$here/../../src/cli/demo/types.yaml" >/dev/null
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
connect_outside
reasons_of() { kubectl get events --field-selector "involvedObject.name=$1" -o jsonpath='{range .items[*]}{.reason}{"\n"}{end}' | grep -vx Renumbered | sort -u | tr '\n' ' '; }
complains() { # complains SERVICE PART
    until_is "$1 says why" yes sh -c "kubectl events --for service/$1 -o jsonpath='{.items[?(@.type==\"Warning\")].message}' |
        grep -qF -- '$2' && echo yes"
    same "$1 is pending" "" "$(address_of "$1")"
}

balanced my-loadbalancer-service | serve my-loadbalancer-service
address=$(address_of my-loadbalancer-service)
same "the first address" 10.99.0.1 "$address"
same "EXTERNAL-IP" "$address" "$(kubectl get service my-loadbalancer-service --no-headers | awk '{ print $4 }')"
same "status" 'VIP 80/TCP' "$(field service/my-loadbalancer-service \
    '{.status.loadBalancer.ingress[0].ipMode} {.status.loadBalancer.ingress[0].ports[0].port}/{.status.loadBalancer.ingress[0].ports[0].protocol}')"
same "finalizer" service.kubernetes.io/load-balancer-cleanup "$(field service/my-loadbalancer-service '{.metadata.finalizers[*]}')"
same "events" "EnsuredLoadBalancer EnsuringLoadBalancer " "$(reasons_of my-loadbalancer-service)"
has "describe" "$address (VIP)" "$(kubectl describe service my-loadbalancer-service)"
ok "LoadBalancer: $address with finalizer, ipMode, ports and Events"

has "from outside" '"pod":"my-app-' "$(ask "http://$address")"
has "from the node" '"pod":"my-app-' "$(node curl -s --max-time 5 "http://$address")"
has "from a pod" '"pod":"my-app-' "$(kubectl exec client -- curl -s --max-time 5 "http://$address")"
refused "an undeclared port" "http://$address:81"
refused "an address that nobody has" "http://10.99.0.200"
machine=$(field nodes '{.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d ' ' -f 1)
port=$(field service/my-loadbalancer-service '{.spec.ports[0].nodePort}')
has "its node port from outside" '"pod":"my-app-' "$(ask "http://$machine:$port")"
has "the node port of the seed" '"pod":"my-app-' "$(ask "http://$machine:30007")"
ok "reachable from outside, the node and a pod; undeclared ports and free addresses are refused"

balanced lean 'allocateLoadBalancerNodePorts: false' | serve lean
same "allocateLoadBalancerNodePorts: false" "" "$(field service/lean '{.spec.ports[0].nodePort}')"
has "and reachable all the same" '"pod":"my-app-' "$(ask "http://$(address_of lean)")"
kubectl delete service lean >/dev/null
ok "a load balancer needs no node ports"

balanced dual 'ipFamilyPolicy: PreferDualStack' | serve dual
six=$(field service/dual '{.status.loadBalancer.ingress[1].ip}')
same "one of each family" "10.99.0.2 fd00:10:99::1" "$(address_of dual) $six"
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
has "IPv6 from outside" '"pod":"my-app-' "$(ask "http://[$six]")"
ok "dual-stack: $(address_of dual) and $six"

balanced asked 'loadBalancerIP: 10.99.0.77' | serve asked
same "loadBalancerIP" 10.99.0.77 "$(address_of asked)"
balanced outsider 'loadBalancerIP: 203.0.113.9' | kubectl apply -f - >/dev/null
complains outsider 'spec.loadBalancerIP 203.0.113.9 is in no pool'
balanced second 'loadBalancerIP: 10.99.0.77' | kubectl apply -f - >/dev/null
complains second 'belongs to Service default/asked'
balanced six 'loadBalancerIP: "fd00:10:99::5"' | kubectl apply -f - >/dev/null
complains six 'has a family that is not in spec.ipFamilies'
balanced theirs 'loadBalancerClass: example.com/lb' | kubectl apply -f - >/dev/null
complains theirs 'belongs to another implementation'
same "another class is untouched" "" "$(field service/theirs '{.metadata.finalizers}{.status.loadBalancer.ingress}')"
kubectl delete service outsider second six theirs >/dev/null
ok "loadBalancerIP is honoured; outside, taken, of the wrong family and of another class: pending, with an Event that says why"

{
    balanced web | sed 's|name: web|&, annotations: { mainstay.dev/allow-shared-ip: one }|'
    balanced names | sed 's|name: names|&, annotations: { mainstay.dev/allow-shared-ip: one }|; s|port: 80,|name: u, protocol: UDP, &|'
    balanced rival | sed 's|name: rival|&, annotations: { mainstay.dev/allow-shared-ip: one }|'
} | serve web names rival
same "shared by two" "$(address_of web)" "$(address_of names)"
[ "$(address_of rival)" != "$(address_of web)" ] || failed "the same port" "another address" "$(address_of rival)"
has "TCP of one" '"protocol":"http"' "$(ask "http://$(address_of web)")"
has "UDP of the other" '"protocol":"udp"' "$(ask_udp "$(address_of names)" 80)"
kubectl delete service web names rival >/dev/null
ok "an address is shared by key, and only by Services with different ports"

balanced mixed | sed 's|ports: \[|&{ name: dns, protocol: UDP, port: 80, targetPort: 8080 }, |; s|{ port: 80|{ name: web, port: 80|' | serve mixed
mixed=$(address_of mixed)
has "mixed, TCP" '"protocol":"http"' "$(ask "http://$mixed")"
has "mixed, UDP" '"protocol":"udp"' "$(ask_udp "$mixed" 80)"
same "mixed, node ports" 1 "$(field service/mixed '{.spec.ports[*].nodePort}' | tr ' ' '\n' | sort -u | wc -l)"
ok "TCP and UDP of one port on one address: $mixed"

in_kernel() { node nft list map inet mainstay front4 | grep -c "$1 " || true; }
mode() { kubectl patch service mixed --subresource=status --type=json -p "[{\"op\":\"replace\",\"path\":\"/status/loadBalancer/ingress/0/ipMode\",\"value\":\"$1\"}]" >/dev/null; }
same "both ports in the kernel" 2 "$(in_kernel "$mixed")"
mode Proxy
until_is "ipMode Proxy is not programmed" 0 in_kernel "$mixed"
refused "ipMode Proxy" "http://$mixed"
mode VIP
until_is "ipMode VIP is" 2 in_kernel "$mixed"
ok "ipMode Proxy is not programmed on the node, and nobody turns it back"

kubectl patch service mixed --subresource=status --type=merge -p '{"status":{"loadBalancer":{"ingress":[{"ip":"8.8.8.8"}]}}}' >/dev/null
until_is "a status written by hand is put right" "$mixed" address_of mixed
same "and was never programmed" 0 "$(in_kernel 8.8.8.8)"
kubectl patch service dual --subresource=status --type=merge -p "{\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"$mixed\"}]}}}" >/dev/null
until_is "nor takes another's address" 10.99.0.2 address_of dual
has "which still answers" '"pod":"my-app-' "$(ask "http://$mixed")"
ok "only addresses of pools that are the Service's own are programmed, whatever a status says"

kubectl patch service mixed --type=merge -p '{"spec":{"type":"ClusterIP"}}' >/dev/null
until_is "the finalizer goes" "" field service/mixed '{.metadata.finalizers}'
same "nothing is left" "" "$(field service/mixed '{.status.loadBalancer.ingress}{.spec.ports[*].nodePort}{.spec.allocateLoadBalancerNodePorts}')"
refused "the old address" "http://$mixed"
balanced next | serve next
same "given again" "$mixed" "$(address_of next)"
before=$(cluster_ip_of next)
kubectl patch service next --type=merge -p '{"spec":{"type":"NodePort"}}' >/dev/null
kubectl patch service next --type=merge -p '{"spec":{"type":"LoadBalancer"}}' >/dev/null
kubectl wait --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout=60s service/next >/dev/null
same "the cluster IP stays" "$before" "$(cluster_ip_of next)"
kubectl delete service next >/dev/null
refused "a deleted one" "http://$mixed"
same "events of the end" "DeletedLoadBalancer DeletingLoadBalancer EnsuredLoadBalancer EnsuringLoadBalancer " "$(reasons_of next)"
ok "a type change and a deletion give the address back"
