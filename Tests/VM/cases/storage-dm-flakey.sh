# A disk that can be read and not written to (dm-flakey, error_writes). ext4 turns read-only then, xfs shuts down.
numbered 4096 >"$WORK/data"
for kind in ext4 xfs; do
    failing_disk $kind
    disk_becomes flakey /dev/vdc 0 0 1 1 error_writes
    refused initiate create a.set --size 8M --provider tcp
    contains "CREATE" "$output" part
    disk_works
    remount
    initiate create a.set --size 8M --provider tcp --data "$WORK/data"
    remount

    # OPEN reads the header, and cannot mark the pool.
    disk_becomes flakey /dev/vdc 0 0 1 1 error_writes
    refused initiate open a.set --size 8M --provider tcp
    contains "OPEN" "$output" part "Input/output error"
    disk_works
    remount
    equal "the mark of a pool that was not opened" "$(mark)" 00

    # CLOSE cannot clear the mark.
    hold holder open a.set --size 8M --provider tcp
    disk_becomes flakey /dev/vdc 0 0 1 1 error_writes
    if release holder; then fail "CLOSE: $(cat "$WORK/holder")"; fi
    contains "the log" "$(daemon_log)" "closing the pool:" "Input/output error"
    disk_works
    remount
    equal "the mark" "$(mark)" 01

    disk_becomes flakey /dev/vdc 0 0 1 1 error_writes
    as_user rpmemd --remove a.set || echo "removal: status $?"
    disk_works
    remount
    as_user rpmemd --remove a.set --force
    [ ! -e /mnt/disk/parts/part ]
    remove_failing_disk
    rm -f "$WORK"/holder* "/home/$user/rpmemd.log"
done
