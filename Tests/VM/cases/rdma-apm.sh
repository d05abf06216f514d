# The appliance method: the initiator makes its writes durable without the target's CPU. The platform has eADR, so that auto
# chooses the method as well.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"
# The daemon asks for no sign of life meanwhile.
settings "persist-apm = auto" "peer-timeout = 600"
head -c 640000 /dev/urandom >"$WORK/data"

mkfifo "$WORK/input"
initiate create a.set --data "$WORK/data" --chunk 64 --prompted --hold <"$WORK/input" >"$WORK/said" 2>&1 &
exec 8>"$WORK/input"
within 60 grep -q ^connected "$WORK/said"
contains "the initiator" "$(cat "$WORK/said")" "over verbs, apm"
contains "the log" "$(daemon_log)" "persist method: Appliance Persistency Method" "persist flush: none"
# Waits until its threads sleep.
before=0 now=$(daemon_time)
until [ "$now" = "$before" ]; do
    sleep 0.5
    before=$now now=$(daemon_time)
done
echo go >&8
within 300 grep -q ^wrote "$WORK/said"
equal "nanoseconds that the daemon's threads ran during 10000 persists" $(($(daemon_time) - before)) 0
daxio --input "$device" --output "$WORK/found" --len 1M >/dev/null 2>&1
cmp -n 640000 -i 0:4096 "$WORK/data" "$WORK/found"
exec 8>&-
within 60 grep -q ^closed "$WORK/said"

# Inline and deep requests are still answered.
settings "persist-apm = yes"
for mode in atomic deep; do
    head -c 300000 /dev/urandom >"$WORK/data"
    initiate open a.set --mode "$mode" --lanes 4 --data "$WORK/data" --at 4196 >"$WORK/said"
    contains "$mode" "$(cat "$WORK/said")" "connected: 4 lanes over verbs, apm"
    daxio --input "$device" --output "$WORK/found" --len 1M >/dev/null 2>&1
    cmp -n 300000 -i 0:4196 "$WORK/data" "$WORK/found"
done

# With eADR the target uses the method over sockets and tcp as well.
for provider in sockets tcp; do
    initiate open a.set --data "$WORK/data" --at 4196 --provider "$provider" >"$WORK/said"
    contains "over $provider" "$(cat "$WORK/said")" "over $provider, apm"
    daxio --input "$device" --output "$WORK/found" --len 1M >/dev/null 2>&1
    cmp -n 300000 -i 0:4196 "$WORK/data" "$WORK/found"
done

# The target does not use the method for a pool on an ordinary file.
pool_set file.set "16M /home/$user/file.part"
initiate create file.set --data "$WORK/data" >"$WORK/said"
contains "on a file" "$(cat "$WORK/said")" "over verbs, gpspm"
contains "the log" "$(daemon_log)" "persist-apm is set, but the pool is not on persistent memory" "GPSPM is used"
rm "/home/$user/file.part"
