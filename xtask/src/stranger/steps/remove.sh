dpkg -P mainstay >/tmp/said 2>&1 || fail "$(cat /tmp/said)"
if grep -i warning /tmp/said; then fail "dpkg warned"; fi
sh /root/stranger/dump.sh >/tmp/after
same /root/before /tmp/after "after dpkg --purge the machine is as before ($(wc -l </tmp/after) lines compared)"
while read -r group; do [ ! -e "$group" ] || fail "the cgroup $group is left"; done </root/cgroups
ok "its cgroups are gone, too"
