ip=$(cluster_ip)
until_ok 10 curl -fsS --max-time 2 "http://$ip/"
ok "from this host to the ClusterIP: $(curl -fsS --max-time 2 "http://$ip/" | head -n 1)"
until_ok 10 curl -fsS --max-time 2 http://192.0.2.10:30080/
ok "from this host to the NodePort on its address"
kubectl run asks --image=mainstay/client --restart=Never -- curl -s http://web.default.svc.cluster.local/ >/dev/null
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/asks --timeout=30s >/dev/null || fail "$(kubectl describe pod asks | tail -n 5)"
ok "from a pod by name: $(kubectl logs asks | head -n 1)"
kubectl delete pod asks --wait >/dev/null

# Groups in which processes of this machine are: by the end none of them may exist. (Others belong to other machines of a
# shared kernel.)
find /sys/fs/cgroup -ipath '*mainstay*' -name cgroup.procs | while read -r file; do
    if grep -qv '^0$' "$file" 2>/dev/null; then dirname "$file"; fi
done | sort >/root/cgroups
ok "$(wc -l </root/cgroups) cgroups hold the server and its pods"
