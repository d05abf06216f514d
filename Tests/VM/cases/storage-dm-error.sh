# The disk fails during an initiator's writes. When it works again, it has the acknowledged bytes, and the pool has the mark
# of an open pool.
numbered 65536 >"$WORK/data"
for kind in ext4 xfs; do
    failing_disk $kind
    hold writer create a.set --size 8M --provider tcp --prompted --data "$WORK/data" --at 4M --chunk 512
    echo >&"${holding[writer]}"
    # Any number of them may be acknowledged by then. If all are, CLOSE fails.
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
