# Replication over verbs with the general purpose method: relaxed, inline and deep, on one lane and on many.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
action=create
for way in relaxed:1 atomic:16 deep:4 relaxed:16; do
    mode=${way%:*} lanes=${way#*:}
    head -c 1M /dev/urandom >"$WORK/data"
    initiate $action a.set --mode "$mode" --lanes "$lanes" --chunk 65000 --data "$WORK/data" --at 5000 \
        --output /home/$user/read --length 1048576 >"$WORK/said"
    contains "$way" "$(cat "$WORK/said")" "connected: $lanes lanes over verbs, gpspm"
    cmp "$WORK/data" /home/$user/read
    daxio --input "$device" --output "$WORK/found" --len 2M >/dev/null 2>&1
    cmp -n 1M -i 0:5000 "$WORK/data" "$WORK/found"
    action=open
done
contains "the log" "$(daemon_log)" "persist method: General Purpose Server Persistency Method" "persist flush: pmem_persist"
