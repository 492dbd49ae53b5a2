#!/bin/sh
# Every command that users of a cluster type, tried with stock kubectl. Needs a running instance: KUBECONFIG. KUBECTL names
# another kubectl (1.20 and newer). Prints a line per step; ends with status 1 at the first one that was not seen to work.
set -eu
KUBECTL=${KUBECTL:-kubectl}
work=$(mktemp -d)
proxy=
# shellcheck disable=SC2329 # called by the trap
end() { [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true; rm -rf "$work"; }
trap end EXIT
cd "$work"
minor=$("$KUBECTL" version --client -o json | sed -n 's/.*"minor": "\([0-9]*\).*/\1/p' | head -n 1)
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
k() { "$KUBECTL" "$@"; }
says() { # says TEXT COMMAND...: it succeeds, and its output has the text
    expected=$1; shift
    seen=$(k "$@" 2>&1) || failed "kubectl $*" "success" "$seen"
    case $seen in *"$expected"*) ;; *) failed "kubectl $*" "$expected" "$seen" ;; esac
}
refused() { # refused TEXT COMMAND...: it fails, and says the text
    expected=$1; shift
    if seen=$(k "$@" 2>&1); then failed "kubectl $*" "a refusal" "$seen"; fi
    case $seen in *"$expected"*) ;; *) failed "kubectl $*" "$expected" "$seen" ;; esac
}
is() { # is TEXT OBJECT JSONPATH
    seen=$(k get "$2" -o "jsonpath=$3")
    [ "$seen" = "$1" ] || failed "kubectl get $2 -o jsonpath=$3" "$1" "$seen"
}
# Before 27, kubectl reads schemas from OpenAPI 2 in protobuf, of which this server has the frame only.
newer() { [ "$minor" -ge "$1" ]; }

says "deployment.apps/web created" create deployment web --image=mainstay/echo --replicas=2 --port=8080
says "configmap/settings created" create configmap settings --from-literal=color=blue --from-literal=size=2
says "secret/login created" create secret generic login --from-literal=password=x
says "service/front created" create service clusterip front --tcp=80:8080
says "service/outside created" create service nodeport outside --tcp=80:8080 --node-port=30080
says "service/alias created" create service externalname alias --external-name=example.com
says "service/balanced created" create service loadbalancer balanced --tcp=80:8080
says "namespace/perf created" create namespace perf
says "serviceaccount/cook created" create serviceaccount cook
says "pod/lone created" run lone --image=mainstay/echo --labels=app=lone --port=8080
if newer 27; then says "created (server dry run)" create configmap nothing --dry-run=server; fi
refused "already exists" create configmap settings
refused "not found" get configmap nothing
ok "create deployment, configmap, secret, service of every type, namespace, serviceaccount; run"

says "successfully rolled out" rollout status deployment/web --timeout=60s
says "service/web exposed" expose deployment web --port=80 --target-port=8080
says "service/lone exposed" expose pod lone --port=80 --target-port=8080 --name=lone
says "deployment.apps/web scaled" scale deployment web --replicas=3
says "deployment.apps/web image updated" set image deployment/web echo=mainstay/echo:latest
says "deployment.apps/web env updated" set env deployment/web COLOR=blue
says "resource requirements updated" set resources deployment web --limits=cpu=200m
says "restarted" rollout restart deployment/web
says "successfully rolled out" rollout status deployment/web --timeout=60s
says "REVISION" rollout history deployment/web
says "paused" rollout pause deployment/web
says "resumed" rollout resume deployment/web
says "rolled back" rollout undo deployment/web
says "successfully rolled out" rollout status deployment/web --timeout=60s
ok "rollout status, restart, history, pause, resume, undo; scale; set image, env, resources; expose"

