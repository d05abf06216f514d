# The kernel pins no page of a DAX file system, and soft-RoCE has no on-demand paging.
soft_roce
device=$(device_dax 0)
fsdax 1 ext4 /mnt/dax
install -d -o "$user" /mnt/dax/parts
pool_set dax.set "32M /mnt/dax/parts/part"
pool_set device.set "AUTO $device"

settings
refused initiate create dax.set
contains "without paging" "$output" "pins no files" "DAX file system" "rxe0 has no on-demand paging" "verbs-odp = auto"
[ ! -e /mnt/dax/parts/part ] || fail "the part is left"
settings "verbs-odp = auto"
refused initiate create dax.set
contains "with paging where possible" "$output" "pins no files" "rxe0 has no on-demand paging"
initiate create device.set
settings "verbs-odp = yes"
refused initiate open device.set
contains "with paging only" "$output" "verbs-odp = yes" "device rxe0" "verbs-odp = no"
