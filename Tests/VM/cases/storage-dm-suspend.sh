# A disk that hangs, and a slow disk: no answer comes before the data is on the disk, and all answers come in the end.
numbered 4096 s >"$WORK/data"
failing_disk ext4
hold writer create a.set --size 8M --provider tcp --prompted --data "$WORK/data" --at 4M --chunk 4096
dmsetup suspend --noflush --nolockfs failing
echo >&"${holding[writer]}"
# Waits until a worker waits for the disk.
within 30 eval 'grep -qs "^State:.D" /proc/$(pgrep -x rpmemd)/task/*/status'
sleep 1
[ -z "$(acknowledged writer)" ] || fail "an answer while the disk hangs: $(cat "$WORK/writer")"
dmsetup resume --noudevsync failing
within 60 grep -q ^wrote "$WORK/writer"
equal "lines that are on the disk" "$(on_disk s)" 4096
release writer
equal "the mark after CLOSE" "$(mark)" 00

disk_becomes delay /dev/vdc 0 0 /dev/vdc 0 100
initiate open a.set --size 8M --provider tcp --data "$WORK/data" --at 6M --chunk 16384
disk_works
remount
cmp -n 64K -i 6291456:0 /mnt/disk/parts/part "$WORK/data"
remove_failing_disk
