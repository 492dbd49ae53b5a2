pods >/tmp/pods-before
load_begin
for round in 1 2 3; do
    old=$(server)
    kill -9 "$old"
    limit=$(($(date +%s) + 60))
    while [ "$(server)" = "$old" ] || [ "$(server)" = 0 ] || ! systemctl is-active --quiet mainstay; do
        [ "$(date +%s)" -lt "$limit" ] || fail "systemd did not start it again"
        sleep 0.2
    done
    until_ok 30 kubectl get --raw /readyz
done
load_end "the server killed three times; systemd started it again"
another_holder() { now=$(pgrep -x mainstay-holder) && [ "$now" != "$1" ]; }
load_begin
for round in 1 2 3; do
    holder=$(pgrep -x mainstay-holder) || fail "there is no holder"
    kill -9 "$holder"
    until_ok 30 another_holder "$holder"
    until_ok 30 kubectl get --raw /readyz
done
load_end "the holder killed three times"
until_ok 30 sh -c 'kubectl rollout status deployment/web --timeout=1s'
pods >/tmp/pods-after
same /tmp/pods-before /tmp/pods-after "the same pods with the same addresses, none restarted"
pods >/root/pods-before-reboot
cluster_ip >/root/ip-before-reboot
