"""The rows of the bench. Each runs one round and returns its figures, by name: rates are operations a second, `p50`, `p99` and
times are nanoseconds, `written` is bytes an operation."""
import os
import re
import subprocess
import sys

from place import TREE, Failed, require

LANES = (1, 4, 16)
# What one call moves in the rows about bulk.
BULK = 200_000_000


class Round:
    """What a round may depend on."""

    def __init__(self, place, seconds, index, file_system):
        self.place, self.seconds, self.index, self.file_system = place, seconds, index, file_system

    def in_turn(self, work):
        """The work in turn: forwards in even rounds, backwards in odd ones, so that drift hits both sides."""
        return work if self.index % 2 == 0 else list(reversed(work))


def add(figures, prefix, measured, *names):
    for name in names or ("rate", "p50", "p99"):
        figures[f"{prefix}.{name}"] = measured[name]


def operated(round, operation, figures, prefix, poll=None):
    """rpmemctl bench over tcp, with its floors."""
    for lanes, figure in round.place.rpmemctl_bench("tcp", operation, LANES, round.seconds, poll).items():
        figures[f"{prefix}.{lanes}.rate"] = figure["operationsPerSecond"]
        figures[f"{prefix}.{lanes}.p50"] = figure["latencyNanoseconds"]["p50"]
        figures[f"{prefix}.{lanes}.p99"] = figure["latencyNanoseconds"]["p99"]
        figures[f"floor.{lanes}.p50"] = figure["baselineNanoseconds"]["p50"]
        if "baselineOperationsPerSecond" in figure:
            figures[f"floor.{lanes}.rate"] = figure["baselineOperationsPerSecond"]


def tcp_persist(round):
    figures = {}
    for prefix, poll in round.in_turn([("ours", None), ("blocking", 0)]):
        operated(round, "persist", figures, prefix, poll)
    return figures


def tcp_read(round):
    figures = {}
    operated(round, "read", figures, "ours")
    return figures


def pairs(round, initiators, lanes, size):
    """64-byte persists of pairs over sockets. initiators: (name, initiator, target)."""
    figures = {}
    for count in lanes:
        for name, initiator, target in round.in_turn(initiators):
            add(figures, f"{name}.{count}", round.place.session(
                initiator, target, "sockets", "persist", size, count, seconds=round.seconds))
    return figures


def sockets_pair(round):
    pmdk, ours = round.place.need_pmdk(), round.place.ours
    return pairs(round, [("ours", ours, ours), ("pmdk", pmdk, pmdk)], LANES, 64)


def sockets_target(round):
    pmdk, ours = round.place.need_pmdk(), round.place.ours
    figures = {}
    for size in (64, 4096):
        both = [(f"mixed.{size}", pmdk, ours), (f"pmdk.{size}", pmdk, pmdk)]
        figures.update(pairs(round, both, (16,), size))
    return figures


def file_bulk(round):
    place, figures = round.place, {}
    directory, stat = place.disk(round.file_system)
    sides = [("ours", place.ours, "sockets"), ("ours-tcp", place.ours, "tcp")]
    if place.pmdk:
        sides.append(("pmdk", place.need_pmdk(), "sockets"))
    for lanes in LANES:
        floors = [("floor", lanes, 1)] + ([("floor-threads", 1, lanes)] if lanes > 1 else [])
        for name, batch, threads in floors:
            measured = place.measure("msync", dict(
                file=os.path.join(directory, "floor"), pages=16384, batch=batch, threads=threads,
                seconds=round.seconds))
            figures[f"{name}.{lanes}.rate"] = measured["operations"] * 1e9 / measured["elapsed"]
            os.unlink(os.path.join(directory, "floor"))
        for name, side, provider in round.in_turn(sides):
            measured = place.session(side, side, provider, "persist", 64, lanes, seconds=round.seconds,
                                     directory=directory, written_in_bulk=True, stat=stat)
            measured["written"] /= max(1, measured["operations"])
            add(figures, f"{name}.{lanes}", measured, "rate", "p50", "p99", "written")
    return figures


def bulk(round, figures, name, side, provider, operation):
    measured = round.place.session(side, side, provider, operation, BULK, 1, count=5, seconds=60, pool=208)
    figures[f"{name}.p50"] = measured["p50"]


