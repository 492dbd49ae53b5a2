sh /root/stranger/dump.sh >/root/before
dpkg -i /root/mainstay_*.deb >/tmp/said 2>&1 || fail "$(cat /tmp/said)"
[ "$(systemctl is-enabled mainstay)" = disabled ] && ! systemctl is-active --quiet mainstay || fail "installing started something"
ok "the package is installed and starts nothing by itself"
systemctl enable --now mainstay 2>/tmp/said || {
    journalctl -u mainstay --no-pager -n 30
    fail "systemctl enable --now: $(cat /tmp/said)"
}
ok "systemctl enable --now: $(systemctl show mainstay -p StatusText --value)"
ok "systemd knows: $(systemctl show mainstay -p Type -p WatchdogUSec -p KillMode | tr '\n' ' ')"
kubectl apply -f /root/stranger/web.yaml >/dev/null
kubectl rollout status deployment/web --timeout=60s >/tmp/said || fail "$(cat /tmp/said)"
kubectl wait --for=condition=Programmed service/web --timeout=20s >/dev/null
ok "$(kubectl get deployment web --no-headers)"
systemd-analyze security mainstay --no-pager 2>/dev/null | tail -n 1
