# The disk is gone in the middle of an initiator's writes. What was acknowledged is on it when it comes back, and the pool
# is marked open.
numbered 65536 >"$WORK/data"
for kind in ext4 xfs; do
    failing_disk $kind
    hold writer create a.set --size 8M --provider tcp --prompted --data "$WORK/data" --at 4M --chunk 512
    echo >&"${holding[writer]}"
    # However many are acknowledged by then: all if need be, and then it is CLOSE that fails.
    sleep 0.5
    disk_becomes error
    if release writer; then fail "CLOSE could not clear the mark: $(cat "$WORK/writer")"; fi
    cat "$WORK/writer"
    within 30 eval '! pgrep -x rpmemd >/dev/null'
    grep -E ' err: .*(Input/output error|Read-only file system)' "/home/$user/rpmemd.log"
    disk_works
    remount
    equal "the mark" "$(mark)" 01
    count=$(acknowledged writer)
    cmp -n "$count" -i 4194304:0 /mnt/disk/parts/part "$WORK/data"
    echo "ok: $count bytes were acknowledged and are there"
    initiate open a.set --size 8M --provider tcp --data "$WORK/data" --at 4M
    remount
    equal "the mark after CLOSE" "$(mark)" 00
    cmp -n 1M -i 4194304:0 /mnt/disk/parts/part "$WORK/data"
    remove_failing_disk
    rm -f "$WORK"/writer* "/home/$user/rpmemd.log"
done
