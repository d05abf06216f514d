# RDMA pins the pool on both sides. A limit on locked memory that is too low is an error whose message has the remedy. A soft
# limit alone is no obstacle.
soft_roce
device=$(device_dax 0)
pool_set a.set "AUTO $device"

memory_limit 64 4096
refused initiate create a.set --size 16777216
contains "a target that may lock 4 MiB" "$output" "cannot be pinned" "has 16777216 bytes" "may lock 4194304" "ulimit -l"
memory_limit 64 64
refused initiate create a.set --size 16777216
contains "a target that may lock 64 KiB" "$output" "65536" "ulimit -l"
# The refused CREATE has left no pool.
daxio --input "$device" --output "$WORK/found" --len 4096 >/dev/null 2>&1
cmp -n 4096 "$WORK/found" /dev/zero

memory_limit 64 unlimited
as_user prlimit --memlock=65536:unlimited /vm/bin/vm-initiator create "$user@$address" a.set --size 16777216
refused as_user prlimit --memlock=4194304:4194304 /vm/bin/vm-initiator open "$user@$address" a.set --size 16777216
contains "an initiator that may lock 4 MiB" "$output" "memory here cannot be pinned" "may lock 4194304" "ulimit -l"
