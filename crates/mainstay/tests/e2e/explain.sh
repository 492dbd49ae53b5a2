#!/bin/sh
# The traps of the articles, each by stock kubectl as a person meets it: the Warning at apply (and at diff, which is a dry
# run), the columns of `get -o wide`, what `mainstay explain` says, and that pasting its fix heals it. Needs a running
# instance: KUBECONFIG, and MAINSTAY (path of the program). Prints a line per step; ends with status 1 at the first step
# that was not seen to work.
set -eu
: "${MAINSTAY:?path of the program}" "${KUBECONFIG:?kubeconfig of the instance}"
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
has() { # has STEP EXPECTED SEEN
    case $3 in *"$2"*) ;; *) failed "$1" "$2" "$3" ;; esac
}
hasnot() { # hasnot STEP UNWANTED SEEN
    case $3 in *"$2"*) failed "$1" "no $2" "$3" ;; esac
}
apply() { printf '%s\n' "$1" >"$here/manifest.yaml"; kubectl apply -f "$here/manifest.yaml" 2>&1; }
explain() { "$MAINSTAY" explain --kubeconfig "$KUBECONFIG" "$@" 2>&1; }
code() { # code EXPECTED ARGUMENTS...: the exit code of explain
    expected=$1; shift; seen=0; explain "$@" >/dev/null || seen=$?
    [ "$seen" = "$expected" ] || failed "exit code of explain $*" "$expected" "$seen"
}
fix() { explain "$1" | sed -n 's/^  fix: //p' | head -n 1; } # the first fix, to paste
column() { kubectl get service "$1" -o wide --no-headers | awk -v n="$2" '{ print $(NF - n) }'; } # PROBLEM 0, ENDPOINTS 2
until_seen() { # until_seen STEP EXPECTED COMMAND...: waits for a state, not for a time
    step=$1; expected=$2; shift 2; tries=0; seen=
    while [ $tries -lt 3000 ]; do
        seen=$("$@" 2>&1) || true
        [ "$seen" = "$expected" ] && return
        tries=$((tries + 1))
    done
    failed "$step" "$expected" "$seen"
}
healed() { # healed SERVICE ENDPOINTS
    until_seen "$1 is healed" "<none>" column "$1" 0
    until_seen "$1 has endpoints" "$2" column "$1" 2
    kubectl wait --for=condition=Programmed --timeout=60s "service/$1" >/dev/null
    explain "svc/$1" --from pod/client >"$here/healed" || failed "$1 after the fix" "nothing is wrong" "$(cat "$here/healed")"
}