def atomic_200mb(round):
    figures, place = {}, round.place
    for operation in round.in_turn(["atomic", "persist"]):
        bulk(round, figures, "ours." + ("relaxed" if operation == "persist" else operation), place.ours, "tcp", operation)
    if place.pmdk:
        bulk(round, figures, "pmdk-sockets.atomic", place.need_pmdk(), "sockets", "atomic")
        bulk(round, figures, "ours-sockets.atomic", place.ours, "sockets", "atomic")
    return figures


def read_200mb(round):
    figures, place = {}, round.place
    figures["floor.p50"] = place.measure("socket", dict(bytes=BULK, count=5))["p50"]
    sides = [("ours-tcp", place.ours, "tcp"), ("ours-sockets", place.ours, "sockets")]
    if place.pmdk:
        sides.append(("pmdk-sockets", place.need_pmdk(), "sockets"))
    for name, side, provider in round.in_turn(sides):
        bulk(round, figures, name, side, provider, "read")
    return figures


def read_200mb_loaded(round):
    """With ten spinning processes a processor."""
    place, figures = round.place, {}
    pmdk = place.need_pmdk()
    spinners = [place.start([place.measure_program, "spin", "seconds=600"]) for _ in range(10 * os.cpu_count())]
    try:
        for name, side in round.in_turn([("ours-sockets", place.ours), ("pmdk-sockets", pmdk)]):
            bulk(round, figures, name, side, "sockets", "read")
    finally:
        for spinner in spinners:
            place.end(spinner)
    return figures


def opening(round):
    place, figures = round.place, {}
    sides = [("ours", place.ours, "tcp")]
    if place.pmdk:
        sides.append(("pmdk-sockets", place.need_pmdk(), "sockets"))
    for name, side, provider in round.in_turn(sides):
        figures[f"{name}.time"] = place.session(side, side, provider, "open", pool=16)["open"]
    figures["floor.time"] = place.measure("load", dict(library="libfabric.so.1"))["p50"]
    return figures


def soft_roce(round):
    """The case rdma-latency of the virtual machines, whose first run has the default settings."""
    require(os.geteuid() == 0, "virtual machines need root")
    ending = subprocess.run(["make", "-C", TREE, "test-vm", "CASE=rdma-latency"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3600)
    log = os.path.join(TREE, ".build/vm/logs/rdma-latency.log")
    if ending.returncode != 0 or not os.path.exists(log):
        raise Failed(f"make test-vm CASE=rdma-latency: status {ending.returncode}: {ending.stdout[-1000:]}")
    figures = {}
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            row = re.match(r"persist (relaxed|inline)\s+64\s+1\s+([\d.]+)\s.*\s([\d.]+)\s+[\d.]+\s*$", line)
            if row and f"{row[1]}.p50" not in figures:
                figures[f"{row[1]}.p50"], figures[f"{row[1]}-floor.p50"] = float(row[2]) * 1000, float(row[3]) * 1000
    if not figures:
        raise Failed(f"{log} has no figures")
    return figures


# In the order of the report: name, what it is, function, whether it runs without being named.
ROWS = [
    ("tcp-persist", "64 B relaxed persists over tcp, part in memory; and with both poll times 0", tcp_persist, True),
    ("tcp-read", "64 B reads over tcp", tcp_read, True),
    ("sockets-pair", "64 B relaxed persists over sockets: our pair, PMDK's pair", sockets_pair, True),
    ("sockets-target", "PMDK's librpmem over sockets, 16 lanes: our daemon, PMDK's daemon", sockets_target, True),
    ("file-bulk", "64 B relaxed persists to a file that was written in bulk", file_bulk, True),
    ("atomic-200mb", "one atomic persist of 200 MB, part in memory", atomic_200mb, True),
    ("read-200mb", "one rpmem_read of 200 MB", read_200mb, True),
    ("read-200mb-loaded", "the same, with ten spinning processes a processor", read_200mb_loaded, True),
    ("open", "CREATE of a pool on loopback, from loading the library to connected lanes", opening, True),
    ("soft-roce", "64 B persists over soft-RoCE in a virtual machine", soft_roce, False),
]
if sys.version_info < (3, 9):
    sys.exit("Tests/Bench/run needs Python 3.9 or later")
