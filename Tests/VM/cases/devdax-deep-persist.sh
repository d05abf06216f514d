# A deep persist, and closing, reach the region's deep_flush: on this machine's region, which has no flush hints, and on
# one with them, for which a file stands in (QEMU emulates none). A flush writes 1 to it.
device=$(device_dax 0)
flush=/sys/bus/nd/devices/$(region_of 0)/deep_flush
pool_set a.set "AUTO $device"
head -c 64K /dev/urandom >"$WORK/data"
equal "the region's hints" "$(cat "$flush")" 0
initiate create a.set --data "$WORK/data" --mode deep --provider sockets

echo 7 >"$WORK/hints"
chgrp rpmem "$WORK/hints"
chmod 664 "$WORK/hints"
mount --bind "$WORK/hints" "$(realpath "$flush")"
hold relaxed open a.set --data "$WORK/data" --mode relaxed --provider sockets
within 60 grep -q wrote "$WORK/relaxed"
equal "deep_flush after a persist" "$(cat "$WORK/hints")" 7
release relaxed
equal "deep_flush after CLOSE" "$(cat "$WORK/hints")" 1
echo 7 >"$WORK/hints"
hold deep open a.set --data "$WORK/data" --mode deep --provider sockets
within 60 grep -q wrote "$WORK/deep"
equal "deep_flush after a deep persist" "$(cat "$WORK/hints")" 1
release deep

# Without write permission on deep_flush the persist is not acknowledged, and the log has the reason.
chgrp root "$WORK/hints"
refused initiate open a.set --data "$WORK/data" --mode deep --provider sockets
contains "without the right to flush" "$(grep -E 'warn:|err:' /home/tester/rpmemd.log)" \
    "$device: this process may not write $flush, so deep persists will fail" \
    "could not be made durable: Permission denied" "the pool stays marked as not cleanly closed"
header "$device"
equal "the dirty mark after a persist that failed" "$(bytes "$WORK/header" 4040 1)" 01
umount "$(realpath "$flush")"
