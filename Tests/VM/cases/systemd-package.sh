# The package rpmemd of `make deb`, installed, used and removed by dpkg under a running systemd.
package=$(echo /vm/packages/rpmemd_*.deb)
[ -e "$package" ] || fail "the guest has no package"
# What `make install` put here goes first: all files are the package's then.
dpkg-deb --fsys-tarfile "$package" | tar -t | sed -n 's,^\./,/,p' | while read -r path; do
    [ -d "$path" ] || rm -f "$path"
done
systemctl daemon-reload
equal "the unit without the package" "$(systemctl show -P LoadState rpmemd.socket)" not-found

dpkg --install "$package" >"$WORK/dpkg" 2>&1 || fail "$(cat "$WORK/dpkg")"
equal "the package" "$(dpkg-query -W -f '${Status}' rpmemd)" "install ok installed"
# The image leaves documentation out.
equal "files that are not as in the package" "$(dpkg --verify rpmemd | grep -v /usr/share/doc/ || true)" ""
contains "the user" "$(getent passwd rpmem)" ":/var/lib/rpmem:"
equal "the socket, which authenticates nobody" "$(systemctl is-enabled rpmemd.socket || true)" disabled
equal "what systemd finds in the units" "$(systemd-analyze verify --man=no rpmemd.socket rpmemd@1.service 2>&1)" ""

# README's line.
systemctl enable --now rpmemd.socket
equal "the socket" "$(systemctl is-active rpmemd.socket)" active
contains "where its unit is" "$(dpkg -S "$(systemctl show -P FragmentPath rpmemd.socket | sed 's,^/usr/lib,/lib,')")" "rpmemd:"
contains "where it listens" "$(ss -Hltn sport = 7636)" 127.0.0.1:7636

# Sessions: one without a pool set, and one with.
printf '%s\n' '#!/bin/sh' 'exec nc -N 127.0.0.1 7636' >"$WORK/no-ssh"
chmod 755 "$WORK/no-ssh"
head -c 1M /dev/urandom >"$WORK/data"
chmod 644 "$WORK/data"
without_ssh() { as_user env RPMEM_SSH="$WORK/no-ssh" /vm/bin/vm-initiator "$@"; }
refused without_ssh create 127.0.0.1 package.set --provider tcp
contains "a session without a pool set" "$output" "package.set"
equal "the state directory" "$(stat -c '%U %G %a' /var/lib/rpmem)" "rpmem rpmem 750"
printf 'PMEMPOOLSET\n8M /var/lib/rpmem/package.part\n' >/var/lib/rpmem/package.set
without_ssh create 127.0.0.1 package.set --provider tcp --data "$WORK/data" --mode deep --at 4096 ||
    fail "$(journalctl -o cat -u 'rpmemd@*')"
cmp -n 1M -i 0:4096 "$WORK/data" /var/lib/rpmem/package.part
equal "the part" "$(stat -c '%U %a' /var/lib/rpmem/package.part)" "rpmem 600"

# Removal stops the socket, and leaves pools and configuration.
dpkg --remove rpmemd >"$WORK/dpkg" 2>&1 || fail "$(cat "$WORK/dpkg")"
equal "the socket after removal" "$(systemctl is-active rpmemd.socket || true)" inactive
equal "who listens" "$(ss -Hltn sport = 7636)" ""
[ ! -e /usr/bin/rpmemd ] || fail "the program is still there"
[ -e /var/lib/rpmem/package.part ] || fail "the pool is gone"
[ -e /etc/rpmemd/rpmemd.conf ] || fail "the configuration is gone"
