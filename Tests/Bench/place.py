"""The workplace of a bench: directories, the stand-in for ssh, daemons' settings, a disk, and the programs that measure."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
# The environment variable that names PMDK's binaries: a directory with bin/rpmemd and lib/librpmem.so.1.
PMDK_VARIABLE = "RPMEM_BENCH_PMDK"


class Skipped(Exception):
    """A prerequisite is missing; the text says which."""


class Failed(Exception):
    """A program failed; the text says which, and what it printed."""


def require(condition, reason):
    if not condition:
        raise Skipped(reason)


class Side:
    """One end of a pair: this project's or PMDK's."""

    def __init__(self, name, library, daemon, library_path=None):
        self.name, self.library, self.daemon, self.library_path = name, library, daemon, library_path


class Place:
    """Everything that a bench makes on this machine. `close` removes it."""

    def __init__(self, build, disk_directory):
        self.build = build
        self.disk_directory = disk_directory
        self.children = []
        self.disk_device = None
        self.mounted = None
        self.image = None
        prefix = f"rpmem-bench-{os.getpid()}-"
        self.directory = tempfile.mkdtemp(prefix=prefix)
        shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else self.directory
        self.parts = tempfile.mkdtemp(prefix=prefix, dir=shared_memory)
        self.forced = os.environ.get("PMEM_IS_PMEM_FORCE") == "1"
        os.mkdir(self.file("pids"))
        os.mkdir(self.file("sets"))
        self.ours = Side("ours", f"{build}/librpmem.so", f"{build}/rpmemd")
        pmdk = os.environ.get(PMDK_VARIABLE)
        self.pmdk = pmdk and Side("pmdk", f"{pmdk}/lib/librpmem.so.1", f"{pmdk}/bin/rpmemd", f"{pmdk}/lib")
        self.measure_program = self.file("measure")
        self._write_ssh()
        self.run(["cc", "-std=c11", "-O2", f"-I{TREE}/Sources/librpmem/include", "-o", self.measure_program,
                  f"{HERE}/measure.c", "-ldl", "-lpthread"], limit=120)

    def file(self, name):
        return os.path.join(self.directory, name)

    def need_pmdk(self):
        require(self.pmdk, f"{PMDK_VARIABLE} names no PMDK")
        for path in (self.pmdk.library, self.pmdk.daemon):
            require(os.access(path, os.R_OK), f"{PMDK_VARIABLE}: there is no {path}")
        return self.pmdk

    def _write_ssh(self):
        """A script in ssh's place. It notes its process, which becomes the daemon, and runs the command here."""
        forced = "PMEM_IS_PMEM_FORCE=1" if self.forced else ""
        with open(self.file("ssh"), "w") as script:
            script.write(
                "#!/bin/sh\n"
                f": >{self.file('pids')}/$$\n"
                "while [ $# -gt 1 ]; do shift; done\n"
                f"exec env -i PATH=/usr/bin:/bin HOME={self.directory} {forced} "
                'SSH_CONNECTION="127.0.0.1 1111 127.0.0.1 22" /bin/sh -c "exec $1"\n')
        os.chmod(self.file("ssh"), 0o755)

    # Sessions

    def daemon_command(self, side, settings=()):
        """The command that ssh runs for the daemon of a side."""
        path = self.file("conf-" + side.name + "".join(f"-{value}" for _, value in settings))
        with open(path, "w") as file:
            file.write(f"poolset-dir = {self.file('sets')}\nlog-file = {self.file('log')}\n")
            if self.forced and side is self.ours:
                file.write("environment = PMEM_IS_PMEM_FORCE=1\n")
            file.writelines(f"{key} = {value}\n" for key, value in settings)
        loading = ["env", f"LD_LIBRARY_PATH={side.library_path}"] if side.library_path else []
        return shlex.join(loading + [side.daemon, "--config", path])

    def environment(self, provider, target, library=None, poll=None):
        """That of an initiator. target: the daemon's command."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.directory, "RPMEM_SSH": self.file("ssh"),
                       "RPMEM_CMD": target, "RPMEM_ENABLE_VERBS": "0",
                       "RPMEM_ENABLE_SOCKETS": "1" if provider == "sockets" else "0",
                       "RPMEM_ENABLE_TCP": "1" if provider == "tcp" else "0",
                       "RPMEMCTL_CMD": f"{self.build}/rpmemctl"}
        if poll is not None:
            environment["RPMEM_POLL_TIME"] = str(poll)
        if library and library.library_path:
            environment["LD_LIBRARY_PATH"] = library.library_path
        return environment

    def pool_set(self, mebibytes, directory=None, name="a.set"):
        """A pool set of one part that does not exist yet; returns the part's path."""
        part = os.path.join(directory or self.parts, name + ".part")
        if os.path.exists(part):
            os.unlink(part)
        with open(self.file("sets/" + name), "w") as file:
            file.write(f"PMEMPOOLSET\n{mebibytes}M {part}\n")
        return part

    def session(self, initiator, target, provider, operation, size=64, lanes=1, count=1000000, seconds=2, pool=64,
                directory=None, written_in_bulk=False, stat=None):
        """Runs the operation on a new pool, and returns the figures of Tests/Bench/measure.c. Times are nanoseconds."""
        part = self.pool_set(pool + 4, directory)
        if written_in_bulk:
            write_in_bulk(part, (pool + 4) << 20)
        arguments = dict(library=initiator.library, target="127.0.0.1", set="a.set", pool=pool, operation=operation,
                         size=size, lanes=lanes, count=min(count, 300000 * int(seconds) // lanes + 1),
                         seconds=int(seconds))
        if stat:
            arguments["stat"] = stat
        try:
            figures = self.measure("session", arguments, seconds * 20 + 120,
                                   self.environment(provider, self.daemon_command(target), initiator))
        finally:
            self.await_daemons()
            if os.path.exists(part):
                os.unlink(part)
        figures["rate"] = figures["operations"] * 1e9 / max(1, figures["elapsed"])
        return figures

    def measure(self, command, arguments, limit=120, environment=None):
        words = [f"{key}={value}" for key, value in arguments.items()]
        return json.loads(self.run([self.measure_program, command] + words, limit, environment))

    def rpmemctl_bench(self, provider, operation, lanes, seconds, poll=None):
        """`rpmemctl bench` of 64 bytes with one lane after the other; returns its figures by the number of lanes."""
        part = self.pool_set(72)
        settings = () if poll is None else (("poll-time", poll),)
        command = [f"{self.build}/rpmemctl", "bench", "127.0.0.1", "a.set", "--provider", provider, "--operations", operation,
                   "--modes", "relaxed", "--sizes", "64", "--lanes", ",".join(map(str, lanes)), "--count", "10000000",
                   "--seconds", str(int(seconds)), "--json"]
        try:
            text = self.run(command, len(lanes) * seconds * 20 + 120,
                            self.environment(provider, self.daemon_command(self.ours, settings), poll=poll))
        finally:
            self.await_daemons()
            if os.path.exists(part):
                os.unlink(part)
        return {figure["lanes"]: figure for figure in json.loads(text)["figures"]}

    # Processes

    def run(self, command, limit, environment=None):
        """Runs a program and returns what it prints. limit: seconds."""
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=environment, text=True)
        self.children.append(child)
        try:
            output, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{shlex.join(command)}: not over after {limit} s") from None
        finally:
            self.end(child)
        if child.returncode != 0:
            raise Failed(f"{shlex.join(command)}: status {child.returncode}: {errors.strip()[-2000:]}")
        return output

    def start(self, command, environment=None):
        """Starts a program with a pipe to and from it. `close` ends it."""
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=environment, text=True)
        self.children.append(child)
        return child

    def end(self, child):
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child in self.children:
            self.children.remove(child)

    def daemons(self):
        """The processes that the stand-in for ssh became and that still run."""
        running = []
        for name in os.listdir(self.file("pids")):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if f"HOME={self.directory}".encode() in file.read().split(b"\0"):
                        running.append(int(name))
            except OSError:
                pass
        return running

    def await_daemons(self, seconds=20):
        """Waits until no daemon runs, and ends those that still do after `seconds`."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.daemons():
            time.sleep(0.005)
        for process in self.daemons():
            os.kill(process, signal.SIGKILL)
        for name in os.listdir(self.file("pids")):
            os.unlink(self.file("pids/" + name))

    # The disk

    def disk(self, file_system="ext4"):
        """A mounted file system on a loop device; returns its directory, and the device's stat file in /sys."""
        if not self.mounted:
            require(os.geteuid() == 0, "a file system on a loop device needs root")
            maker = shutil.which("mkfs." + file_system)
            require(maker, f"there is no mkfs.{file_system}")
            os.makedirs(self.disk_directory, exist_ok=True)
            self.image = tempfile.mktemp(prefix="disk-", dir=self.disk_directory)
            with open(self.image, "wb") as file:
                file.truncate(1 << 30)
            self.run([maker, "-q", self.image], 120)
            try:
                self.disk_device = self.run(
                    ["losetup", "--find", "--show", "--direct-io=on", self.image], 60).strip()
                os.mkdir(self.file("mnt"))
                self.run(["mount", self.disk_device, self.file("mnt")], 60)
            except Failed as error:
                raise Skipped(f"no {file_system} on a loop device: {error}") from None
            self.mounted = self.file("mnt")
        return self.mounted, f"/sys/block/{os.path.basename(self.disk_device)}/stat"

    def close(self):
        """Ends what runs, and removes all that was made. A second call does nothing."""
        for child in list(self.children):
            self.end(child)
        if not os.path.isdir(self.directory):
            return
        self.await_daemons(10)
        if self.mounted:
            subprocess.run(["umount", self.mounted], check=False)
        if self.disk_device:
            subprocess.run(["losetup", "--detach", self.disk_device], check=False)
            self.disk_device = None
        if self.image and os.path.exists(self.image):
            os.unlink(self.image)
        shutil.rmtree(self.parts, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


def write_in_bulk(path, size):
    """Writes a file in pieces of 1 MiB, as copying does. The kernel keeps it in large folios."""
    with open(path, "wb", buffering=0) as file:
        piece = bytes(1 << 20)
        for _ in range(size >> 20):
            file.write(piece)
        os.fsync(file.fileno())
