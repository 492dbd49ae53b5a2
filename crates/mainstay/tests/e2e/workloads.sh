#!/bin/sh
# One part of the workloads by stock kubectl and dig: `workloads.sh stateful_set|daemon_set|jobs|deployment`. Needs a
# running instance: KUBECONFIG, and MAINSTAY (path of the program). Prints a line per step; ends with status 1 at the
# first step that was not seen to work.
set -eu
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; kubectl get all,controllerrevisions >&2; exit 1; }
ok() { echo "ok   $*"; }
node() { "${MAINSTAY:?path of the program}" exec --kubeconfig "${KUBECONFIG:?kubeconfig of the instance}" -- "$@"; }
field() { kubectl get "$1" -o "jsonpath=$2"; }
same() { # same STEP EXPECTED SEEN
    [ "$2" = "$3" ] || failed "$1" "$2" "$3"
}
refused() { # refused STEP TEXT COMMAND...
    step=$1; text=$2; shift 2
    if seen=$("$@" 2>&1); then failed "$step" "a refusal" "$seen"; fi
    case $seen in *"$text"*) ;; *) failed "$step" "$text" "$seen" ;; esac
}
rolled() { kubectl rollout status --timeout=60s "$1" >/dev/null; }
# Revision numbers of `kubectl rollout history`, newest last.
history() { kubectl rollout history "$1" | sed -n 's/^\([0-9][0-9]*\) .*/\1/p' | tr '\n' ' ' | sed 's/ $//'; }
eventually() { # eventually STEP EXPECTED COMMAND...: what changes a moment later, for at most a minute
    step=$1; expected=$2; shift 2; tries=0
    while seen=$("$@" 2>&1); [ "$seen" != "$expected" ]; do
        tries=$((tries + 1)); [ $tries -lt 300 ] || failed "$step" "$expected" "$seen"; sleep 0.2
    done
}
names() { kubectl get pods -l "$1" -o 'jsonpath={.items[*].metadata.name}'; }
# job NAME SPEC COMMAND...: SPEC is lines of the spec, each "\\n  member: value".
job() {
    name=$1; spec=$2; shift 2
    grace='      terminationGracePeriodSeconds: 1'
    kubectl create job "$name" --image=mainstay/client --dry-run=client -o yaml -- "$@" |
        sed "s/^spec:/spec:$spec/; s/^      containers:/$grace\\n      containers:/" | kubectl apply "${namespace:---namespace=default}" -f - >/dev/null
}
count() { kubectl get "$@" -o name 2>/dev/null | wc -l | tr -d ' '; }

