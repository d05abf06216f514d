# `make demo` and `make test` do everything on a fresh Debian 12 with the Swift toolchain, apt packages included.
.PHONY: all deps test-deps demo demo-programs library test test-vm test-vm-long vm-programs test-storage check unit sanitize release hot-path fuzz test-every-call docs lint format examples install install-library clean

SWIFT ?= swift
SANITIZER ?= thread address
DESTDIR ?=
PREFIX ?= /usr
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
SYSCONFDIR ?= /etc
BUILD := .build/release
# Release binaries carry the Swift runtime, so that sshd's bare environment can run them.
RELEASE_FLAGS := -c release --static-swift-stdlib

BUILD_PACKAGES := libfabric-dev libibverbs-dev libpmem-dev libpmem2-dev libndctl-dev libdaxctl-dev libsystemd-dev
RUN_PACKAGES := openssh-server openssh-client xxd gcc make
TEST_PACKAGES := man-db e2fsprogs xfsprogs mount util-linux groff iproute2 binutils gcc g++ make pkg-config libpmemobj-dev pmdk-tools
VM_PROGRAMS := vm-initiator driven-initiator power-loss-initiator rpmem-hello rpmem-fibonacci
comma := ,
UNIT_SUITES := ^(SystemSupport|RpmemProtocol|Fabric|PersistentMemory|PoolSets|RpmemTarget|RpmemInitiator|Fuzzing)Tests\.|\.ReplayTests$$
VM_PACKAGES := qemu-system-x86 mmdebstrap busybox-static cpio kmod e2fsprogs util-linux xz-utils

all: release

deps:
	@config/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

test-deps: deps
	@config/install-packages $(TEST_PACKAGES)

release: demo-programs library
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemctl
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem-fibonacci

# Only the programs that the demo runs: a newcomer waits for this build.
demo-programs: deps
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemd
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem-hello

library: deps
	$(SWIFT) build $(RELEASE_FLAGS) --disable-local-rpath --product rpmem

# The examples in C, against the library in the build directory.
examples: library
	ln -sf librpmem.so $(BUILD)/librpmem.so.1
	$(MAKE) -C examples/c OUT=$(CURDIR)/$(BUILD)/examples LIBRPMEM_CFLAGS=-I$(CURDIR)/Sources/librpmem/include \
	    LIBRPMEM_LIBS="-L$(CURDIR)/$(BUILD) -lrpmem"

demo: demo-programs examples
	@demo/run $(CURDIR)/$(BUILD)

# The tests run the release daemon, because that is the one that gets installed. Most of them wait, so several suites run
# at a time, and the virtual machines beside them. The last line counts all tests. LONG=1 draws more random numbers.
test: test-deps examples hot-path vm-programs
	$(SWIFT) build --build-tests
	RPMEMD_BINARY=$(CURDIR)/$(BUILD)/rpmemd RPMEM_LIBRARY=$(CURDIR)/$(BUILD)/librpmem.so \
	    $(if $(LONG),RPMEM_LONG_TESTS=1) Tests/run --guests "$(VM_TESTS) --boots 2"

# The daemon on real kernel drivers, in virtual machines: all cases of Tests/VM, or with CASE=TEXT those with TEXT in
# their name. They run the installed release. LOSSES is the number of power losses in the case power-loss.
VM := $(CURDIR)/.build/vm
LOSSES ?= $(if $(LONG),20,6)
VM_TESTS = .build/debug/vm-tests $(if $(CASE),--filter '$(CASE)') $(if $(SEED),--seed $(SEED)) --losses $(LOSSES) \
    --tree $(VM)/tree --workplace $(VM) $(addprefix $(BUILD)/,$(VM_PROGRAMS))
test-vm: vm-programs
	$(VM_TESTS)

# The same with as many power losses as once showed what a few did not.
test-vm-long:
	$(MAKE) test-vm LOSSES=20

vm-programs: release
	@config/install-packages $(VM_PACKAGES)
	rm -rf $(VM)/tree
	mkdir -p $(VM)
	$(MAKE) --no-print-directory install DESTDIR=$(VM)/tree PREFIX=/usr >$(VM)/install.log
	$(SWIFT) build $(RELEASE_FLAGS) --product vm-initiator
	$(SWIFT) build $(RELEASE_FLAGS) --product driven-initiator
	$(SWIFT) build $(RELEASE_FLAGS) --product power-loss-initiator
	$(SWIFT) build --product vm-tests

# What shows most mistakes within minutes: the form, a build, and all tests but those that start ssh, C programs and many
# daemons.
check: lint unit

# The cases of storage that fails, each ROUNDS times. CASES limits those of StorageFailureTests, FILTER the suites.
ROUNDS ?= 100
test-storage: test-deps
	STORAGE_ROUNDS=$(ROUNDS) STORAGE_CASES=$(CASES) $(SWIFT) test --disable-xctest --no-parallel \
	    --filter '$(or $(FILTER),Storage(Failure|Hang|Control)Tests|CreateOnFailingDiskTests|SyncAliasTests)'

