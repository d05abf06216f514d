# AUTO on persistent memory behind CXL takes size and alignment from the Device DAX. A pool is made, its contents are what
# was sent, and it is opened again.
device=$(cxl_device_dax)
size=$(cat "/sys/bus/dax/devices/${device##*/}/size")
align=$(cat "/sys/bus/dax/devices/${device##*/}/align")
echo "$device: $size bytes, alignment $align"
equal "its group" "$(stat -c %G "$device")" rpmem
pool_set a.set "AUTO $device"

refused initiate create a.set --size $((size + 4096)) --provider sockets
contains "what the target says of one page too many" "$output" "needs $((size + 4096)) bytes, has $size: use a larger device"

head -c 256K /dev/urandom >"$WORK/data"
initiate create a.set --size 4M --data "$WORK/data" --at 4096 --provider sockets
contains "the policy" "$(daemon_log)" "persist flush: pmem_persist"
daxio --input "$device" --output "$WORK/found" --len 1M
cmp -n 256K -i 0:4096 "$WORK/data" "$WORK/found"
equal "the header's signature" "$(head -c 8 "$WORK/found")" VMREPLIC
initiate open a.set --size 4M --output "$WORK/back" --length 256K --provider tcp
cmp "$WORK/data" "$WORK/back"
as_user rpmemd --remove a.set
refused initiate open a.set --size 4M --provider sockets
contains "OPEN of a pool that was removed" "$output" "$device" "has no pool on it"
