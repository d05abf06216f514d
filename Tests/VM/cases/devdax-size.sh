# A device's size in the set must be its own; AUTO is for devices only.
device=$(device_dax 0)
size=$(cat "/sys/bus/dax/devices/${device##*/}/size")
pool_set a.set "512M $device"
refused initiate create a.set --provider sockets
contains "what the target says of another size" "$output" "a.set:2" "$device has $size bytes, the set says 536870912" \
    "write AUTO"
pool_set a.set "${size}B $device"
initiate create a.set --provider sockets
as_user truncate -s 32M /home/tester/file.part
pool_set f.set "AUTO /home/tester/file.part"
refused initiate create f.set --provider sockets
contains "what the target says of AUTO on a file" "$output" "AUTO is for Device DAX" "write its size, 33554432B"
pool_set m.set "AUTO $device" "32M /home/tester/file.part"
refused initiate create m.set --provider sockets
contains "what the target says of a device beside a file" "$output" "either all parts are or none"
# The device itself, named as pool set through a link below poolset-dir, leads out of that.
ln -sf "$device" /home/tester/d.set
refused initiate open d.set --provider sockets
contains "what the target says of a device as a descriptor" "$output" "leads out of the pool set directory"
