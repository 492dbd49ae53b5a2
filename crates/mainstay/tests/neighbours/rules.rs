//! Neighbours that are rules only, loaded as their programs load them.

use super::world::host;

#[test]
fn a_host_with_nothing_in_the_way_lets_packets_of_pods_pass() {
    host(
        "empty",
        r#"
passes || fail "nothing is in the way"
look > "$W/before"
says 0 "packets of pods pass this host" doctor
look > "$W/after"
diff "$W/before" "$W/after" || fail "looking has changed something"
"#,
    );
}

#[test]
fn a_table_of_nftables_is_named_with_its_chain_and_mended_by_the_printed_lines() {
    host(
        "nftables",
        r#"
nft -f - <<'RULES'
table inet fence {
    chain through {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
    }
    chain in {
        type filter hook input priority 0;
        iifname "eth0" accept
        jump rest
    }
    chain rest {
        udp dport 53 drop
    }
}
RULES
passes && fail "the policy drops"
look > "$W/before"
says 2 "table inet fence, chain through: policy drop" doctor
grep -q "MS2005 problem" "$W/said.log" || fail "no code"
grep -q "table inet fence, chain rest (by way of in): the rule with handle" "$W/said.log" || fail "not the chain behind the jump"
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh" || fail "the lines cannot be pasted"
passes || fail "the lines do not help"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh" || fail "the way back cannot be pasted"
look > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#,
    );
}

#[test]
fn iptables_of_both_kinds_is_blamed_and_mended_by_the_printed_lines() {
    for (kind, line) in [("nft", "iptables -w -I FORWARD -s"), ("legacy", "iptables-legacy -w -I FORWARD -s")] {
        host(
            kind,
            &format!(
                r#"
I=iptables-{kind}
$I -P FORWARD DROP
$I -A INPUT -s 10.244.0.0/16 -j DROP
passes && fail "the policy drops"
says 2 "{line}" doctor
grep -q "MS2004 problem" "$W/said.log" || fail "no code"
$I-save | sed 's/\[.*//; /^#/d' > "$W/before"
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh" || fail "the lines cannot be pasted"
passes || fail "the lines do not help"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh" || fail "the way back cannot be pasted"
$I-save | sed 's/\[.*//; /^#/d' > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#
            ),
        );
    }
}

#[test]
fn a_vpn_that_asks_main_first_is_noted_and_one_that_covers_us_is_mended() {
    host(
        "vpn",
        r#"
# As wg-quick does, with a link of another kind in the place of WireGuard's.
ip link add wg0 type veth peer name far netns lan
ip addr add 10.9.0.2/32 dev wg0
ip link set wg0 up
ip route add default dev wg0 table 51820
ip rule add not fwmark 51820 table 51820
ip rule add table main suppress_prefixlength 0
nft -f - <<'RULES'
table ip wg-quick-wg0 {
    chain preraw { type filter hook prerouting priority -300; iifname != "wg0" ip daddr 10.9.0.2 fib saddr type != local drop; }
    chain premangle { type filter hook prerouting priority -150; meta l4proto udp meta mark set ct mark; }
    chain postmangle { type filter hook postrouting priority -150; meta l4proto udp meta mark 51820 ct mark set meta mark; }
}
RULES
passes || fail "pods' own routes come first"
says 0 "not fwmark 0xca6c/0xffffffff, WireGuard" doctor
# One whose table comes before main, with a route over our ranges.
ip route add 10.0.0.0/8 dev wg0 table 77
ip rule add table 77 priority 500
passes && fail "the packets go elsewhere"
look > "$W/before"
says 2 "fix: ip rule add to 10.244.0.0/16 lookup main priority 499" doctor
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh"
passes || fail "the lines do not help"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh"
look > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#,
    );
}

#[test]
fn a_kube_proxy_is_a_problem_only_where_its_services_are_in_our_range() {
    for load in [
        r#"iptables-restore <<'RULES'
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.43.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
RULES
"#,
        r#"nft -f - <<'RULES'
table ip kube-proxy {
    set cluster-ips { type ipv4_addr; elements = { 10.43.0.1 } }
    map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.43.0.1 . tcp . 443 : drop } }
    chain cluster-ips-check { ip daddr @cluster-ips reject; ip daddr { 10.43.0.0/16 } drop; }
    chain filter-prerouting { type filter hook prerouting priority dstnat - 10; ct state new jump cluster-ips-check; }
}
RULES
"#,
    ] {
        let script = format!(
            r#"
{load}
passes || fail "its addresses are others"
says 0 "MS2013 note" doctor
says 2 "another kube-proxy has Services in our range 10.43.0.0/16" "$M" doctor host --data-dir "$W/data" --service-cidr 10.43.0.0/16 --pod-cidr 10.244.0.0/16
grep -q "10.43.0.1/32 in " "$W/said.log" || fail "not said where"
grep -q "fix: mainstay up --host --service-cidr 10.112.0.0/16" "$W/said.log" || fail "no other range"
"#
        );
        host("kube-proxy", &script);
    }
}

#[test]
fn looking_ends_while_others_trace_packets_and_several_may_look_at_once() {
    host(
        "looking",
        r#"
for number in 1 2 3; do doctor > "$W/doctor$number.log" 2>&1 & eval "look$number=\$!"; done
for number in 1 2 3; do
    eval "wait \$look$number" || fail "doctor $number"
    grep -q "packets of pods pass this host" "$W/doctor$number.log" || fail "doctor $number sent nothing"
done
nft -f - <<'RULES'
table inet trace {
    chain out { type filter hook output priority -500; ip daddr 198.51.100.1 meta nftrace set 1; }
    chain end { type filter hook output priority 0; ip daddr 198.51.100.1 udp dport 9 drop; }
}
RULES
python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try: s.sendto(b"x", ("198.51.100.1", 9))
    except OSError: pass' &
flood=$!
says 0 "packets of pods pass this host" timeout 60 "$M" doctor host --data-dir "$W/data"
kill $flood
"#,
    );
}

#[test]
fn bad_input_is_refused_in_three_parts() {
    host(
        "bad input",
        r#"
says 1 "is not a range" "$M" doctor host --service-cidr nonsense
says 1 "overlap" "$M" doctor host --service-cidr 10.244.0.0/16
# Without rights nothing is sent, and that is said.
says 0 "no packet was sent" setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all "$M" doctor host --data-dir /nonexistent
says 0 "MS2001  Docker" "$M" explain --list
says 0 "DOCKER-USER" "$M" explain ms2001
"#,
    );
}
