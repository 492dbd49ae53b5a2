#!/bin/sh
# Connections to and from pods with stock kubectl and curl: exec, terminals, attach, port-forward, cp and logs. Needs a
# running instance: KUBECONFIG, and SCRATCH (an empty directory). Both transports: run it once more with
# KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false. Another kubectl: KUBECTL=path.
# Prints a line per step; ends with status 1 at the first step that was not seen to work.
set -eu
kubectl=${KUBECTL:-kubectl}
cd "${SCRATCH:?an empty directory}"
failed() { echo "FAIL $1: expected $2, seen: $3" >&2; exit 1; }
ok() { echo "ok   $*"; }
same() { # same STEP EXPECTED SEEN
    [ "$2" = "$3" ] || failed "$1" "$2" "$3"
}
code() { # code COMMAND...: its exit code as text, whatever it prints
    "$@" >/dev/null 2>&1 && echo 0 || echo $?
}
forward() { # forward TARGET PORTS: sets $port and $forward
    : >forward.log
    $kubectl port-forward "$@" >forward.log 2>&1 &
    forward=$!
    until grep -q '^Forwarding from 127' forward.log; do
        kill -0 $forward 2>/dev/null || failed "port-forward" "a port" "$(cat forward.log)"
        sleep 0.05
    done
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' forward.log | head -n 1)
}

cat >pods.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: { name: box, labels: { app: box } }
spec:
  containers:
  - { name: main, image: mainstay/client }
  - { name: side, image: mainstay/host, command: [sh, -c, "echo from the side; exec sleep 1d"] }
