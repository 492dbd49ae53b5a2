ip=$(cluster_ip)
until_ok 10 curl -fsS --max-time 2 "http://$ip/"
ok "from this host to the ClusterIP: $(curl -fsS --max-time 2 "http://$ip/" | head -n 1)"
until_ok 10 curl -fsS --max-time 2 http://192.0.2.10:30080/
ok "from this host to the NodePort on its address"
kubectl run asks --image=mainstay/client --restart=Never -- curl -s http://web.default.svc.cluster.local/ >/dev/null
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/asks --timeout=30s >/dev/null || fail "$(kubectl describe pod asks | tail -n 5)"
ok "from a pod by name: $(kubectl logs asks | head -n 1)"
kubectl delete pod asks --wait >/dev/null
