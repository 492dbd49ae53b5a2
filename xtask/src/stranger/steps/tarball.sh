sh /root/stranger/dump.sh >/root/before
cd /root || exit
tar -xzf "$release" --strip-components=1 --one-top-level=/tmp/release
installer=/tmp/release/install.sh

sh $installer --from "$release" --dry-run >/tmp/plan
grep -q '/usr/local/bin/mainstay' /tmp/plan && grep -q 'nothing was done' /tmp/plan || fail "no plan: $(cat /tmp/plan)"
[ ! -e /usr/local/bin/mainstay ] || fail "--dry-run installed something"
ok "--dry-run lists $(grep -c '^  /' /tmp/plan) files and installs none"

cp "$release" /tmp/damaged.tar.gz
printf x >>/tmp/damaged.tar.gz
sed "s|mainstay-.*linux-.*tar.gz|damaged.tar.gz|" SHA256SUMS >/tmp/SHA256SUMS
if sh $installer --from /tmp/damaged.tar.gz --yes >/tmp/said 2>&1; then fail "a damaged release was installed"; fi
grep -q 'damaged' /tmp/said || fail "$(cat /tmp/said)"
ok "a damaged release is refused: $(head -n 1 /tmp/said | cut -c 1-60)..."

sh $installer --from "$release" --yes >/tmp/said
sh $installer --from "$release" --yes >/tmp/again
grep -q 'will replace' /tmp/again || fail "installing again: $(cat /tmp/again)"
ok "$(mainstay --version) installed, twice"
mainstay version -o json | grep -q '"target": ".*-linux-' || fail "$(mainstay version)"
[ -s /usr/local/share/man/man1/mainstay-up.1 ] || fail "no manual page"
bash -c '. /usr/local/share/bash-completion/completions/mainstay && complete -p mainstay' >/dev/null || fail "no completion"
ok "manual pages, completions and version answer"

mainstay demo >/tmp/demo 2>&1 || fail "the demo: $(tail -n 5 /tmp/demo)"
ok "demo as root: $(tail -n 1 /tmp/demo)"
useradd --create-home stranger
if su - stranger -c '/usr/local/bin/mainstay demo' >/tmp/demo 2>&1; then
    ok "demo as a user: $(tail -n 1 /tmp/demo)"
else
    fail "the demo as a user: $(tail -n 5 /tmp/demo)"
fi
userdel --remove stranger 2>/dev/null

sh $installer --uninstall --purge --yes >/tmp/said || fail "$(cat /tmp/said)"
rm -rf /tmp/release /tmp/damaged.tar.gz
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
sh /root/stranger/dump.sh | grep -vE '/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/var/mail' >/tmp/after
grep -vE '/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/var/mail' /root/before >/tmp/before
same /tmp/before /tmp/after "after --uninstall --purge the machine is as before ($(wc -l </tmp/after) lines compared)"