stateful_set() {
    kubectl apply -f - >/dev/null <<'YAML'
apiVersion: v1
kind: Service
metadata: { name: nginx }
spec: { clusterIP: None, selector: { app: web }, ports: [{ name: http, port: 8080 }] }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: web }
spec:
  serviceName: nginx
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{ name: web, image: mainstay/echo, ports: [{ containerPort: 8080 }] }]
YAML
    rolled sts/web
    same "names" "web-0 web-1 web-2" "$(names app=web)"
    same "columns" "NAME READY AGE CONTAINERS IMAGES" "$(kubectl get sts -o wide | head -n 1 | tr -s ' ' | sed 's/ $//')"
    order=$(kubectl get pods -l app=web --sort-by=.metadata.creationTimestamp -o 'jsonpath={.items[*].metadata.name}')
    same "order" "web-0 web-1 web-2" "$order"
    ok "three pods in order: $order"

    dns=$(kubectl get service kube-dns -n kube-system -o 'jsonpath={.spec.clusterIP}')
    resolve() { node dig +short +time=5 +tries=1 "@$dns" "$@.nginx.default.svc.cluster.local"; }
    kubectl wait --for=condition=Programmed --timeout=60s service/nginx >/dev/null
    for name in web-0 web-1 web-2; do
        eventually "$name, resolved" "$(field pod/$name '{.status.podIP}')" resolve $name
        answer=$(node curl -s --max-time 5 "http://$(resolve $name):8080")
        case $answer in *"\"pod\":\"$name\""*) ;; *) failed "$name answers" "$name" "$answer" ;; esac
    done
    ok "each name is its pod's address, and the pod behind it says its name"

    before=$(field pod/web-1 '{.metadata.uid}')
    kubectl delete pod web-1 >/dev/null
    # Not by `rollout status`, which may still speak of the pod that was deleted.
    new_one() { [ "$(field pod/web-1 '{.metadata.uid}')" != "$before" ] && echo new; }
    eventually "web-1 again" new new_one
    kubectl wait --for=condition=Ready --timeout=60s pod/web-1 >/dev/null
    eventually "web-1, resolved again" "$(field pod/web-1 '{.status.podIP}')" resolve web-1
    same "host name" web-1 "$(kubectl exec web-1 -- hostname)"
    ok "web-1 was deleted, came back as web-1, and its name leads to its new address"

    kubectl annotate sts web kubernetes.io/change-cause=second >/dev/null
    kubectl set image sts/web web=docker.io/mainstay/echo >/dev/null
    rolled sts/web
    same "history" "1 2" "$(history sts/web)"
    kubectl rollout history sts/web --revision=2 | grep -q 'docker.io/mainstay/echo' || failed "history" "the image" ""
    kubectl rollout undo sts/web >/dev/null
    rolled sts/web
    same "undone" "2 3" "$(history sts/web)"
    same "image" mainstay/echo "$(field pod/web-2 '{.spec.containers[0].image}')"
    kubectl rollout restart sts/web >/dev/null
    rolled sts/web
    kubectl rollout undo sts/web --to-revision=2 >/dev/null
    rolled sts/web
    same "undone to a revision" "3 4 5" "$(history sts/web)"
    ok "set image, undo, restart, undo --to-revision: revisions $(history sts/web)"

    kubectl patch sts web -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}' >/dev/null
    kubectl set image sts/web web=mainstay/echo:1 >/dev/null
    rolled sts/web
    images() { kubectl get pods -l app=web -o 'jsonpath={.items[*].spec.containers[0].image}'; }
    same "partition" "docker.io/mainstay/echo docker.io/mainstay/echo mainstay/echo:1" "$(images)"
    ok "with partition 2 only web-2 is updated"

    kubectl delete sts web --cascade=orphan >/dev/null
    same "orphans" "web-0 web-1 web-2" "$(names app=web)"
    uids=$(kubectl get pods -l app=web -o 'jsonpath={.items[*].metadata.uid}')
    kubectl create -f - >/dev/null <<'YAML'
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: web }
spec:
  serviceName: nginx
  replicas: 3
  updateStrategy: { type: OnDelete }
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{ name: web, image: mainstay/echo, ports: [{ containerPort: 8080 }] }]
YAML
    owners() { kubectl get pods -l app=web -o 'jsonpath={.items[*].metadata.ownerReferences[0].kind}'; }
    eventually "adopted" "StatefulSet StatefulSet StatefulSet" owners
    eventually "ready" "3/3" field sts/web '{.status.readyReplicas}/{.spec.replicas}'
    same "the same pods" "$uids" "$(kubectl get pods -l app=web -o 'jsonpath={.items[*].metadata.uid}')"
    kubectl scale sts web --replicas=1 >/dev/null
    eventually "scaled down" "web-0" names app=web
    ok "orphaned pods are adopted as they are; scaled to 1, web-0 stays"

    refused "serviceName" "updates to statefulset spec for fields other than" \
        kubectl patch sts web -p '{"spec":{"serviceName":"other"}}'
    kubectl delete sts web >/dev/null
    eventually "gone" "" names app=web
    eventually "revisions gone" 0 count controllerrevisions
    ok "what names the pods cannot change; deleted, pods and revisions go"
}

