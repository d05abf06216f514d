# Persistent memory emulated in DRAM (memmap= on the kernel's command line): a pool is created, written and opened again on a
# file system and on Device DAX.
equal "regions" "$(ls -d /sys/bus/nd/devices/region* | wc -l)" 1
fsdax 0 ext4 /mnt/pmem
install -d -o tester /mnt/pmem/pools
head -c 3M /dev/urandom >"$WORK/data"
pool_set f.set "64M /mnt/pmem/pools/f.part"
initiate create f.set --size 64M --data "$WORK/data" --provider sockets
contains "the policy" "$(daemon_log)" "persist flush: pmem_persist"
cmp -n 3M -i 0:4096 "$WORK/data" /mnt/pmem/pools/f.part
initiate open f.set --size 64M --output "$WORK/back" --length 3M --provider sockets
cmp "$WORK/data" "$WORK/back"
umount /mnt/pmem

device=$(device_dax 0)
pool_set d.set "AUTO $device"
initiate create d.set --size 64M --data "$WORK/data" --provider sockets
daxio --input "$device" --skip 4096 --output "$WORK/found" --len 3M
cmp "$WORK/data" "$WORK/found"
initiate open d.set --size 64M --data "$WORK/data" --mode deep --output "$WORK/back2" --length 3M --provider sockets
cmp "$WORK/data" "$WORK/back2"

# No remedy makes memory that DRAM emulates persistent.
examine d.set
diagnosed persistence-domain target warn \
    "region0: unknown: the kernel does not know that the platform saves write queues at a loss of power" \
    "ask the vendor whether region0 has ADR; emulated persistent memory has none"
