# CREATE does not overwrite earlier contents of the device. The message describes them.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
head -c 4096 /dev/urandom >"$WORK/junk"
daxio --input "$WORK/junk" --output "$device"
refused initiate create a.set --provider sockets
contains "CREATE on junk" "$output" "$device: already has a pool" "not zero, and no valid pool header"
refused initiate open a.set --provider sockets
contains "OPEN of junk" "$output" "$device" "wrong checksum"
daxio --zero --output "$device" --len 2M
refused initiate open a.set --provider sockets
contains "OPEN of zeros" "$output" "has no pool on it"
initiate create a.set --provider sockets
refused initiate create a.set --provider sockets
contains "CREATE on a pool" "$output" "signature 'VMREPLIC', major 1, pool set uuid" "rpmemd --remove"
as_user rpmemd --remove a.set
header "$device"
equal "bytes of the header page that removing left" "$(tr -d '\0' <"$WORK/header" | wc -c)" 0
initiate create a.set --provider sockets
