# The plug is pulled while a pool on CXL memory is open: the namespace comes back from its labels, what was acknowledged is
# there, the header says that the pool was open, and it opens again.
make_data() { seq 1 40000 >"$WORK/data"; truncate -s 256K "$WORK/data"; }
case $STAGE in
    0)
        device=$(cxl_device_dax)
        pool_set a.set "AUTO $device"
        make_data
        hold one create a.set --size 4M --data "$WORK/data" --provider sockets
        within 60 grep wrote "$WORK/one"
        pull_plug
        ;;
    1)
        device=$(cxl_made_device)
        pool_set a.set "AUTO $device"
        header "$device"
        equal "dirty in the header" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 01
        make_data
        daxio --input "$device" --skip 4096 --output "$WORK/found" --len 256K
        cmp "$WORK/data" "$WORK/found"
        initiate open a.set --size 4M --output "$WORK/back" --length 256K --provider sockets
        cmp "$WORK/data" "$WORK/back"
        header "$device"
        equal "dirty in the header after CLOSE" "$(bytes "$WORK/header" $((4024 + 16)) 1)" 00
        ;;
esac
