# Blocks that the kernel knows to be bad, below a file on a file system: create and open refuse, with the extents.
block=$(fsdax 2 ext4 /mnt/pmem)
install -d -o tester /mnt/pmem/pools
pool_set a.set "32M /mnt/pmem/pools/a.part"
initiate create a.set --compat 1 --provider sockets
# Where the file's 8th MiB lies on the device, in sectors.
extent=$(filefrag -b512 -v /mnt/pmem/pools/a.part | awk '$1 == "0:" { sub(/\.\..*/, "", $4); print $4 }')
# ndctl counts from the namespace's data, as the block device does.
echo "$((extent + 16384)) 8" >"/sys/block/${block##*/}/badblocks"
refused initiate open a.set --provider sockets
contains "OPEN" "$output" "a.part: bad blocks: 4096 bytes at offset 8388608" "ndctl clear-errors" "pmempool sync"

# A pool without the check opens. The pool with the check opens once the block is clear.
echo "-$((extent + 16384)) 8" >"/sys/block/${block##*/}/badblocks" 2>/dev/null || true
