//! Neighbours that are running programs, with their own reloads and restarts.

use super::world::host;

/// Starts a dockerd of this host's own; it needs no image.
pub(crate) const DOCKERD: &str = r#"
# Docker sets its policy only where it is the one that switches forwarding on.
sysctl -qw net.ipv4.ip_forward=0
docker_start() {
    dockerd --data-root "$W/docker" --exec-root "$W/docker-run" -H "unix://$W/docker.sock" --pidfile "$W/docker.pid" \
        --storage-driver vfs > "$W/dockerd.log" 2>&1 &
    until_ok curl -sf --unix-socket "$W/docker.sock" http://d/_ping
}
docker_stop() { pid=$(cat "$W/docker.pid"); kill "$pid"; wait "$pid" || true; }
"#;

#[test]
fn docker_drops_forwarded_packets_and_its_own_chain_mends_it() {
    let script = r#"
docker_start
passes && fail "Docker's policy drops"
look > "$W/before"
says 2 "table ip filter, chain FORWARD: policy drop" doctor
grep -q "MS2001 problem Docker" "$W/said.log" || fail "no code"
grep -q "MS2010 note" "$W/said.log" || fail "docker0 is not named"
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh"
passes || fail "the lines do not help"
docker_stop
docker_start
passes || fail "the lines do not outlive a restart of Docker"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh"
look > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
docker_stop
"#;
    host("docker", &format!("{DOCKERD}{script}"));
}

#[test]
fn podmans_network_is_named_and_harms_nothing() {
    let script = r#"
mkdir -p "$W/root/bin" "$W/root/etc"
cp /bin/sleep "$W/root/bin/"
for library in $(ldd /bin/sleep | grep -o '/[^ ]*'); do mkdir -p "$W/root${library%/*}"; cp "$library" "$W/root$library"; done
podman() { command podman --root "$W/podman" --runroot "$W/podman-run" --cgroup-manager cgroupfs --storage-driver vfs "$@"; }
podman run -d --name sleeper --rootfs "$W/root" /bin/sleep 1000 > "$W/podman.log" 2>&1 || fail "podman does not run"
passes || fail "podman drops nothing"
says 0 "MS2010 note Containers" doctor
grep -qE -- "- (cni-)?podman0: 10.88.0.0/16" "$W/said.log" || fail "not which"
podman rm -f -t 0 sleeper > "$W/podman.log" 2>&1 || fail "podman does not stop"
"#;
    host("podman", script);
}

/// ufw with files of its own.
pub(crate) const UFW: &str = r#"
cp -a /etc/ufw "$W/ufw"; mount --bind "$W/ufw" /etc/ufw
cp /etc/default/ufw "$W/ufw.default"; mount --bind "$W/ufw.default" /etc/default/ufw
ufw --force enable > "$W/ufw.log"
# The first reload adds rules of ufw's own.
ufw reload > "$W/ufw.log"
rules() { for save in iptables-save ip6tables-save; do $save | sed 's/\[.*//; /^#/d'; done; grep -v '^$' /etc/ufw/user.rules /etc/ufw/user6.rules; }
"#;

#[test]
fn ufw_drops_what_comes_in_and_through_and_its_own_commands_mend_it() {
    let script = r#"
passes && fail "ufw disables routing"
rules > "$W/before"
says 2 "fix: ufw route prepend allow from 10.244.0.0/16" doctor
grep -q "MS2002 problem Ufw" "$W/said.log" || fail "no code"
grep -q "fix: ufw prepend allow from fd00:10:244::/64" "$W/said.log" || fail "not for IPv6"
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh" > "$W/fix.log" 2>&1 || fail "the lines cannot be pasted"
passes || fail "the lines do not help"
ufw reload > "$W/ufw.log"
passes || fail "the lines do not outlive a reload"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh" > "$W/undo.log" 2>&1 || fail "the way back cannot be pasted"
rules > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
"#;
    host("ufw", &format!("{UFW}{script}"));
}

/// firewalld with a message bus and files of its own.
pub(crate) const FIREWALLD: &str = r#"
cp -a /etc/firewalld "$W/firewalld"; mount --bind "$W/firewalld" /etc/firewalld
mkdir -p /run/dbus
dbus-daemon --system --nofork --nopidfile > "$W/dbus.log" 2>&1 &
until_ok test -S /run/dbus/system_bus_socket
firewalld --nofork --nopid > "$W/firewalld.log" 2>&1 &
until_ok firewall-cmd -q --state
"#;

#[test]
fn firewalld_rejects_and_its_trusted_zone_mends_it_over_a_reload() {
    let script = r#"
passes && fail "firewalld rejects" || true
look > "$W/before"
says 2 "fix: firewall-cmd --zone=trusted --add-source=10.244.0.0/16" doctor
grep -q "MS2003 problem Firewalld" "$W/said.log" || fail "no code"
sed -n 's/^ *fix: //p' "$W/said.log" > "$W/fix.sh"
sed -n 's/^ *undo: //p' "$W/said.log" > "$W/undo.sh"
bash -e "$W/fix.sh" > "$W/fix.log" 2>&1 || fail "the lines cannot be pasted"
passes || fail "the lines do not help"
firewall-cmd -q --reload
passes || fail "the lines do not outlive a reload"
says 0 "packets of pods pass this host" doctor
bash -e "$W/undo.sh" > "$W/undo.log" 2>&1 || fail "the way back cannot be pasted"
look > "$W/after"
diff "$W/before" "$W/after" || fail "something stays"
diff -r /etc/firewalld/zones "$W/firewalld/zones"
[ -z "$(ls /etc/firewalld/zones)" ] || fail "files stay: $(ls /etc/firewalld/zones)"
"#;
    host("firewalld", &format!("{FIREWALLD}{script}"));
}
