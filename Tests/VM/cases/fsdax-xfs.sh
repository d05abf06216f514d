# Files on xfs mounted with dax are mapped with MAP_SYNC, and flushed from the CPU; over sockets and tcp.
. /vm/cases/fsdax.inc xfs