daemon_set() {
    kubectl apply -f - >/dev/null <<'YAML'
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec: { terminationGracePeriodSeconds: 1, containers: [{ name: agent, image: mainstay/echo }] }
YAML
    rolled ds/agent
    same "row" "agent 1 1 1 1 1 <none>" "$(kubectl get ds agent --no-headers | awk '{ print $1, $2, $3, $4, $5, $6, $7 }')"
    ok "one pod on the one node: $(names app=agent)"
    kubectl annotate ds agent kubernetes.io/change-cause=second >/dev/null
    kubectl set image ds/agent agent=docker.io/mainstay/echo >/dev/null
    rolled ds/agent
    same "history" "1 2" "$(history ds/agent)"
    kubectl rollout undo ds/agent >/dev/null
    rolled ds/agent
    same "undone" "2 3" "$(history ds/agent)"
    kubectl rollout restart ds/agent >/dev/null
    rolled ds/agent
    same "one pod" 1 "$(count pods -l app=agent --field-selector=status.phase=Running)"
    ok "set image, undo, restart: revisions $(history ds/agent)"
    kubectl patch ds agent -p '{"spec":{"template":{"spec":{"nodeSelector":{"disk":"ssd"}}}}}' >/dev/null
    eventually "no node" "0" field ds/agent '{.status.desiredNumberScheduled}'
    eventually "no pod" "" names app=agent
    kubectl label nodes --all disk=ssd >/dev/null
    rolled ds/agent
    eventually "back" "1" field ds/agent '{.status.numberReady}'
    ok "a label on the node brings the pod"
}

jobs() {
    kubectl create job once --image=mainstay/client -- sh -c 'echo done' >/dev/null
    kubectl wait --for=condition=complete --timeout=60s job/once >/dev/null
    same "row" "once Complete 1/1" "$(kubectl get job once --no-headers | awk '{ print $1, $2, $3 }')"
    same "log" "done" "$(kubectl logs job/once)"
    ok "kubectl create job: $(kubectl get job once --no-headers | tr -s ' ')"

    # shellcheck disable=SC2016 # the pod's shell expands it
    job many '\n  completions: 4\n  parallelism: 2\n  completionMode: Indexed' sh -c 'echo $JOB_COMPLETION_INDEX $(hostname)'
    kubectl wait --for=condition=complete --timeout=60s job/many >/dev/null
    same "indexes" "0-3 4" "$(field job/many '{.status.completedIndexes} {.status.succeeded}')"
    said=$(kubectl logs -l batch.kubernetes.io/job-name=many --tail=1 | sort | tr '\n' ';')
    same "what they say" "0 many-0;1 many-1;2 many-2;3 many-3;" "$said"
    ok "an indexed Job: $said"

    job bad '\n  backoffLimit: 0' sh -c 'exit 3'
    kubectl wait --for=condition=failed --timeout=60s job/bad >/dev/null
    same "why" "BackoffLimitExceeded 1" "$(field job/bad '{.status.conditions[?(@.type=="Failed")].reason} {.status.failed}')"
    ok "a failing Job ends as Failed: $(field job/bad '{.status.conditions[1].message}')"

    job late '\n  activeDeadlineSeconds: 1' sh -c 'sleep 3600'
    kubectl wait --for=condition=failed --timeout=60s job/late >/dev/null
    same "why" DeadlineExceeded "$(field job/late '{.status.conditions[?(@.type=="Failed")].reason}')"
    same "its pod" "" "$(names job-name=late)"
    ok "a deadline ends a Job and its pods"

    job gone '\n  ttlSecondsAfterFinished: 0' true
    eventually "expired" 0 count job/gone
    eventually "its pods too" "" names job-name=gone
    ok "with ttlSecondsAfterFinished: 0 a finished Job goes, and its pods"

    job held '' sh -c 'sleep 3600'
    eventually "runs" "1" field job/held '{.status.ready}'
    kubectl patch job held -p '{"spec":{"suspend":true}}' >/dev/null
    eventually "suspended" "Suspended" sh -c "kubectl get job held --no-headers | awk '{ print \$2 }'"
    eventually "no pods" "" names job-name=held
    kubectl patch job held -p '{"spec":{"suspend":false}}' >/dev/null
    eventually "runs again" "1" field job/held '{.status.ready}'
    refused "template" "field is immutable" kubectl set image job/held held=other
    ok "suspended and resumed"

    kubectl create namespace batch >/dev/null
    namespace=--namespace=batch job held '' sh -c 'sleep 3600'
    kubectl delete namespace batch --timeout=60s >/dev/null
    kubectl delete job --all --timeout=60s >/dev/null
    eventually "all gone" 0 count jobs,pods
    ok "deleted with its namespace or by name, nothing of a Job stays"
}

