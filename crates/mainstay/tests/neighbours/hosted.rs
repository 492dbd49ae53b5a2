//! `up --host` beside real neighbours: refused with the lines, fixed on request, whole after their reloads and after a
//! flush of everything, and nothing left after `down`.

use super::owners::{DOCKERD, FIREWALLD, UFW};
use super::world::host;

/// An instance with two pods and a Service.
const INSTANCE: &str = r#"
cat > "$W/pods.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: main, image: mainstay/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: main, image: mainstay/client}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
YAML
up() { "$M" up --host --yes --data-dir "$W/data" --listen 127.0.0.1:0 "$@"; }
started() { # the server runs in the background from here on
    up --fix-forward "$@" > "$W/up.log" 2>&1 &
    server=$!
    until_ok grep -q "export KUBECONFIG=" "$W/up.log"
    export KUBECONFIG="$W/data/kubeconfig"
    kubectl wait --for=condition=Ready pod/web pod/client --timeout=60s > "$W/wait.log" 2>&1 || fail "pods are not ready"
}
end_server() { # SIGNAL
    kill -"$1" "$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$W/data/instance.json")"; wait $server || true
}
# By name, so that the way to the cluster DNS is open; by a node port from the network; by the way out.
pod_to_service() { kubectl exec client -- curl -s --max-time 2 http://web/; }
network_to_node_port() { ip netns exec lan curl -s --max-time 2 http://198.51.100.2:30080/; }
host_to_service() { curl -s --max-time 2 "http://$(kubectl get svc web -o jsonpath='{.spec.clusterIP}')/"; }
pod_to_api() { kubectl exec client -- curl -sk --max-time 2 https://kubernetes.default/version; }
all_ways() { until_ok pod_to_service; until_ok network_to_node_port; until_ok host_to_service; until_ok pod_to_api; }
down() { "$M" down --data-dir "$W/data" > "$W/down.log" 2>&1 || fail "down"; wait $server || true; }
others() { { nft -s list ruleset | sed '/^# Warning/d'; ip rule; ip -6 rule; ip -br addr; ip route show table all | sed '/ fe80:/d'; } | sort; }
"#;

#[test]
fn docker_is_refused_then_fixed_over_its_restart_and_given_back() {
    let script = r#"
docker_start
others > "$W/before"
says 1 "fix: iptables -w -I DOCKER-USER -s 10.244.0.0/16" up
grep -q "mainstay up --host --fix-forward" "$W/said.log" || fail "not how to go on"
others > "$W/refused"
diff "$W/before" "$W/refused" || fail "a refused start left something"
started -f "$W/pods.yaml"
all_ways
docker_stop
docker_start
all_ways
# Somebody empties the chain that we were given.
iptables -F DOCKER-USER
iptables -A DOCKER-USER -j RETURN
all_ways
down
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
docker_stop
"#;
    host("docker, hosted", &format!("{DOCKERD}{INSTANCE}{script}"));
}

#[test]
fn ufw_is_fixed_over_its_reload_and_given_back() {
    let script = r#"
others > "$W/before"; rules >> "$W/before"
says 1 "fix: ufw prepend allow from 10.244.0.0/16" up
started -f "$W/pods.yaml"
all_ways
ufw reload > "$W/ufw.log"
all_ways
down
others > "$W/after"; rules >> "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("ufw, hosted", &format!("{UFW}{INSTANCE}{script}"));
}

#[test]
fn firewalld_is_fixed_over_its_reload_and_given_back() {
    let script = r#"
firewall-cmd -q --reload
others > "$W/before"
says 1 "fix: firewall-cmd --zone=trusted --add-source=10.244.0.0/16" up
started -f "$W/pods.yaml"
all_ways
firewall-cmd -q --reload
all_ways
down
# The zone's chains, empty now, are firewalld's own until its next reload.
firewall-cmd -q --reload
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
[ -z "$(ls /etc/firewalld/zones)" ] || fail "files stay: $(ls /etc/firewalld/zones)"
"#;
    host("firewalld, hosted", &format!("{FIREWALLD}{INSTANCE}{script}"));
}

#[test]
fn a_flush_of_everything_is_noticed_and_all_is_programmed_anew() {
    let script = r#"
load() { nft -f - <<'RULES'
table inet fence {
    chain through { type filter hook forward priority 0; policy drop; ct state established,related accept; }
}
RULES
}
load
others > "$W/before"
started -f "$W/pods.yaml"
all_ways
# As `systemctl reload nftables` does it.
nft flush ruleset
load
until_ok nft list table inet mainstay
all_ways
until_ok grep -q "changed table inet mainstay: deleted the table" "$W/up.log"
down
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("flush", &format!("{INSTANCE}{script}"));
}

#[test]
fn our_table_returns_while_somebody_changes_thousands_of_rules_without_pause() {
    let script = r#"
others > "$W/before"
up > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q "export KUBECONFIG=" "$W/up.log"
{
    echo "add table inet busy; delete table inet busy; add table inet busy; add chain inet busy many"
    for number in $(seq 6000); do echo "add rule inet busy many udp dport $number accept"; done
} > "$W/busy.nft"
while [ ! -e "$W/stop" ]; do nft -f "$W/busy.nft"; done &
busy=$!
until_ok nft list chain inet busy many
nft delete table inet mainstay
until_ok nft list table inet mainstay
touch "$W/stop"; wait $busy
nft delete table inet busy
says 0 "problems    none" "$M" status --data-dir "$W/data"
down
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("busy", &format!("{INSTANCE}{script}"));
}

#[test]
fn a_firewall_that_comes_later_is_told_of_and_with_leave_fixed() {
    let script = r#"
others > "$W/before"
up -f "$W/pods.yaml" > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q "export KUBECONFIG=" "$W/up.log"
export KUBECONFIG="$W/data/kubeconfig"
kubectl wait --for=condition=Ready pod/web pod/client --timeout=60s > "$W/wait.log" 2>&1 || fail "pods are not ready"
iptables -P FORWARD DROP
until_ok grep -q "fix: iptables -w -I FORWARD -s 10.244.0.0/16" "$W/up.log"
says 2 "MS2004" "$M" status --data-dir "$W/data" -o json
# A server that goes on with the pods says so as well.
end_server TERM
up > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q "export KUBECONFIG=" "$W/up.log"
says 2 "MS2004" "$M" status --data-dir "$W/data" -o json
# And it may be one with leave.
end_server TERM
started
all_ways
down
# What the test itself has made.
nft delete table ip filter
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("later", &format!("{INSTANCE}{script}"));
}

#[test]
fn a_first_start_that_fails_takes_its_fixes_back_while_the_guard_looks_on() {
    let script = r#"
others > "$W/before"; rules >> "$W/before"
# A program that leaves no room for the cluster DNS.
python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 53)); time.sleep(1000)' &
other=$!
until_ok grep -q ": 00000000:0035 " /proc/net/udp
says 1 "rule of ufw: allow from 10.244.0.0/16" up --fix-forward
ufw show added > "$W/added.log"
grep -q "10.244" "$W/added.log" && fail "a rule stays"
[ ! -e "$W/data/host/ledger" ] || fail "the ledger stays"
others > "$W/after"; rules >> "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
kill $other
"#;
    host("failed start", &format!("{UFW}{INSTANCE}{script}"));
}

#[test]
fn a_first_start_that_is_stopped_leaves_nothing() {
    let script = r#"
others > "$W/before"
# As another probe that takes its time: the start waits for its turn.
python3 -c 'import socket, time; s = socket.socket(socket.AF_UNIX); s.bind("\0mainstay-probe"); s.listen(); time.sleep(1000)' &
other=$!
until_ok grep -q "@mainstay-probe" /proc/net/unix
"$M" up --host --yes --data-dir "$W/data" --listen 127.0.0.1:0 > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q " ms  api " "$W/up.log"
kill $server
wait $server || fail "stopped on request"
grep -q "stopped before it was ready" "$W/up.log" || fail "not said"
grep -q "packets of pods pass" "$W/up.log" && fail "the signal was heard only after the packets"
[ ! -e "$W/data/host/ledger" ] || fail "the ledger stays"
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
kill $other
"#;
    host("stopped start", &format!("{INSTANCE}{script}"));
}

#[test]
fn other_ranges_are_let_pass_too_after_a_kill() {
    let script = r#"
iptables -P FORWARD DROP
others > "$W/before"
up --fix-forward > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q "export KUBECONFIG=" "$W/up.log"
iptables-save | grep -q -- "-s 10.244.0.0/16" || fail "no rule"
end_server KILL
up --fix-forward --pod-cidr 10.245.0.0/16,fd00:10:245::/64 > "$W/up.log" 2>&1 &
server=$!
until_ok grep -q "export KUBECONFIG=" "$W/up.log"
iptables-save | grep -q -- "-s 10.245.0.0/16" || fail "no rule for the other range"
down
others > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("other ranges", &format!("{INSTANCE}{script}"));
}
