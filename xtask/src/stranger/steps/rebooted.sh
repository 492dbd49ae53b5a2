until_ok 90 systemctl is-active --quiet mainstay
until_ok 60 kubectl rollout status deployment/web --timeout=1s
[ "$(cluster_ip)" = "$(cat /root/ip-before-reboot)" ] || fail "another ClusterIP"
until_ok 30 curl -fsS --max-time 2 "http://$(cluster_ip)/"
until_ok 30 curl -fsS --max-time 2 http://192.0.2.10:30080/
ok "the ClusterIP and the NodePort answer"
pods | cut -d ' ' -f 1 | sort >/tmp/names
cut -d ' ' -f 1 /root/pods-before-reboot | sort >/tmp/names-before
same /tmp/names-before /tmp/names "pods of the same names"
pods | cut -d ' ' -f 2 | sort >/tmp/addresses
cut -d ' ' -f 2 /root/pods-before-reboot | sort >/tmp/addresses-before
if cmp -s /tmp/addresses /tmp/addresses-before; then ok "with the same addresses"; else echo "note: other addresses"; fi
