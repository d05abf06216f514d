# Digests of a Device DAX, whose bytes come through a pipe: by `rpmemd --digest`, and within the session of a sync, both confined. The
# local replica is a file without a header.
device=$(device_dax 0)
pool_set a.set "AUTO $device"
seq -f '%015.0f' 400000 >"$WORK/data"
initiate create a.set --data "$WORK/data" --provider tcp
local=/home/tester/local
copy() { daxio --input "$device" --output "$1" --len 8M >/dev/null 2>&1; }
same() { copy "$WORK/copy"; cmp -i 4096 "$WORK/copy" "$local"; }
copy "$local"
dd if=/dev/zero of="$local" bs=4096 count=1 conv=notrunc status=none
chown "$user:" "$local"
export RPMEM_ENABLE_TCP=1 RPMEM_ENABLE_SOCKETS=0
compared() { ask verify "$local" "$user@$address" a.set --raw; }

compared
equal "the status of verify on the same bytes" "$status" 0
contains "verify" "$output" '"same":true' '"to":8388608'
change() { printf changed | dd of="$local" bs=1 seek="$1" conv=notrunc status=none; }
for offset in 4096 65530 5000000 8388600; do change $offset; done
compared
equal "the status of verify on other bytes" "$status" 2
contains "verify" "$output" '"same":false' '"differingBlocks":4'

ask sync "$local" "$user@$address" a.set --raw --to-target --yes
equal "the status of sync --to-target" "$status" 0
contains "sync" "$output" '"synchronized":true' '"writtenBytes":258048'
same
contains "the log" "$(daemon_log)" "confined: no new privileges, Landlock"
change 3000000
ask sync "$local" "$user@$address" a.set --raw --from-target --yes
equal "the status of sync --from-target" "$status" 0
contains "sync" "$output" '"synchronized":true' '"writtenBytes":65536'
same
# The mark of a replica that is being written to is gone.
ask check a.set
equal "the status of check" "$status" 0
rm "$local"
