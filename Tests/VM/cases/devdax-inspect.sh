# What rpmemctl says of a pool on a Device DAX, as an ordinary user: list, info, check and doctor, while nobody has it open and
# while a session has it open.
device=$(device_dax 0)
size=$(cat "/sys/bus/dax/devices/${device##*/}/size")
region=$(region_of 0)
pool_set a.set "AUTO $device"
initiate create a.set --compat 1 --provider sockets

ask list
equal "the status of list" "$status" 0
contains "list" "$output" '"name":"a.set"' '"state":"clean"' '"badBlocks":0' '"unsafeShutdowns":'
contains "metrics" "$(as_user rpmemctl metrics)" 'rpmemd_pool_bad_blocks{pool="a.set"} 0' \
    'rpmemd_pool_unsafe_shutdowns_total{pool="a.set"} '
ask info a.set
equal "the status of info" "$status" 0
contains "info" "$output" "\"path\":\"$device\"" '"kind":"device"' "\"size\":$size" '"badBlocks":[]' "\"region\":\"$region\"" \
    '"CHECK_BAD_BLOCKS"'
ask check a.set
equal "the status of check" "$status" 0
ask doctor "$user@$address" a.set
contains "doctor" "$output" '{"check":"device-dax","machine":"target","verdict":"ok","found":'"\"$device" \
    '{"check":"udev","machine":"target","verdict":"ok"' '{"check":"bad-blocks","machine":"target","verdict":"ok"'

hold one open a.set --provider sockets
ask list
contains "list during a session" "$output" '"state":"inuse"' '"command":"rpmemd"'
release one
ask list
contains "list after the session" "$output" '"state":"clean"'