deployment() {
    kubectl create deployment app --image=mainstay/echo --replicas=2 >/dev/null
    kubectl annotate deployment app kubernetes.io/change-cause=first >/dev/null
    rolled deployment/app
    kubectl set image deployment/app echo=docker.io/mainstay/echo >/dev/null
    kubectl annotate deployment app kubernetes.io/change-cause=second --overwrite >/dev/null
    rolled deployment/app
    causes() { kubectl rollout history deployment/app | sed -n 's/^\([0-9][0-9]*\) *\(.*\)$/\1 \2/p' | tr '\n' ';'; }
    eventually "history" "1 first;2 second;" causes
    kubectl rollout undo deployment/app >/dev/null
    rolled deployment/app
    eventually "undone" "2 second;3 first;" causes
    ok "history with causes, undo: $(causes)"

    kubectl rollout restart deployment/app >/dev/null
    rolled deployment/app
    kubectl rollout undo deployment/app --to-revision=2 >/dev/null
    rolled deployment/app
    same "revisions" "3 4 5" "$(history deployment/app)"
    refused "no such revision" "unable to find specified revision 99 in history" \
        kubectl rollout undo deployment/app --to-revision=99
    ok "restart, undo --to-revision: revisions $(history deployment/app)"

    kubectl rollout pause deployment/app >/dev/null
    refused "paused twice" "is already paused" kubectl rollout pause deployment/app
    refused "restart while paused" "can't restart paused deployment" kubectl rollout restart deployment/app
    refused "undo while paused" "cannot rollback a paused deployment" kubectl rollout undo deployment/app
    sets=$(count rs)
    kubectl set env deployment/app A=b >/dev/null
    kubectl scale deployment/app --replicas=3 >/dev/null
    eventually "scaled although paused" "3" field deployment/app '{.status.readyReplicas}'
    same "no new ReplicaSet" "$sets" "$(count rs)"
    same "condition" DeploymentPaused "$(field deployment/app '{.status.conditions[?(@.type=="Progressing")].reason}')"
    kubectl rollout resume deployment/app >/dev/null
    rolled deployment/app
    same "one more" "$((sets + 1))" "$(count rs)"
    ok "paused it scales and does not roll; resumed it does"

    kubectl patch deployment app -p '{"spec":{"revisionHistoryLimit":1}}' >/dev/null
    eventually "limit" 2 count rs
    ok "revisionHistoryLimit keeps $(count rs) ReplicaSets"

    kubectl delete deployment app --cascade=orphan >/dev/null
    pods=$(names app=app)
    image=$(field "pod/${pods%% *}" '{.spec.containers[0].image}')
    kubectl create deployment app --image="$image" --replicas=3 --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl set env deployment/app A=b >/dev/null
    rolled deployment/app
    owned() { kubectl get rs -o 'jsonpath={.items[*].metadata.ownerReferences[0].kind}' | tr ' ' '\n' | sort -u; }
    eventually "adopted" Deployment owned
    ok "orphaned ReplicaSets are adopted"
}

"$1"
