# The plug is pulled while a pool is open: what was acknowledged is there, the header says that it was open, and it opens
# again, since the NVDIMM counts no unsafe shutdown.
case $STAGE in
    0)
        device=$(device_dax 0)
        pool_set a.set "AUTO $device"
        seq 1 400000 | head -c 2M >"$WORK/data"
        hold one create a.set --data "$WORK/data" --provider sockets
        within 30 grep wrote "$WORK/one"
        pull_plug
        ;;
    1)
        device=$(made_device 0)
        pool_set a.set "AUTO $device"
        header "$device"
        equal "dirty in the header" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 01
        seq 1 400000 | head -c 2M >"$WORK/data"
        daxio --input "$device" --skip 4096 --output "$WORK/found" --len 2M
        cmp "$WORK/data" "$WORK/found"
        initiate open a.set --output "$WORK/back" --length 2M --provider sockets
        cmp "$WORK/data" "$WORK/back"
        header "$device"
        equal "dirty in the header after CLOSE" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 00
        ;;
esac