says "service/front annotated" annotate service front note=one
says "service/front annotated" annotate service front note=two --overwrite
refused "--overwrite is false" annotate service front note=three
is two service/front '{.metadata.annotations.note}'
says "service/front labeled" label service front tier=front
says "service/front" label service front tier-
says "patched" patch service front -p '{"spec":{"ports":[{"port":80,"targetPort":8081}]}}'
is 8081 service/front '{.spec.ports[0].targetPort}'
says "patched" patch service front --type=merge -p '{"spec":{"sessionAffinity":"ClientIP"}}'
is ClientIP service/front '{.spec.sessionAffinity}'
says "patched" patch service front --type=json -p '[{"op":"replace","path":"/spec/ports/0/targetPort","value":8082}]'
is 8082 service/front '{.spec.ports[0].targetPort}'
refused "spec.ports" patch service front --type=json -p '[{"op":"remove","path":"/spec/ports"}]'
printf '#!/bin/sh\nsed -i s/8082/8083/ "$1"\n' >editor; chmod +x editor
EDITOR="$work/editor" says "service/front edited" edit service front
is 8083 service/front '{.spec.ports[0].targetPort}'
EDITOR=true says "cancelled" edit service front
ok "annotate, label, patch of every type, edit"

k get service front -o yaml >front.yaml
sed 's/8083/8084/' front.yaml >next.yaml
difference() {
    if seen=$(k diff -f next.yaml 2>&1); then failed "kubectl diff" "a difference" "$seen"; fi
    case $seen in *"+    targetPort: 8084"*) ;; *) failed "kubectl diff" "+    targetPort: 8084" "$seen" ;; esac
}
if newer 27; then difference; fi
is 8083 service/front '{.spec.ports[0].targetPort}'
says "service/front replaced" replace -f next.yaml
refused "the object has been modified" replace -f front.yaml
address=$(k get service front -o 'jsonpath={.spec.clusterIP}')
sed -e '/resourceVersion:/d' -e '/uid:/d' -e '/creationTimestamp:/d' -e '/^status:/,$d' next.yaml >fresh.yaml
says "replaced" replace --force -f fresh.yaml
is "$address" service/front '{.spec.clusterIP}'
says "service/front configured" apply -f fresh.yaml
says "service/front unchanged" apply -f fresh.yaml
if newer 27; then k diff -f fresh.yaml >/dev/null || failed "kubectl diff" "no difference" "one"; fi
ok "diff, replace, replace --force, apply"

for kind in pods services deployments replicasets; do says "" get "$kind" -o wide; done
says "deployment.apps/web" get all
says "NAME" get all -A
says "service/front" get svc -o name --field-selector metadata.name=front
says "TYPE" get services --sort-by=.metadata.name
says "SELECTOR" get deployments -o wide --show-labels
says "TargetPort:" describe service front
says "Replicas:" describe deployment web
says "Node:" describe pod lone
says "Capacity:" describe nodes
says "example.com" get service alias
says "LAST SEEN" get events
if newer 26; then says "LAST SEEN" events; says "Created" events --for pod/lone; fi
if newer 27; then says "KIND:" explain service.spec.ports; says "sessionAffinity" explain service.spec --recursive; fi
says "pod/lone condition met" wait --for=condition=Ready pod/lone --timeout=60s
says "" logs lone
ok "get, get all, describe, events, explain, wait, logs"

says "apps/v1" api-versions
says "authorization.k8s.io/v1" api-versions
says "deployments" api-resources
says "deploy" api-resources --api-group=apps --verbs=list -o wide
says "is running at" cluster-info
says "/services/kube-dns:dns/proxy" cluster-info
says '"kind": "PodList"' cluster-info dump -o json
says "gitVersion" version -o json
says '"major"' get --raw /version
says "ok" get --raw /readyz
ok "api-versions, api-resources, cluster-info, cluster-info dump, version, get --raw"

says "yes" auth can-i create pods
says "yes" auth can-i get pods/log -n perf
says "yes" auth can-i '*' '*' --all-namespaces
says "yes" auth can-i get /healthz
says '*.*' auth can-i --list
refused "Forbidden" auth can-i create pods --as=system:anonymous
if newer 28; then says "mainstay-admin" auth whoami; says "bob" auth whoami --as=bob; fi
ok "auth can-i, can-i --list, whoami"

