# A deep persist reaches the deep_flush of a CXL region's nd region, which has no flush hints; then one with hints, for
# which a file stands in. A flush writes 1 to it.
device=$(cxl_device_dax)
region=$(cxl_region)
flush=/sys/bus/nd/devices/$region/deep_flush
equal "the persistence domain" "$(cat "/sys/bus/nd/devices/$region/persistence_domain")" memory_controller
pool_set a.set "AUTO $device"
head -c 64K /dev/urandom >"$WORK/data"
echo "the region's hints: $(cat "$flush" 2>&1)"
initiate create a.set --size 4M --data "$WORK/data" --mode deep --provider sockets
daxio --input "$device" --skip 4096 --output "$WORK/found" --len 64K
cmp "$WORK/data" "$WORK/found"
if [ -e "$flush" ]; then
    echo 7 >"$WORK/hints"
    chgrp rpmem "$WORK/hints"
    chmod 664 "$WORK/hints"
    mount --bind "$WORK/hints" "$(realpath "$flush")"
    hold deep open a.set --size 4M --data "$WORK/data" --mode deep --provider sockets
    within 60 grep -q wrote "$WORK/deep"
    equal "deep_flush after a deep persist" "$(cat "$WORK/hints")" 1
    release deep
    umount "$(realpath "$flush")"
fi
