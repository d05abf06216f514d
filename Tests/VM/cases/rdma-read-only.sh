# permissions = read-only over verbs: the pool's memory is registered without the right of remote writes, so that the device
# refuses the initiator's WRITEs. Reads go on. Whatever the initiator tries, its session ends and no byte of the pool changes.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
head -c 1M /dev/urandom >"$WORK/data"
initiate create a.set --data "$WORK/data" >"$WORK/said"
# pool_bytes FILE: the pool behind its header page, whose mark of an open pool changes.
pool_bytes() { daxio --input "$device" --output "$1" --skip 4096 --len 8M >/dev/null 2>&1; }
pool_bytes "$WORK/before"
settings "permissions = read-only"
initiate open a.set --output /home/$user/read --length 1048576 >"$WORK/said"
contains "a reader" "$(cat "$WORK/said")" "over verbs"
cmp "$WORK/data" /home/$user/read

head -c 1M /dev/urandom >"$WORK/other"
for mode in relaxed atomic deep; do
    refused initiate open a.set --mode "$mode" --data "$WORK/other"
    contains "$mode" "$output" "connected: 1 lanes over verbs" "acknowledged 0 bytes"
    within 30 eval '! pgrep -x rpmemd >/dev/null'
    pool_bytes "$WORK/after"
    cmp "$WORK/before" "$WORK/after"
done
contains "the log" "$(daemon_log)" "permissions = read-only"
# The pool is sound, and who may write it can do so.
settings
initiate open a.set --data "$WORK/other" --output /home/$user/read --length 1048576 >"$WORK/said"
cmp "$WORK/other" /home/$user/read