"$KUBECTL" proxy --port=0 >proxy.log 2>&1 &
proxy=$!
until grep -q "Starting to serve" proxy.log; do kill -0 "$proxy" || failed "kubectl proxy" "it runs" "$(cat proxy.log)"; done
base=http://$(sed -n 's/Starting to serve on //p' proxy.log)/api/v1/namespaces/default
fetch() { curl -sS --max-time 10 "$@"; }
case $(fetch "$base/services/web/proxy/hello?x=1") in *'"path":"/hello?x=1"'*) ;; *) failed "proxy" "the path" "$(fetch "$base/services/web/proxy/hello?x=1")" ;; esac
case $(fetch -X POST -d body "$base/pods/lone:8080/proxy/") in *'"method":"POST"'*) ;; *) failed "proxy" "POST" "?" ;; esac
[ "$(fetch -o /dev/null -w '%{http_code} %{redirect_url}' "$base/services/web/proxy?a=b")" = "301 $base/services/web/proxy/?a=b" ] || failed "proxy" "301" "$(fetch -i "$base/services/web/proxy?a=b")"
case $(fetch "$base/services/web:81/proxy/") in *'no service port 81 found for service \"web\"'*) ;; *) failed "proxy" "no port" "$(fetch "$base/services/web:81/proxy/")" ;; esac
says '"path":"/"' get --raw /api/v1/namespaces/default/services/http:web:80/proxy/
kill "$proxy"; wait "$proxy" 2>/dev/null || true; proxy=
ok "proxy, services/proxy, pods/proxy"

node=$(k get nodes -o 'jsonpath={.items[0].metadata.name}')
says "cordoned" cordon "$node"
says "SchedulingDisabled" get nodes
says "pod/late created" run late --image=mainstay/echo
says "Pending" get pod late
says "uncordoned" uncordon "$node"
says "condition met" wait --for=condition=Ready pod/late --timeout=60s
says "tainted" taint nodes "$node" speed=slow:PreferNoSchedule
says "untainted" taint nodes "$node" speed-
says "labeled" label node "$node" disk=ssd
says "pod/late " drain "$node" --pod-selector=run=late --force --ignore-daemonsets
refused "not found" get pod late
k uncordon "$node" >/dev/null
ok "cordon, drain, uncordon, taint, label of a node"

mkdir kitchen
cat >kitchen/cm.yaml <<'EOF'
apiVersion: v1
kind: ConfigMap
metadata: {name: menu}
data: {dish: eggs}
EOF
printf 'resources: [cm.yaml]\nnamePrefix: my-\n' >kitchen/kustomization.yaml
says "name: my-menu" kustomize kitchen
says "configmap/my-menu created" apply -k kitchen
says "configmap/my-menu unchanged" apply -k kitchen
says "deleted" delete -k kitchen
ok "kustomize, apply -k, delete -k"

refused "Metrics API not available" top pods
refused "Metrics API not available" top nodes
refused "the server could not find the requested resource" get --raw /apis/foo/v1
refused "the server doesn't have a resource type" get foos
refused "could not find the requested resource" autoscale deployment web --max=3
ok "top, autoscale and unknown kinds are refused clearly"

says "deleted" delete service -l app=outside
refused "not found" get service outside
says "deleted" delete pods --all
says "deleted" delete configmap settings --now
says "deleted" delete secret/login serviceaccount/cook
says "deleted" delete deployment web --cascade=orphan
[ -n "$(k get replicasets -l app=web -o name)" ] || failed "delete --cascade=orphan" "the ReplicaSet stays" "nothing"
says "deleted" delete replicasets -l app=web --cascade=foreground --timeout=60s
[ -z "$(k get replicasets -l app=web -o name)" ] || failed "delete --cascade=foreground" "nothing" "a ReplicaSet"
says "deleted" delete services --all
says "deleted" delete namespace perf --timeout=60s
says "No resources found" get configmaps -l app=nobody
ok "delete by name, label, --all, with every cascade"
