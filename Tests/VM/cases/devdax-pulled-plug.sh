# The machine loses its power while a pool is open. The pool has the acknowledged bytes, its header has the mark of an open
# pool, and it opens again, because the NVDIMM counts no unsafe shutdown.
# The first NVDIMM may have a page that is poisoned. The same data on both sides of the power loss.
make_data() { seq 1 400000 >"$WORK/data"; truncate -s 2M "$WORK/data"; }
case $STAGE in
    0)
        device=$(device_dax 1)
        pool_set a.set "AUTO $device"
        make_data
        hold one create a.set --data "$WORK/data" --provider sockets
        within 30 grep wrote "$WORK/one"
        pull_plug
        ;;
    1)
        device=$(made_device 1)
        pool_set a.set "AUTO $device"
        header "$device"
        equal "dirty in the header" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 01
        make_data
        daxio --input "$device" --skip 4096 --output "$WORK/found" --len 2M
        cmp "$WORK/data" "$WORK/found"
        initiate open a.set --output "$WORK/back" --length 2M --provider sockets
        cmp "$WORK/data" "$WORK/back"
        header "$device"
        equal "dirty in the header after CLOSE" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 00
        ;;
esac
