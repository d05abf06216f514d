# Other sessions cannot open a device in use, through any pool set. At the end of the session it is free again.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
pool_set b.set "AUTO $device"
hold one create a.set --provider sockets
refused initiate open b.set --provider sockets
contains "what the target says" "$output" "in use" "$device: in use by process" "(rpmemd)"
release one
initiate open b.set --provider sockets
