//! A host of its own for one test: network, mount and pid namespaces with a network beside it; a script in, its output out.

use std::process::{Command, Stdio};

/// Functions of every script. `$M` is the binary, `$W` a directory of this test.
const PRELUDE: &str = r#"
[ $$ = 1 ] || { echo "FAIL: this script is for a host of its own: run it by cargo test" >&2; exit 1; }
fail() { echo "FAIL: $*" >&2; cat "$W"/*.log >&2 2>/dev/null; exit 1; }
# Waits for a state; the pause is only there to leave the processor to others.
until_ok() { tries=0; until "$@" >/dev/null 2>&1; do tries=$((tries + 1)); [ $tries -lt 600 ] || fail "never: $*"; sleep 0.1; done; }
mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
# The network beside this host: 198.51.100.1.
ip netns add lan
ip link add eth0 type veth peer name eth0 netns lan
ip addr add 198.51.100.2/24 dev eth0
ip addr add 2001:db8:100::2/64 dev eth0 nodad
ip link set eth0 up
ip -n lan addr add 198.51.100.1/24 dev eth0
ip -n lan addr add 2001:db8:100::1/64 dev eth0 nodad
ip -n lan link set eth0 up
ip -n lan link set lo up
ip route add default via 198.51.100.1
ip -6 route add default via 2001:db8:100::1
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

# Two namespaces linked as pods are; only what others see of them counts.
one_pod() { # NAME NUMBER
    ip netns add "$1"
    ip link add "h$1" type veth peer name eth0 netns "$1"
    ip addr add 169.254.1.1/32 dev "h$1"
    ip link set "h$1" up
    ip route add "10.244.200.$2/32" dev "h$1"
    ip -n "$1" link set lo up
    ip -n "$1" link set eth0 up
    ip -n "$1" addr add "10.244.200.$2/32" dev eth0
    ip -n "$1" route add 169.254.1.1 dev eth0
    ip -n "$1" route add default via 169.254.1.1
}
# Whether one of them reaches a server in the other.
passes() {
    one_pod a 1; one_pod b 2
    ip netns exec b python3 -c 'import http.server as h; h.ThreadingHTTPServer.server_bind = lambda s: (s.socket.bind(s.server_address), setattr(s, "server_name", "b"), setattr(s, "server_port", 8080)); h.ThreadingHTTPServer(("10.244.200.2", 8080), h.SimpleHTTPRequestHandler).serve_forever()' > /dev/null 2>&1 &
    server=$!
    until_ok ip netns exec b curl -s -o /dev/null http://10.244.200.2:8080/
    ip netns exec a curl -s -o /dev/null --connect-timeout 1 http://10.244.200.2:8080/ && code=0 || code=$?
    kill $server; wait $server 2>/dev/null || true
    ip netns del a; ip netns del b
    ip link del ha 2>/dev/null || true; ip link del hb 2>/dev/null || true
    [ $code = 0 ]
}
look() { # what is on this host, line by line: Docker makes its chains in another order each time
    {
        nft -s list ruleset | sed '/^# Warning/d'
        # A link-local address comes a while after its link.
        ip rule; ip -6 rule; ip -br link; ip -br addr | sed 's/ fe80:[^ ]*//g'; ip route show table all | sed '/ fe80:/d'
        ip -6 route show table all | sed '/^fe80/d; /^ff00/d; /^multicast/d; / fe80:/d'
    } | sort
}
doctor() { "$M" doctor host --data-dir "$W/data"; }
# Says what it says, with this code and this text in it.
says() { # EXIT-CODE TEXT COMMAND...
    wanted=$1; text=$2; shift 2
    "$@" > "$W/said.log" 2>&1 && code=0 || code=$?
    [ $code = "$wanted" ] || fail "exit code $code of $*, not $wanted"
    grep -qF -- "$text" "$W/said.log" || fail "$* does not say: $text"
}
"#;

/// Runs a script on a host of its own; panics with everything that it said if it fails.
pub(crate) fn host(name: &str, script: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let text = format!("set -eu\n{PRELUDE}\n{script}\necho \"done {name}\"\n");
    let path = directory.path().join("script.sh");
    std::fs::write(&path, text).expect("the script");
    let output = Command::new("timeout")
        .args([
            "--kill-after=5",
            "300",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
        ])
        .arg(&path)
        .env("M", env!("CARGO_BIN_EXE_mainstay"))
        .env("W", directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("timeout and unshare run: install coreutils and util-linux");
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains(&format!("done {name}")), "{name}: {}\n{said}", output.status);
    said
}
