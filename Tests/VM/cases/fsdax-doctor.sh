# doctor on a file system on persistent memory that is mounted without DAX, and as its remedy mounts it.
block=$(fsdax 2 ext4 /mnt/pmem)
install -d -o tester /mnt/pmem/pools
umount /mnt/pmem
mount "$block" /mnt/pmem
pool_set a.set "32M /mnt/pmem/pools/a.part"
examine a.set
diagnosed map-sync target warn \
    "parts are mapped through the page cache, made durable by msync: /mnt/pmem/pools is on persistent memory (region" \
    "), but takes no MAP_SYNC" \
    "mount the file system with DAX: \`sudo umount /mnt/pmem && sudo mount -o dax $block /mnt/pmem\`, and write the option into /etc/fstab"
follow
examine a.set
diagnosed map-sync target ok "parts are mapped through MAP_SYNC"
# The part itself, once it is there.
initiate create a.set --provider sockets
examine a.set
diagnosed map-sync target ok "parts are mapped through MAP_SYNC"
contains "the policy" "$(daemon_log)" "persist flush: pmem_persist"