---
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec: { containers: [{ name: main, image: mainstay/echo, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: shell }
spec: { containers: [{ name: main, image: mainstay/host, command: [sh], stdin: true, tty: true }] }
---
apiVersion: v1
kind: Pod
metadata: { name: crash, labels: { app: crash } }
spec:
  containers:
  - { name: main, image: mainstay/host, command: [sh, -c, "echo run of $(cat /proc/uptime); test -e /seen/once && exec sleep 1d; touch /seen/once; exit 3"], volumeMounts: [{ name: seen, mountPath: /seen }] }
  volumes: [{ name: seen, emptyDir: {} }]
YAML
$kubectl apply -f pods.yaml >/dev/null
$kubectl wait --for=condition=Ready --timeout=60s pod/box pod/web pod/shell >/dev/null

in='exec -c main box'
same "exec, both outputs" "out err" "$($kubectl $in -- sh -c 'echo out; echo err >&2' 2>err.txt) $(cat err.txt)"
same "exec, exit code" 42 "$(code $kubectl $in -- sh -c 'exit 42')"
head -c 3000000 /dev/urandom >random
sum=$(sha256sum <random)
same "exec, input" "$sum" "$($kubectl exec -i -c main box -- sha256sum <random)"
same "exec, output" "$sum" "$($kubectl exec -i -c main box -- cat <random | sha256sum)"
ok "exec carries both outputs, 3 MB each way and exit codes"

# `script` gives kubectl a terminal of 33 rows, whose size kubectl sends after the command has begun.
cat >size.sh <<'SIZE'
tty
for i in $(seq 200); do
    [ "$(stty size)" = "0 0" ] || break
    sleep 0.05
done
stty size
exit 7
SIZE
$kubectl exec -i -c main box -- sh -c 'cat >/tmp/size.sh' <size.sh
script -qec "stty rows 33 cols 99; $kubectl exec -it -c main box -- sh /tmp/size.sh" terminal.txt >/dev/null </dev/null && code=0 || code=$?
same "terminal, exit code" 7 $code
grep -q '/dev/pts/[0-9]' terminal.txt || failed "terminal" "/dev/pts/N" "$(cat terminal.txt)"
grep -q '33 99' terminal.txt || failed "terminal, size" "33 99" "$(cat terminal.txt)"
ok "exec -it runs on a terminal of the pod, as large as ours"

same "run -i" "$sum" "$($kubectl run once -i -q --rm --restart=Never --image=mainstay/host --command -- sha256sum <random)"
same "run -i, exit code" 9 "$(echo | code $kubectl run once -i -q --rm --restart=Never --image=mainstay/host --command -- sh -c 'cat; exit 9')"
# The shell echoes what is typed and says what it computes: only the latter is looked for.
mkfifo typed
script -qefc "$kubectl attach -it shell" attached.txt <typed >/dev/null 2>&1 &
attached=$!
exec 9>typed
# Typed again and again: kubectl may not have joined yet.
until tr -d '\r' <attached.txt 2>/dev/null | grep -q 'product is 42$'; do
    kill -0 $attached 2>/dev/null || failed "attach" "product is 42" "$(cat attached.txt)"
    printf 'echo product is $((6*7)); echo\r' >&9
    sleep 0.2
done
# Without a word: an end of input would end the shell.
kill $attached
wait $attached 2>/dev/null || true
exec 9>&-
same "attach, left running" 0 "$($kubectl get pod shell -o 'jsonpath={.status.containerStatuses[0].restartCount}')"
same "attach, once more" "sum is 42" "$(echo 'echo sum is $((40+2)); exit' | $kubectl attach -i -q shell 2>/dev/null | tr -d '\r' | grep '^sum is')"
ok "run -i ends with its input and its code; attach joins a shell and leaves it running"

forward service/web :80
same "port-forward, 200 requests" 200 "$(seq 200 | xargs -P 50 -I{} curl -s -o answer.{} -w '%{http_code}\n' --max-time 60 "http://127.0.0.1:$port/?{}" | grep -c 200)"
same "port-forward, answers" 200 "$(cat answer.* | grep -o '"pod":"web"' | wc -l)"
kill $forward
wait $forward 2>/dev/null || true
ok "port-forward: 200 requests, 50 at a time"

head -c 10000000 /dev/urandom >large
mkdir -p tree/deep/er
mv random tree/deep/er/random
echo text >"tree/a name with spaces"
: >tree/empty
$kubectl cp large box:/tmp/large -c main
same "cp, a file there" "$(sha256sum <large)" "$($kubectl exec -c main box -- sh -c 'sha256sum </tmp/large')"
$kubectl cp box:/tmp/large back -c main >/dev/null 2>&1
cmp large back || failed "cp, a file back" "the same" "another"
$kubectl cp tree box:/tmp/tree -c main
$kubectl cp box:/tmp/tree again -c main >/dev/null 2>&1
diff -r tree again || failed "cp, a directory" "the same" "another"
ok "cp: 10 MB and a directory, there and back"

# One connection with 10 MB each way: the pod serves the file and keeps what it is sent.
cat >serve.sh <<'SERVE'
(printf 'HTTP/1.0 200 OK\r\nContent-Length: 10000000\r\n\r\n'; cat /tmp/large) | nc -l 7000 >/tmp/request
SERVE
$kubectl cp serve.sh box:/tmp/serve.sh -c main
$kubectl exec -c main box -- sh /tmp/serve.sh &
server=$!
$kubectl exec -c main box -- sh -c 'until grep -q ":1B58 .* 0A " /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done'
forward pod/box :7000
curl -sf --max-time 120 -H 'Expect:' --data-binary @large -o body "http://127.0.0.1:$port/"
cmp -s large body || failed "port-forward, 10 MB out" "the same" "$(wc -c <body) bytes"
wait $server
kill $forward
$kubectl exec -c main box -- tail -c 10000000 /tmp/request | cmp -s large - || failed "port-forward, 10 MB in" "the same" "another"
ok "port-forward: 10 MB each way on one connection"

forward pod/box :9
curl -s --max-time 20 "http://127.0.0.1:$port/" && failed "port-forward, nobody listens" "an error" "an answer"
until grep -q 'connection refused' forward.log; do sleep 0.05; done
grep -q 'error forwarding port 9 to pod box' forward.log || failed "port-forward, nobody listens" "the port" "$(cat forward.log)"
kill $forward 2>/dev/null || true
ok "port-forward: a port on which nobody listens is named"

$kubectl wait --for='jsonpath={.status.containerStatuses[0].restartCount}=1' --timeout=60s pod/crash >/dev/null
before=$($kubectl logs crash -p)
now=$($kubectl logs crash)
[ "$before" != "$now" ] && [ "${before%% [0-9]*}" = "run of" ] || failed "logs -p" "another run" "$before and $now"
same "logs -p, none" 1 "$(code $kubectl logs web -p)"
same "logs --all-containers --prefix" "[pod/box/side] from the side" "$($kubectl logs box --all-containers --prefix | grep side)"
same "logs -l" "from the side" "$($kubectl logs -l app=box -c side --tail=-1)"
same "logs --tail=0" "" "$($kubectl logs crash --tail=0)"
same "logs --limit-bytes" "run " "$($kubectl logs crash --limit-bytes=4)"
same "logs --since-time, later" "" "$($kubectl logs crash --since-time=2999-01-01T00:00:00Z)"
same "logs --since-time, earlier" "$now" "$($kubectl logs crash --since-time=2020-01-01T00:00:00Z)"
same "logs --since" "$now" "$($kubectl logs crash --since=1h)"
$kubectl logs crash --timestamps | grep -Eq '^20[0-9-]+T[0-9:.]+Z run of' || failed "logs --timestamps" "a time" "none"
ok "logs: -p, --all-containers, --prefix, -l, --tail, --limit-bytes, --since, --since-time, --timestamps"
$kubectl delete -f pods.yaml --grace-period=0 --force >/dev/null 2>&1
