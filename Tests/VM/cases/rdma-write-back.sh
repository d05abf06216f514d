# On an ordinary file an answer means that the data is on the disk, although the RDMA device wrote it to memory and the kernel
# does not mark such pages dirty.
soft_roce
disk=$(namespace 1 fsdax blockdev)
# Small, because the whole disk is searched.
mkfs.ext4 -q -F -b 4096 "$disk" 48M
mkdir -p /mnt/disk
mount "$disk" /mnt/disk
install -d -o "$user" /mnt/disk/parts
pool_set a.set "8M /mnt/disk/parts/part"

action=create
for mode in relaxed deep; do
    # One persist for each word. It is longer than what goes inline, and its first page is the last one of the persist before:
    # the kernel takes that page for clean.
    printf '%-4112s' first-$mode second-$mode third-$mode >"$WORK/data"
    # Without the words of the initiator before it, which would count as this one's until it has begun.
    rm -f "$WORK/input" "$WORK/said"
    mkfifo "$WORK/input"
    initiate $action a.set --mode $mode --chunk 4112 --data "$WORK/data" --at 8000 --hold <"$WORK/input" >"$WORK/said" 2>&1 &
    exec 8>"$WORK/input"
    within 60 grep -qs ^wrote "$WORK/said"
    dd if="$disk" of="$WORK/disk" bs=1M count=48 iflag=direct status=none
    found=$(grep -aoE "(first|second|third)-$mode" "$WORK/disk" | sort -u | tr '\n' ' ')
    equal "what is on the disk when all was answered" "$found" "first-$mode second-$mode third-$mode "
    exec 8>&-
    within 30 grep -q ^closed "$WORK/said"
    action=open
done
