pods >/tmp/pods-before
load_begin
for round in 1 2 3; do
    old=$(server)
    systemctl restart mainstay || fail "systemctl restart: $(journalctl -u mainstay --no-pager -n 10)"
    [ "$(server)" != "$old" ] || fail "the server is the same"
done
dpkg -i /root/mainstay_*.deb >/tmp/said 2>&1 || fail "$(cat /tmp/said)"
until_ok 20 kubectl get --raw /readyz
load_end "three restarts and a package upgrade"
pods >/tmp/pods-after
same /tmp/pods-before /tmp/pods-after "the same pods with the same addresses, none restarted"
