# Several devices in one pool: aligned at 2 MiB they need SINGLEHDR, aligned at 4 KiB each has a header page.
first=$(device_dax 0)
second=$(device_dax 1)
pool_set set.set "AUTO $first" "AUTO $second"
refused initiate create set.set --provider sockets
contains "what the target says" "$output" "set.set:2" "$first has an alignment of 2097152" "need 4096" "OPTION SINGLEHDR"

size=$(cat "/sys/bus/dax/devices/${first##*/}/size")
pool_set single.set "OPTION SINGLEHDR" "AUTO $first" "AUTO $second"
head -c 2M /dev/urandom >"$WORK/data"
initiate create single.set --incompat 7 --size $((2 * size)) --data "$WORK/data" --at $((size - (1 << 20))) \
    --provider sockets
daxio --input "$first" --skip $((size - (1 << 20))) --output "$WORK/found" --len 1M
daxio --input "$second" --output "$WORK/found2" --len 1M
cat "$WORK/found2" >>"$WORK/found"
cmp "$WORK/data" "$WORK/found"
echo "ok: what was written over the seam lies at the end of $first and the start of $second"
refused initiate create single.set --provider sockets
contains "without SINGLEHDR in the request" "$output" "the set has SINGLEHDR, the request does not"

first=$(device_dax 0 --align 4096)
second=$(device_dax 1 --align 4096)
size=$(cat "/sys/bus/dax/devices/${first##*/}/size")
pool_set small.set "AUTO $first" "AUTO $second"
rm "$WORK/found" "$WORK/found2"
initiate create small.set --size $((2 * size - 4096)) --data "$WORK/data" --at $((size - (1 << 20))) --provider sockets
daxio --input "$first" --skip $((size - (1 << 20))) --output "$WORK/found" --len 1M
daxio --input "$second" --output "$WORK/found2" --len $(((1 << 20) + 4096))
equal "the second header's signature" "$(head -c 8 "$WORK/found2")" VMREPLIC
tail -c +4097 "$WORK/found2" >>"$WORK/found"
cmp "$WORK/data" "$WORK/found"
echo "ok: aligned at 4 KiB, the second header page is left out of the pool"
initiate open small.set --size $((2 * size - 4096)) --output "$WORK/back" --length 2M --at $((size - (1 << 20))) \
    --provider sockets
cmp "$WORK/data" "$WORK/back"
