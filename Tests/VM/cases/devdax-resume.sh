# Sessions on a Device DAX that outlive kills of their daemon: the token of the last initiator is in /var/lib/rpmemd, which the
# daemon reaches as an ordinary user of the group rpmem, confined. Not resumed: a session after which another one could write,
# and those on a machine without the directory.
rm -rf /var/lib/rpmemd
systemd-tmpfiles --create rpmem.conf
equal "the directory" "$(stat -c '%U %G %a' /var/lib/rpmemd)" "root rpmem 2775"
device=$(device_dax 0)
region=$(region_of 0)
uuid=$(cat "/sys/bus/nd/devices/$region"/dax*/uuid | grep -v '^$' | sort -u | tail -n 1)
pool_set a.set "AUTO $device"
seq -f '%015.0f' 200000 >"$WORK/data"
export RPMEM_RESUME=120
resumed() { grep -c 'resumes its session' <<<"$(daemon_log)" || true; }
# lose: kills the daemon, once it has the pool.
lose() {
    local before
    before=$(grep -c ' done: pool set' <<<"$(daemon_log)" || true)
    pkill -KILL -x rpmemd
    within 60 has_opened $((before + 1))
}
has_opened() { [ "$(grep -c ' done: pool set' <<<"$(daemon_log)" || true)" -ge "$1" ]; }

# Killed before the data, and five times while they come.
hold one create a.set --data "$WORK/data" --chunk 64 --prompted --provider tcp
[ -s "/var/lib/rpmemd/$uuid" ] || fail "no token: $(ls -l /var/lib/rpmemd)"
lose
echo >&"${holding[one]}"
for round in 1 2 3 4 5; do sleep 0.5; lose; done
within 300 grep -q wrote "$WORK/one"
release one
equal "sessions that were resumed" "$(resumed)" 6
daxio --input "$device" --skip 4096 --output "$WORK/found" --len "$(stat -c %s "$WORK/data")"
cmp "$WORK/data" "$WORK/found"
equal "files in the directory" "$(ls /var/lib/rpmemd)" "$uuid"

# Another session could write meanwhile.
hold two open a.set --data "$WORK/data" --prompted --provider tcp
initiator=$(pgrep -x -n vm-initiator)
kill -STOP "$initiator"
pkill -KILL -x rpmemd
head -c 4K /dev/zero | tr '\0' x >"$WORK/other"
RPMEM_RESUME=0 initiate open a.set --data "$WORK/other" --provider tcp
[ ! -e "/var/lib/rpmemd/$uuid" ] || fail "the token is there still"
kill -CONT "$initiator"
echo >&"${holding[two]}"
if wait "${held[two]}"; then fail "it goes on"; fi
contains "the reason" "$(cat "$WORK/two")" "another session could write to the pool on the target since"
daxio --input "$device" --skip 4096 --output "$WORK/found" --len 4096
cmp -n 4096 "$WORK/other" "$WORK/found"

# Without the directory.
rm -rf /var/lib/rpmemd
hold three open a.set --data "$WORK/data" --prompted --provider tcp
pkill -KILL -x rpmemd
echo >&"${holding[three]}"
if wait "${held[three]}"; then fail "it goes on"; fi
contains "the reason" "$(cat "$WORK/three")" "the target does not keep who has written last" "/var/lib/rpmemd"
unset RPMEM_RESUME
