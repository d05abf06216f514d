# A memory error inside a Device DAX, as the machine check handler records it: pools that ask for the check are refused,
# with where it is and how to clear it.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
initiate create a.set --compat 1 --provider sockets
start=$(cat "/sys/bus/dax/devices/${device##*/}/resource")
printf -v poisoned '0x%x' $((start + (16 << 20)))
region=/sys/bus/nd/devices/$(region_of 0)
# Uncorrected, valid address, action optional, of the memory controller.
monitor "mce -b 0 9 0xbd000000000000c0 0x5 $poisoned 0x8c"
sleep 2
cat "$region/badblocks" || true
dmesg | tail -20
[ -s "$region/badblocks" ] || fail "the kernel recorded nothing"
refused initiate open a.set --provider sockets
contains "OPEN" "$output" "$device: bad blocks: " "at offset 16777216" "ndctl"

# To create a pool there is refused as well, and what does not ask for the check is not checked.
as_user rpmemd --remove a.set
refused initiate create a.set --compat 1 --provider sockets
contains "CREATE" "$output" "$device: bad blocks: 4096 bytes at offset 16777216"

# Without the right to know where in its region the device lies, the whole region counts.
chmod 400 "$region/resource" "$region"/dax*/resource
refused initiate create a.set --compat 1 --provider sockets
contains "CREATE without the shipped udev rule's rights" "$output" "$device: its region ${region##*/} has bad blocks" \
    "ndctl list --regions --media-errors" "60-rpmem.rules"
initiate create a.set --provider sockets
