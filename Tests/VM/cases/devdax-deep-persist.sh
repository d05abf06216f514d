# A deep persist, and closing, reach the region's deep_flush: on this machine's region, which has no flush hints, and on
# one with them, for which a file stands in (QEMU emulates none).
device=$(device_dax 0)
flush=/sys/bus/nd/devices/$(region_of 0)/deep_flush
pool_set a.set "AUTO $device"
head -c 64K /dev/urandom >"$WORK/data"
equal "the region's hints" "$(cat "$flush")" 0
initiate create a.set --data "$WORK/data" --mode deep --provider sockets

# traced MODE: what the daemon wrote to deep_flush in a session with one persist of that mode.
traced() {
    RPMEM_CMD="strace -f --seccomp-bpf -y -o /tmp/trace -e trace=pwrite64,write rpmemd" \
        initiate open a.set --data "$WORK/data" --mode "$1" --provider sockets
    grep -c deep_flush /tmp/trace || true
    rm -f /tmp/trace
}
equal "writes to a region without hints" "$(traced deep | tail -1)" 0
echo 1 >"$WORK/hints"
chgrp rpmem "$WORK/hints"
chmod 664 "$WORK/hints"
mount --bind "$WORK/hints" "$(realpath "$flush")"
deep=$(traced deep | tail -1)
relaxed=$(traced relaxed | tail -1)
equal "writes to deep_flush of a session without a deep persist (one: closing)" "$relaxed" 1
equal "writes to deep_flush of a session with one deep persist of 64 KiB" "$deep" 2

# Without the rights: the persist is not acknowledged, and the reason is said.
chgrp root "$WORK/hints"
refused initiate open a.set --data "$WORK/data" --mode deep --provider sockets
contains "without the right to flush" "$(grep -E 'warning|err:' /home/tester/rpmemd.log)" \
    "$device: this process may not write $flush, so deep persists will fail" \
    "could not be made durable: Permission denied"
umount "$(realpath "$flush")"
