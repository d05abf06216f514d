# The administrator turns all file systems read-only (sysrq u) under an open pool. ext4 writes nothing more for msync then,
# and reports no error either.
for kind in ext4 xfs; do
    failing_disk $kind
    numbered 4096 ${kind:0:1} >"$WORK/data"
    hold writer create a.set --size 8M --provider tcp --prompted --data "$WORK/data" --at 4M --chunk 4096
    sync
    echo u >/proc/sysrq-trigger
    within 30 grep -q '^/dev/mapper/failing [^ ]* [^ ]* ro' /proc/mounts
    echo >&"${holding[writer]}"
    within 60 eval 'grep -qE "^(wrote|acknowledged)" "$WORK/writer"'
    found=$(on_disk ${kind:0:1})
    cat "$WORK/writer"
    count=$(acknowledged writer)
    [ "$found" -ge $((count / 16)) ] || fail "$count bytes were acknowledged, and $found lines of 16 are on the disk"
    echo "ok: $count bytes were acknowledged, and $found lines of 16 are on the disk"
    if release writer; then fail "CLOSE could not clear the mark: $(cat "$WORK/writer")"; fi
    contains "the log" "$(daemon_log)" "Read-only file system"
    equal "the mark" "$(mark)" 01
    remove_failing_disk
    rm -f "$WORK"/writer* "/home/$user/rpmemd.log"
done
