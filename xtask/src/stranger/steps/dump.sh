# Everything that a program may leave on a machine, as text that is equal when nothing was left.
echo "== links, addresses, routes, rules"
ip -details link | sed -E 's/^[0-9]+: //; s/ (promiscuity|allmulti|minmtu|maxmtu|numtxqueues|numrxqueues|gso_max_size|gso_max_segs|tso_max_size|tso_max_segs|gro_max_size) [0-9]+//g'
ip address show | sed -E 's/^[0-9]+: //; s/valid_lft.*//'
ip -4 route show table all | sort
ip -6 route show table all | sed -E 's/ expires [0-9]+sec//' | sort
ip rule
ip -6 rule
echo "== nftables"
nft list ruleset
echo "== sysctls"
sysctl --all 2>/dev/null | grep '^net\.' | grep -vE 'nf_conntrack_(count|buckets|max)|random|\.tcp_(mem|fastopen_key)|udp_mem|stat_refresh' || true
echo "== mounts"
awk '{ print $5, $9, $10 }' /proc/self/mountinfo | sort
echo "== processes"
pgrep -l 'mainstay|echo' || true
echo "== files"
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/cache \
    -o -path /root -o -path /dev -o -path /var/lib/dpkg -o -path /var/lib/systemd \) -prune -o -printf '%y %m %s %p\n' |
    sed -E 's/^d ([0-7]+) [0-9]+ /d \1 /' | sort -k 4
find /tmp /var/tmp /run -xdev -iname '*mainstay*' -not -path '/tmp/differs*' || true
