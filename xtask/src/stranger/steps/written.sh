until_ok 90 kubectl get --raw /readyz
kubectl get configmaps -o name | sed 's|configmap/||' | grep '^write-' | sort >/tmp/found
sort /root/acknowledged >/tmp/acknowledged
lost=$(comm -13 /tmp/found /tmp/acknowledged)
[ -z "$lost" ] || fail "acknowledged and lost: $lost"
more=$(comm -23 /tmp/found /tmp/acknowledged | wc -l)
[ "$more" -le 1 ] || fail "$more writes are there that nobody was told of"
ok "$(wc -l </tmp/acknowledged) acknowledged writes are there; $more was under way"
until_ok 60 kubectl rollout status deployment/web --timeout=1s
until_ok 30 curl -fsS --max-time 2 "http://$(cluster_ip)/"
ok "the Service answers again"