# The article's Deployment has no spec.selector: refused, with the lines that are missing.
deployment='apiVersion: apps/v1
kind: Deployment
metadata: {name: my-app}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: my-app}}
    spec: {containers: [{name: my-app, image: mainstay/echo, ports: [{name: http, containerPort: 8080}], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}'
said=$(apply "$deployment") && failed "no selector" "a refusal" "$said"
has "no selector" "spec.selector: Required value: add to the manifest under spec:" "$said"
lines=$(printf '%s\n' "$said" | sed -n '/^ *selector:$/,/^ *app: my-app$/p')
has "no selector" "      app: my-app" "$lines"
mended=$(printf '%s\n' "$deployment" | awk -v lines="$lines" '{ print } /^spec:$/ { print lines }')
has "pasted lines" "deployment.apps/my-app created" "$(apply "$mended")"
apply 'apiVersion: v1
kind: Pod
metadata: {name: client, labels: {role: client}}
spec: {containers: [{name: main, image: mainstay/client}]}' >/dev/null
kubectl rollout status --timeout=60s deployment/my-app >/dev/null
kubectl wait --for=condition=Ready --timeout=60s pod/client >/dev/null
ok "a Deployment without selector is refused with the lines to paste"

# kubectl expose without --port and without declared ports is kubectl's own error; with a declared port it works.
kubectl create deployment bare --image=mainstay/echo >/dev/null
said=$(kubectl expose deployment bare --name=bare 2>&1) && failed "expose" "an error" "$said"
has "expose" "couldn't find port via --port flag or introspection" "$said"
said=$(kubectl expose deployment my-app --name=exposed 2>&1)
[ "$said" = "service/exposed exposed" ] || failed "expose" "no warning" "$said"
healed exposed 3/3
ok "expose: needs a port; what is right has no warning"

# A selector that nearly matches: told at diff, at apply, in the columns, by explain; the fix heals it.
service='apiVersion: v1
kind: Service
metadata: {name: my-service}
spec: {selector: {app: myapp}, ports: [{port: 80, targetPort: 8080}]}'
warning='Warning: MS1002 selector app=myapp matches 0 pods in default; nearest: app=my-app (3 pods of deploy/my-app)'
printf '%s\n' "$service" >"$here/service.yaml"
has "diff" "$warning" "$(kubectl diff -f "$here/service.yaml" 2>&1 || true)"
said=$(apply "$service")
has "apply" "$warning" "$said"
has "apply" "service/my-service created" "$said"
has "columns" "ENDPOINTS   PROGRAMMED   PROBLEM" "$(kubectl get service -o wide)"
until_seen "PROBLEM" "SelectorNoMatch" column my-service 0
hasnot "default columns" "PROBLEM" "$(kubectl get service)"
code 2 svc/my-service
said=$(explain my-service || true)
has "explain" "SELECT     FAIL  MS1002" "$said"
has "explain" "if fixed (simulated): 3 endpoints, nothing left to mend" "$said"
until_seen "Event" "SelectorNoMatch" kubectl get events --field-selector involvedObject.name=my-service,type=Warning -o 'jsonpath={.items[*].reason}'
eval "$(fix svc/my-service)" >/dev/null
healed my-service 3/3
ok "MS1002: a selector with a slip is told at diff and apply, shown, explained, healed by the pasted fix"

has "MS1001" "Warning: MS1001 selector zone=nowhere matches 0 pods" "$(apply 'apiVersion: v1
kind: Service
metadata: {name: nothing}
spec: {selector: {zone: nowhere}, ports: [{port: 80}]}')"
has "connection to nothing" "CONNECT    FAIL" "$(explain nothing --from pod/client || true)"
ok "MS1001: a selector that matches nothing"

# A port by a name that the pods do not declare, a number on which nobody listens, a process on loopback.
has "MS1004" 'Warning: MS1004 targetPort "http-web-svc": no matched pod declares a port of this name; nearest: http (8080)' "$(apply 'apiVersion: v1
kind: Service
metadata: {name: nginx-service}
spec: {selector: {app: my-app}, ports: [{name: name-of-service-port, port: 80, targetPort: http-web-svc}]}')"
eval "$(fix nginx-service)" >/dev/null
healed nginx-service 3/3
has "MS1004" "Warning: MS1004 targetPort 9376/TCP: nobody listens there; the pods listen on 8080" "$(apply 'apiVersion: v1
kind: Service
metadata: {name: wrong-number}
spec: {selector: {app: my-app}, ports: [{port: 80, targetPort: 9376}]}')"
until_seen "PROBLEM" "PortNotServed" column wrong-number 0
eval "$(fix wrong-number)" >/dev/null
healed wrong-number 3/3
apply 'apiVersion: v1
kind: Pod
metadata: {name: inward, labels: {app: inward}}
spec: {containers: [{name: main, image: mainstay/host, command: [python3, -m, http.server, "8080", --bind, 127.0.0.1]}]}
---
apiVersion: v1
kind: Service
metadata: {name: inward}
spec: {selector: {app: inward}, ports: [{port: 80, targetPort: 8080}]}' >/dev/null
until_seen "loopback" "PortNotServed" column inward 0
has "loopback" "the process listens on 127.0.0.1:8080 only" "$(explain inward || true)"
ok "MS1004: a name nobody declares, a number nobody listens on, a process on loopback"

# The second article's slice is called http, its Service port has no name: told at the apply of either.
selectorless='apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{protocol: TCP, port: 80, targetPort: 9376}]}'
address=$(kubectl get pods -l app=my-app -o 'jsonpath={.items[0].status.podIP}')
slice() { echo "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: http, appProtocol: http, protocol: TCP, port: 8080}]
endpoints: [{addresses: [\"$1\"]}]"; }
hasnot "selector-less" "Warning" "$(apply "$selectorless")"
has "no slice" "MS1008 problem default/by-hand spec.selector" "$(explain by-hand || true)"
warning='Warning: MS1005 port "http" of endpointslice by-hand-1 joins no port of svc by-hand: it has "" (unnamed)'
has "MS1005 at the slice" "$warning" "$(apply "$(slice "$address")")"
has "MS1005 at the Service" "$warning" "$(kubectl annotate service by-hand again=1 2>&1)"
until_seen "PROBLEM" "SliceNotJoined" column by-hand 0
eval "$(fix by-hand)" >/dev/null
healed by-hand 1/1
ok "MS1005: a slice port that joins no Service port; MS1008: no slice at all"

has "MS1007" "is the address of Service default/my-service" "$(apply "$(slice "$(kubectl get service my-service -o 'jsonpath={.spec.clusterIP}')")")"
said=$(apply "$(slice 127.0.0.1)") && failed "loopback endpoint" "a refusal" "$said"
has "loopback endpoint" "may not be in the loopback range" "$said"
said=$(apply "$(slice 169.254.169.254)") && failed "link-local endpoint" "a refusal" "$said"
has "link-local endpoint" "may not be in the link-local range" "$said"
ok "MS1007: another Service's address as endpoint; loopback and link-local are refused"

apply "$(slice "$address" | sed 's/name: http, //')" >/dev/null
kubectl wait --for=condition=Programmed --timeout=60s service/by-hand >/dev/null
has "MS1102" "Warning: MS1102 internalTrafficPolicy Local: traffic from pods on node" "$(kubectl patch service by-hand -p '{"spec":{"internalTrafficPolicy":"Local"}}' 2>&1)"
until_seen "PROBLEM" "NoLocalEndpoint" column by-hand 0
eval "$(fix by-hand)" >/dev/null
healed by-hand 1/1
ok "MS1102: a Local policy without local endpoint"

has "MS1501" "Warning: MS1501 spec.loadBalancerClass \"acme.com/lb\" belongs to another implementation" "$(apply 'apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, loadBalancerClass: acme.com/lb, selector: {app: my-app}, ports: [{port: 80, targetPort: 8080}]}')"
has "MS1501" "LB         FAIL  MS1501" "$(explain balanced || true)"
kubectl delete service balanced >/dev/null
has "MS1303" "Warning: MS1303 externalName 10.4.5.6 is an address" "$(kubectl create service externalname numbered --external-name 10.4.5.6 2>&1)"
said=$(eval "$(fix numbered)" 2>&1)
hasnot "MS1303 healed" "Warning" "$said"
has "MS1303 healed" "numbered.default.svc.cluster.local -> 10.4.5.6" "$(explain numbered --from pod/client || true)"
ok "MS1501: a load balancer of another class; MS1303: an ExternalName that is an address"

# The last article's figure: a selector of two labels, four pods, of which two match.
apply 'apiVersion: v1
kind: Service
metadata: {name: figure}
spec: {selector: {project: ab, zone: prod}, ports: [{port: 80}]}' >/dev/null
for pod in "one project=ab,zone=prod" "two project=ab" "three project=ab,zone=prod,release=24" "four project=hr,zone=prod"; do
    kubectl run "${pod% *}" --image=mainstay/echo --labels="${pod#* }" >/dev/null
done
until_seen "the figure" "2/2" column figure 2
said=$(explain figure || true)
has "the figure" "SELECT     ok    project=ab,zone=prod matches 2 pods" "$said"
has "the figure" "1 pod of pod/two: label zone is absent" "$said"
has "the figure" "1 pod of pod/four: project is hr, not ab" "$said"
ok "a selector is an AND: who is behind the Service, who nearly is, and why not"

# Readiness: the probe's own last error.
apply 'apiVersion: v1
kind: Pod
metadata: {name: sick, labels: {app: sick}}
spec: {containers: [{name: main, image: mainstay/echo, readinessProbe: {httpGet: {path: /, port: 9999}, periodSeconds: 1, failureThreshold: 1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: sick}
spec: {selector: {app: sick}, ports: [{port: 80, targetPort: 8080}]}' >/dev/null
probe() { explain sick | grep -c 'READY.*FAIL.*MS1006.*Readiness probe failed' || true; }
until_seen "MS1006" 1 probe
has "pod" "READY      FAIL  MS1006 not ready" "$(explain pod/sick || true)"
has "pod" "svc/my-service: " "$(explain "pod/$(kubectl get pods -l app=my-app -o 'jsonpath={.items[0].metadata.name}')" || true)"
ok "MS1006: pods that are not ready, with the probe's last error; explain pod/NAME"

# What the last article types when names do not resolve: is DNS running, its log, restart, what pods use.
kubectl get pods -n kube-system -l k8s-app=kube-dns --no-headers | grep -q Running || failed "DNS pods" "Running" "none"
[ -n "$(kubectl logs -n kube-system -l k8s-app=kube-dns)" ] || failed "DNS logs" "lines" "none"
has "resolv.conf" "ndots:5" "$(kubectl exec client -- cat /etc/resolv.conf)"
has "DNS restart" 'pod "kube-dns-' "$(kubectl delete pod -n kube-system -l k8s-app=kube-dns)"
has "DNS after the restart" "DNS        ok    pod/client: dig +short +search my-service" "$(explain my-service --from pod/client || true)"
said=$("$MAINSTAY" doctor dns --from pod/client --kubeconfig "$KUBECONFIG" 2>&1) || failed "doctor dns" "exit code 0" "$said"
for step in RUNNING LOG RESOLVER ANSWER; do has "doctor dns" "$step" "$said"; done
ok "DNS: running, log, restart, resolv.conf, and all four by mainstay doctor dns"

kubectl expose deployment my-app --name=timed --port=80 --target-port=8080 >/dev/null
kubectl wait --for=condition=Programmed --timeout=60s service/timed >/dev/null
said=$(explain timed --timeline)
for step in "manifest posted" "stored with address" "name answered by DNS" "endpoint slice written" "endpoints programmed in the kernel"; do
    has "timeline" "$step" "$said"
done
has "timeline" "applied by every sink: Programmed  revision" "$said"
ok "the registration of a Service, step by step in milliseconds"

code 1 svc/no-such-service
code 3 a/b/c
code 3 MS9999
code 3 --no-such-flag
seen=0; "$MAINSTAY" explain svc/web --data-dir "$here/nothing" >/dev/null 2>&1 || seen=$?
[ "$seen" = 4 ] || failed "explain without a server" "exit code 4" "$seen"
code 0 MS1004
has "list" "MS1601  RolloutRisk" "$(explain --list)"
has "json" '"code": "MS1004"' "$(explain inward -o json || true)"
seen=0; said=$("$MAINSTAY" doctor --kubeconfig "$KUBECONFIG") || seen=$?
[ "$seen" = 2 ] || failed "doctor" "exit code 2" "$seen"
for found in "MS1001 problem default/nothing" "MS1004 problem default/inward" "MS1006 problem default/sick"; do has "doctor" "$found" "$said"; done
hasnot "doctor" "problem default/my-service" "$said"
ok "exit codes, the list of codes, JSON, and doctor over all Services"
