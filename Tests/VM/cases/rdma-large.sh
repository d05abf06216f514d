# A pool of more than 1 GiB, and persists longer than the device's longest message, 8 MiB with soft-RoCE.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
size=$(cat "/sys/bus/dax/devices/${device##*/}/size")
at=$((1 << 30))
((size > at + (48 << 20))) || fail "$device has $size bytes only"
head -c 40M /dev/urandom >"$WORK/data"
# Memory for the initiator's own copy of the pool.
initiate create a.set --size "$size" --chunk 41943040 --data "$WORK/data" --at $at
daxio --input "$device" --output "$WORK/found" --skip $at --len 40M >/dev/null 2>&1
cmp "$WORK/data" "$WORK/found"
settings "persist-apm = yes"
head -c 20M /dev/urandom >"$WORK/data"
initiate open a.set --size "$size" --chunk 20971520 --data "$WORK/data" --at $((at + 12345)) --output /home/$user/read \
    --length 20971520
cmp "$WORK/data" /home/$user/read
