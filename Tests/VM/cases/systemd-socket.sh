# A session without ssh: rpmemd.socket starts rpmemd@.service, whose sandbox allows Device DAX, a deep persist and verbs, and
# nothing else.
device=$(device_dax 1)
printf 'PMEMPOOLSET\nAUTO %s\n' "$device" >"$WORK/a.set"
systemctl enable --now rpmemd.socket
equal "the socket" "$(systemctl is-active rpmemd.socket)" active
contains "where it listens" "$(ss -Hltn sport = 7636)" 127.0.0.1:7636
install -D -o rpmem -g rpmem -m 0644 "$WORK/a.set" /var/lib/rpmem/a.set
mkdir -p /etc/rpmemd
cp /etc/rpmemd/rpmemd.conf "$WORK/"
soft_roce
printf '%s\n' 'log-level = info' 'in-band-address = 10.77.0.1' 'in-band-peer = any' >/etc/rpmemd/rpmemd.conf

# The script of README for RPMEM_SSH.
printf '%s\n' '#!/bin/sh' 'exec nc -N 127.0.0.1 7636' >"$WORK/no-ssh"
chmod 755 "$WORK/no-ssh"
# without_ssh ACTION SET [OPTION...]
without_ssh() {
    local action=$1 set=$2
    shift 2
    as_user env RPMEM_SSH="$WORK/no-ssh" /vm/bin/vm-initiator "$action" 10.77.0.1 "$set" "$@" ||
        fail "$(journalctl -o cat -u 'rpmemd@*')"
}
head -c 3M /dev/urandom >"$WORK/data"
chmod 644 "$WORK/data"
# The limit of the initiator. The unit has another.
ulimit -l unlimited
without_ssh create a.set --provider verbs \
    --data "$WORK/data" --mode deep --at 4096
without_ssh open a.set --provider tcp --lanes 4 \
    --data "$WORK/data" --mode deep --at 4198400
daxio --input "$device" --output "$WORK/found" --len 8M
cmp -n 3M -i 0:4096 "$WORK/data" "$WORK/found"
cmp -n 3M -i 0:4198400 "$WORK/data" "$WORK/found"

# The sandbox is in effect: it allowed the deep persist, and does not allow this.
cat >"$WORK/b.set" <<END
PMEMPOOLSET
8M /home/tester/part
END
install -o rpmem -g rpmem -m 0644 "$WORK/b.set" /var/lib/rpmem/b.set
refused as_user env RPMEM_SSH="$WORK/no-ssh" /vm/bin/vm-initiator create 10.77.0.1 b.set --provider sockets
echo "ok: refused: $output"
[ ! -e /home/tester/part ] || fail "a part was made in a home directory"

# One address has 64 connections at once, as in the unit, and no more; another one still has its own. cat(1) without a sandbox, in
# place of the daemon, keeps 64 of them small.
printf '%s\n' '[Unit]' CollectMode=inactive-or-failed '[Service]' ExecStart=/bin/cat StandardInput=socket StandardOutput=socket \
    >/run/systemd/system/rpmemd@.service
systemctl daemon-reload
within 60 sh -c '! systemctl --quiet is-active "rpmemd@*"'
connections=()
# echoes DESCRIPTOR: whether the other side of a connection answers.
echoes() {
    echo hello >&"$1" && read -r -t 30 reply <&"$1" && [ "$reply" = hello ]
}
for _ in $(seq 64); do
    exec {connection}<>/dev/tcp/127.0.0.1/7636
    connections+=("$connection")
done
for connection in "${connections[@]}"; do echoes "$connection" || fail "one of 64 connections is not served"; done
exec {connection}<>/dev/tcp/127.0.0.1/7636
! (echoes "$connection" 2>/dev/null) || fail "one address has 65 connections"
exec {connection}>&-
equal "another address" "$(echo hello | nc -N -s 127.0.0.2 -w 30 127.0.0.1 7636)" hello
connection=${connections[0]}
exec {connection}>&-
# systemd counts the connection until its process has ended.
within 30 sh -c '[ "$(systemctl list-units --plain --no-legend "rpmemd@*" | wc -l)" -lt 64 ]'
equal "the address again" "$(echo hello | nc -N -w 30 127.0.0.1 7636)" hello
for connection in "${connections[@]:1}"; do exec {connection}>&-; done
rm /run/systemd/system/rpmemd@.service
systemctl daemon-reload

journalctl --sync
log=$(journalctl -o cat -u 'rpmemd@*')
contains "the journal" "$log" "persist method: General Purpose" "persist flush: pmem_persist" /home/tester/part
# The daemon's own confinement, inside of systemd's.
equal "how sessions with lanes were confined" "$(grep -o 'confined: .*' <<<"$log" | sed 's/Landlock [0-9]*/Landlock/' | sort -u)" \
    "confined: no new privileges, Landlock, no core files, system calls"
within 60 sh -c '! systemctl --quiet is-active "rpmemd@*"'
equal "failed units" "$(systemctl list-units --failed --plain --no-legend 'rpmemd*')" ""
cp "$WORK/rpmemd.conf" /etc/rpmemd/
systemctl disable --now rpmemd.socket
