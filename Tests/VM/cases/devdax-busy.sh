# A device that a session has is refused to others, through whichever pool set, and free again when that ends.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
pool_set b.set "AUTO $device"
hold one create a.set --provider sockets
refused initiate open b.set --provider sockets
contains "what the target says" "$output" "in use" "$device: in use by process" "(rpmemd)"
release one
initiate open b.set --provider sockets
