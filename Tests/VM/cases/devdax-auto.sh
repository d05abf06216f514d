# AUTO takes size and alignment from the device. A pool can have the whole device, and the device has the bytes that were sent.
device=$(device_dax 0)
equal "its group" "$(stat -c %G "$device")" rpmem
size=$(cat "/sys/bus/dax/devices/${device##*/}/size")
align=$(cat "/sys/bus/dax/devices/${device##*/}/align")
echo "$device: $size bytes, alignment $align"
pool_set a.set "AUTO $device"

refused initiate create a.set --size $((size + 4096)) --provider sockets
contains "what the target says of one page too many" "$output" "needs $((size + 4096)) bytes, has $size: use a larger device"

head -c 4M /dev/urandom >"$WORK/data"
initiate create a.set --size "$size" --data "$WORK/data" --at 4096 --provider sockets
daxio --input "$device" --output "$WORK/found" --len 5M
cmp -n 4M -i 0:4096 "$WORK/data" "$WORK/found"
equal "the header's signature" "$(head -c 8 "$WORK/found")" VMREPLIC

# This platform does not report eADR, and over sockets and tcp the CPU writes through its caches. A READ would prove nothing,
# so the target uses the general purpose method.
domain=/sys/bus/nd/devices/$(region_of 0)/persistence_domain
equal "what is flushed at power loss" "$(cat "$domain" 2>/dev/null || echo unknown)" unknown
settings "persist-apm = yes"
for provider in sockets tcp; do
    initiate open a.set --data "$WORK/data" --provider "$provider" >"$WORK/said"
    contains "the initiator" "$(cat "$WORK/said")" "over $provider, gpspm"
    contains "the log" "$(daemon_log)" "over $provider the CPU of this machine writes the data" "GPSPM is used"
done
