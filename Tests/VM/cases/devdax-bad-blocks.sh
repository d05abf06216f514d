# A memory error inside a Device DAX, as the machine check handler records it. Pools that ask for the check are refused; the
# message has the place of the error and the command that clears it.
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

# rpmemctl says so, too.
ask list
contains "list" "$output" '"state":"damaged"' '"badBlocks":1'
contains "metrics" "$(as_user rpmemctl metrics)" 'rpmemd_pool_bad_blocks{pool="a.set"} 1'
ask info a.set
contains "info" "$output" '"badBlocks":[{"offset":16777216,"length":'
ask check a.set
equal "the status of check" "$status" 2
contains "check" "$output" "$device" "16777216"
ask doctor "$user@$address" a.set
equal "the status of doctor" "$status" 2
contains "doctor" "$output" '{"check":"bad-blocks","machine":"target","verdict":"fail"'

examine a.set
diagnosed bad-blocks target fail "$device: 4096 bytes at offset 16777216" \
    "clear them with \`ndctl clear-errors\`, or \`pmempool sync --bad-blocks\` on the initiator, which restores what was there"
# QEMU's NVDIMMs have no command that clears an error, so the remedy cannot be followed to its end.
output=$(ndctl clear-errors "$(namespace_of 0)" 2>&1) || true
contains "ndctl clear-errors here" "$output" "Operation not supported"

# CREATE is refused as well. A pool that does not ask for the check opens.
as_user rpmemd --remove a.set
refused initiate create a.set --compat 1 --provider sockets
contains "CREATE" "$output" "$device: bad blocks: 4096 bytes at offset 16777216"

# Without permission to read the place of the device in its region, bad blocks of the whole region count.
chmod 400 "$region/resource" "$region"/dax*/resource
refused initiate create a.set --compat 1 --provider sockets
contains "CREATE without the shipped udev rule's rights" "$output" "$device: its region ${region##*/} has bad blocks" \
    "ndctl list --regions --media-errors" "60-rpmem.rules"
initiate create a.set --provider sockets