# Fuzzes what takes bytes of others, each target for SECONDS. KEEP=1 adds inputs that reach new code to the corpus.
SECONDS ?= 60
fuzz: deps
	Tests/Fuzzing/run --seconds $(SECONDS) $(if $(KEEP),--keep) $(TARGETS)

# Each call to libfabric, libpmem and the system fails once, in a session of its own. FILTER limits it to functions with
# this in their name.
test-every-call: test-deps
	$(SWIFT) build --build-tests
	RPMEM_EVERY_CALL=$(or $(PROVIDERS),tcp$(comma)sockets) $(if $(FILTER),RPMEM_EVERY_CALL_FILTER=$(FILTER)) \
	    $(SWIFT) test --disable-xctest --skip-build --no-parallel --filter EveryCallTests

unit: deps
	$(SWIFT) build --build-tests
	Tests/run --only '$(UNIT_SUITES)'

# All tests, with sanitizers in the tests and in what they start. Too slow for each change.
sanitize: test-deps
	@for sanitizer in $(SANITIZER); do SWIFT=$(SWIFT) Tests/Sanitizers/run $$sanitizer || exit 1; done

# The compiled path of a persist request calls nothing that allocates, locks, logs or counts references.
hot-path: release
	Tests/HotPath/check $(BUILD)/rpmemd $(BUILD)/librpmem.so

# The documentation of the Swift library, as a web site: any warning of DocC fails. It has a build directory of its own,
# because the plug-in is no dependency of other builds.
docs: deps
	RPMEM_DOCUMENTATION=1 $(SWIFT) package --scratch-path .build-docs generate-documentation --warnings-as-errors \
	    --enable-experimental-combined-documentation --target RpmemProtocol --target RpmemInitiator

# Format; then names of files and sections that do not exist, long files, type names that modules share.
lint:
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests examples
	@command -v python3 >/dev/null || config/install-packages python3
	Tests/Lint/test
	Tests/Lint/check

format:
	$(SWIFT) format format --in-place --parallel --recursive Package.swift Sources Tests examples

install: release install-library
	install -D -s -m 0755 $(BUILD)/rpmemd $(DESTDIR)$(PREFIX)/bin/rpmemd
	install -D -s -m 0755 $(BUILD)/rpmemctl $(DESTDIR)$(PREFIX)/bin/rpmemctl
	install -D -m 0644 config/rpmemd.conf $(DESTDIR)$(SYSCONFDIR)/rpmemd/rpmemd.conf
	install -D -m 0644 man/rpmemd.1 $(DESTDIR)$(PREFIX)/share/man/man1/rpmemd.1
	install -D -m 0644 man/rpmemctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/rpmemctl.1
	install -D -m 0644 man/rpmemd.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/rpmemd.conf.5
	install -D -m 0644 systemd/rpmemd.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/rpmemd.socket
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,/usr/bin/rpmemd,$(PREFIX)/bin/rpmemd,' systemd/rpmemd@.service \
	    >$(DESTDIR)$(PREFIX)/lib/systemd/system/rpmemd@.service
	install -D -m 0644 systemd/rpmem.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/rpmem.conf
	install -D -m 0644 systemd/60-rpmem.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/60-rpmem.rules

# The library, as built before, with what C programs need to use it.
install-library:
	install -D -s -m 0644 $(BUILD)/librpmem.so $(DESTDIR)$(LIBDIR)/librpmem.so.1
	ln -sf librpmem.so.1 $(DESTDIR)$(LIBDIR)/librpmem.so
	install -D -m 0644 Sources/librpmem/include/librpmem.h $(DESTDIR)$(INCLUDEDIR)/librpmem.h
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	sed 's,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(INCLUDEDIR),' Sources/librpmem/librpmem.pc.in \
	    >$(DESTDIR)$(LIBDIR)/pkgconfig/librpmem.pc
	install -D -m 0644 man/librpmem.7 $(DESTDIR)$(PREFIX)/share/man/man7/librpmem.7
	install -D -m 0644 man/rpmem_create.3 $(DESTDIR)$(PREFIX)/share/man/man3/rpmem_create.3
	install -D -m 0644 man/rpmem_persist.3 $(DESTDIR)$(PREFIX)/share/man/man3/rpmem_persist.3
	cd $(DESTDIR)$(PREFIX)/share/man/man3 && \
	    for name in open set_attr close remove; do echo '.so man3/rpmem_create.3' >rpmem_$$name.3; done && \
	    for name in deep_persist flush drain read; do echo '.so man3/rpmem_persist.3' >rpmem_$$name.3; done && \
	    for name in check_version errormsg; do echo '.so man7/librpmem.7' >rpmem_$$name.3; done

clean:
	rm -rf .build .build-tsan .build-asan .build-docs .build-fuzz
