# `make demo` and `make test` do everything on a fresh Debian 12 with the Swift toolchain, apt packages included.
.PHONY: all deps test-deps demo demo-programs library test test-vm test-vm-long vm-programs test-storage test-power-loss test-forgetting campaign mutants fuzz test-every-call check unit sanitize release hot-path bench docs lint format examples deb install install-library uninstall clean

SWIFT ?= swift
SANITIZER ?= thread address
DESTDIR ?=
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
UNITDIR ?= $(PREFIX)/lib/systemd/system
UDEVDIR ?= $(PREFIX)/lib/udev/rules.d
# The program that strips what is installed; empty: none.
STRIP ?= strip
BUILD := .build/release
# Release binaries carry the Swift runtime, so that machines without the toolchain run them, and look for libraries in no
# path of their own.
RELEASE_FLAGS := -c release --static-swift-stdlib --disable-local-rpath

BUILD_PACKAGES := libfabric-dev libibverbs-dev libpmem-dev libpmem2-dev libndctl-dev libdaxctl-dev libsystemd-dev
RUN_PACKAGES := openssh-server openssh-client xxd gcc make
TEST_PACKAGES := python3 man-db e2fsprogs xfsprogs mount util-linux groff iproute2 binutils gcc g++ make pkg-config libpmemobj-dev pmdk-tools lintian mmdebstrap netcat-openbsd linux-libc-dev-arm64-cross
DEB_PACKAGES := debhelper dpkg-dev
PROMTOOL := .build/promtool/promtool
VM_PROGRAMS := vm-initiator driven-initiator power-loss-initiator rpmem-hello rpmem-fibonacci
comma := ,
UNIT_SUITES := ^(SystemSupport|RpmemProtocol|Fabric|DoctorChecks|PersistentMemory|PoolSets|RpmemTarget|RpmemInitiator|Fuzzing)Tests\.|\.ReplayTests$$
VM_PACKAGES := qemu-system-x86 mmdebstrap busybox-static cpio kmod e2fsprogs util-linux xz-utils

# What `make install` installs, and where.
PROGRAMS := rpmemd rpmemctl rpmem-hello
MANDIR = $(PREFIX)/share/man
BASHDIR = $(PREFIX)/share/bash-completion/completions
ZSHDIR = $(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)
FISHDIR = $(PREFIX)/share/fish/vendor_completions.d
CREATE_PAGES := open set_attr close remove
PERSIST_PAGES := deep_persist flush drain read
LIBRARY_PAGES := check_version errormsg
STRIPPED = $(if $(STRIP),-s --strip-program=$(STRIP))
# What `make` has not built yet ends the installation.
needs = @for built in $(1); do [ -e $(BUILD)/$$built ] || \
    { echo "$(BUILD)/$$built is missing: build it first, as yourself: make" >&2; exit 1; }; done
INSTALLED_FILES = $(addprefix $(PREFIX)/bin/,$(PROGRAMS)) $(addprefix $(LIBDIR)/,librpmem.so.1 librpmem.so pkgconfig/librpmem.pc) \
    $(INCLUDEDIR)/librpmem.h $(addprefix $(BASHDIR)/,$(PROGRAMS)) $(addprefix $(ZSHDIR)/_,$(PROGRAMS)) \
    $(PROGRAMS:%=$(FISHDIR)/%.fish) $(addprefix $(UNITDIR)/,rpmemd.socket rpmemd@.service) $(UDEVDIR)/60-rpmem.rules \
    $(PREFIX)/lib/sysusers.d/rpmem.conf $(PREFIX)/lib/tmpfiles.d/rpmem.conf \
    $(foreach section,1 3 5 7,$(patsubst man/%,$(MANDIR)/man$(section)/%,$(wildcard man/*.$(section)))) \
    $(patsubst %,$(MANDIR)/man3/rpmem_%.3,$(CREATE_PAGES) $(PERSIST_PAGES) $(LIBRARY_PAGES))

all: release

deps:
	@config/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

test-deps: deps $(PROMTOOL)
	@config/install-packages $(TEST_PACKAGES)

# The tests of alert rules and metrics run it, and are skipped without it.
$(PROMTOOL):
	-@config/fetch-promtool $(@D)

release: demo-programs library
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemctl
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem-fibonacci

# Only the programs that the demo runs: a newcomer waits for this build.
demo-programs: deps
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemd
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem-hello

library: deps
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem

# The examples in C, against the library in the build directory.
examples: library
	ln -sf librpmem.so $(BUILD)/librpmem.so.1
	$(MAKE) -C examples/c OUT=$(CURDIR)/$(BUILD)/examples LIBRPMEM_CFLAGS=-I$(CURDIR)/Sources/librpmem/include \
	    LIBRPMEM_LIBS="-L$(CURDIR)/$(BUILD) -lrpmem"

demo: demo-programs examples
	@demo/run $(CURDIR)/$(BUILD)

# The tests run the release daemon, because that is the one that gets installed. Most of them wait, so several suites run
# at a time, and the virtual machines beside them. The last line counts all tests. LONG=1 draws more random numbers and
# cuts the power more often. The packages under test have no debugging symbols, which take as long as all the rest.
test: export DEB_BUILD_OPTIONS += noautodbgsym
test: test-deps examples hot-path deb vm-programs
	$(SWIFT) build --build-tests
	RPMEMD_BINARY=$(CURDIR)/$(BUILD)/rpmemd RPMEM_LIBRARY=$(CURDIR)/$(BUILD)/librpmem.so \
	    $(if $(LONG),RPMEM_LONG_TESTS=1) Tests/run --guests "$(VM_TESTS) --boots 2"

# The daemon on real kernel drivers, in virtual machines: all cases of Tests/VM, or with CASE=TEXT those with TEXT in
# their name. They run the installed release. LOSSES is the number of power losses in the case power-loss, and from
# 20 on in power-loss-resume as well.
VM := $(CURDIR)/.build/vm
LOSSES ?= $(if $(LONG),20,6)
VM_TESTS = .build/debug/vm-tests $(if $(CASE),--filter '$(CASE)') $(if $(SEED),--seed $(SEED)) --losses $(LOSSES) \
    --tree $(VM)/tree --workplace $(VM) $(addprefix $(BUILD)/,$(VM_PROGRAMS)) $(DEB)/rpmemd_*.deb
test-vm: vm-programs
	$(VM_TESTS)

# The same with more losses of power: some errors showed only after many.
test-vm-long:
	$(MAKE) test-vm LOSSES=20

vm-programs: export DEB_BUILD_OPTIONS += noautodbgsym
vm-programs: release deb
	@config/install-packages $(VM_PACKAGES)
	rm -rf $(VM)/tree
	mkdir -p $(VM)
	$(MAKE) --no-print-directory install DESTDIR=$(VM)/tree PREFIX=/usr >$(VM)/install.log
	$(SWIFT) build $(RELEASE_FLAGS) --product vm-initiator
	$(SWIFT) build $(RELEASE_FLAGS) --product driven-initiator
	$(SWIFT) build $(RELEASE_FLAGS) --product power-loss-initiator
	$(SWIFT) build --product vm-tests

# Shows most mistakes within minutes: format, a build, the tests of the modules but rpmemctl, the fuzz corpus, and the
# captured sessions against a daemon.
check: lint unit

# The same without lint.
unit: deps
	$(SWIFT) build --build-tests
	Tests/run --only '$(UNIT_SUITES)'

# The cases of storage that fails, each ROUNDS times. CASES limits those of StorageFailureTests, FILTER the suites.
ROUNDS ?= 100
test-storage: test-deps
	STORAGE_ROUNDS=$(ROUNDS) STORAGE_CASES=$(CASES) $(SWIFT) test --disable-xctest --no-parallel \
	    --filter '$(or $(FILTER),Storage(Failure|HangAnswer|Control)Tests|CreateOnFailingDiskTests|SyncAliasTests)'

# Power loss at every write of more runs: all file systems and providers, several seeds, more lost writes.
test-power-loss: test-deps
	RPMEM_POWER_LOSS_LONG=1 $(SWIFT) test --disable-xctest --no-parallel --filter PowerLossTests

# The daemon on memory that forgets what was not flushed and drained: killed at every event of a session, of CREATE and of
# OPEN, and ROUNDS times at random moments.
test-forgetting: test-deps
	FORGETTING_ROUNDS=$(ROUNDS) $(SWIFT) test --disable-xctest --no-parallel --filter 'Forgetting(|Device|Kill|Failure)Tests'

# Long outages: daemons killed 200 times, sshd restarted 20 times, a link cut 20 times for up to 20 s, and losses at more moments,
# below libpmemobj's transactions and below writers. FILTER limits the tests. `make test` has a few rounds of each.
campaign: test-deps
	$(SWIFT) build --build-tests
	RPMEM_LONG_TESTS=1 $(SWIFT) test --disable-xctest --skip-build --no-parallel \
	    --filter '$(or $(FILTER),ResumeTests|ResumeLossTests|OutageTests|/outlives)'

# Breaks the source on purpose, in a copy, and expects the tests to find it. ONLY limits it to mutations with this text in
# their name.
mutants: test-deps
	SWIFT=$(SWIFT) Tests/Mutants/run $(if $(ONLY),--only '$(ONLY)')

# Fuzzes what takes bytes of others, each target for SECONDS. KEEP=1 adds inputs that reach new code to the corpus, PLAIN=1
# leaves AddressSanitizer out.
SECONDS ?= 60
fuzz: deps
	SWIFT=$(SWIFT) Tests/Fuzzing/run --seconds $(SECONDS) $(if $(KEEP),--keep) $(if $(PLAIN),--plain) $(TARGETS)

# Each call to libfabric, libpmem and the system fails once, in a session of its own. FILTER limits it to functions with
# this in their name, PROGRAM to the calls of rpmemd or of every-call-initiator.
test-every-call: test-deps
	$(SWIFT) build --build-tests
	RPMEM_EVERY_CALL=$(or $(PROVIDERS),tcp$(comma)sockets) $(if $(FILTER),RPMEM_EVERY_CALL_FILTER=$(FILTER)) \
	    $(if $(PROGRAM),RPMEM_EVERY_CALL_PROGRAM=$(PROGRAM)) \
	    $(SWIFT) test --disable-xctest --skip-build --no-parallel --filter EveryCallTests

# All tests, with sanitizers in the tests and in what they start. Too slow for each change.
sanitize: test-deps
	@for sanitizer in $(SANITIZER); do SWIFT=$(SWIFT) Tests/Sanitizers/run $$sanitizer || exit 1; done

# The compiled path of a persist request calls nothing that allocates, locks, logs or counts references.
hot-path: release
	Tests/HotPath/check $(BUILD)/rpmemd $(BUILD)/librpmem.so

# How fast the release is, beside floors of the same run and beside PMDK's, which RPMEM_BENCH_PMDK names: docs/bench.md. ROWS
# limits the rows; BENCH has more options.
bench: release
	@command -v python3 >/dev/null || config/install-packages python3
	@Tests/Bench/run $(if $(ROWS),--rows '$(ROWS)') $(BENCH)

# The documentation of the Swift library, as a web site: any warning of DocC fails. It has a build directory of its own,
# because the plug-in is no dependency of other builds.
docs: deps
	RPMEM_DOCUMENTATION=1 $(SWIFT) package --scratch-path .build-docs generate-documentation --warnings-as-errors \
	    --enable-experimental-combined-documentation --target RpmemProtocol --target RpmemInitiator

# Format; then names of files and sections that do not exist, long files, type names that modules share, hasty pipes.
lint:
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests examples
	@command -v python3 >/dev/null || config/install-packages python3
	Tests/Lint/test
	Tests/Lint/check

format:
	$(SWIFT) format format --in-place --parallel --recursive Package.swift Sources Tests examples

# Debian packages of the release, in .build/deb. Nothing is fetched once the release is built.
DEB := $(CURDIR)/.build/deb
deb: release
	@config/install-packages $(DEB_PACKAGES)
	rm -rf $(DEB)
	mkdir -p $(DEB)
	RPMEMD_BUILT=1 DEB_DIRECTORY=$(DEB) dpkg-buildpackage -b -us -uc -tc --buildinfo-option=-u$(DEB) \
	    --buildinfo-file=$(DEB)/rpmemd.buildinfo --changes-option=-u$(DEB) --changes-file=$(DEB)/rpmemd.changes \
	    >$(DEB)/log 2>&1 || { tail -n 40 $(DEB)/log; exit 1; }
	@ls $(DEB)/*.deb

# Installs what `make` has built, and builds nothing: root needs no toolchain. dpkg knows nothing of these files, so on
# Debian take the packages instead.
install: install-library
	$(call needs,rpmemd rpmemctl rpmem-hello)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin share/man/man1 share/man/man5 lib/sysusers.d lib/tmpfiles.d) \
	    $(addprefix $(DESTDIR),$(BASHDIR) $(ZSHDIR) $(FISHDIR) $(UNITDIR) $(UDEVDIR))
	install $(STRIPPED) -m 0755 $(addprefix $(BUILD)/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	install -m 0644 man/*.1 $(DESTDIR)$(MANDIR)/man1
	install -m 0644 man/*.5 $(DESTDIR)$(MANDIR)/man5
	install -m 0644 config/completions/rpmemd.bash $(DESTDIR)$(BASHDIR)/rpmemd
	install -m 0644 config/completions/_rpmemd $(DESTDIR)$(ZSHDIR)
	install -m 0644 config/completions/rpmemd.fish $(DESTDIR)$(FISHDIR)
	set -e; for program in rpmemctl rpmem-hello; do \
	    $(BUILD)/$$program --generate-completion-script bash >$(DESTDIR)$(BASHDIR)/$$program; \
	    sed -i '1{/^#!/d}' $(DESTDIR)$(BASHDIR)/$$program; \
	    $(BUILD)/$$program --generate-completion-script zsh >$(DESTDIR)$(ZSHDIR)/_$$program; \
	    $(BUILD)/$$program --generate-completion-script fish >$(DESTDIR)$(FISHDIR)/$$program.fish; done
	install -m 0644 systemd/rpmemd.socket $(DESTDIR)$(UNITDIR)
	sed 's,/usr/bin/rpmemd,$(PREFIX)/bin/rpmemd,' systemd/rpmemd@.service >$(DESTDIR)$(UNITDIR)/rpmemd@.service
	install -m 0644 systemd/60-rpmem.rules $(DESTDIR)$(UDEVDIR)
	install -m 0644 systemd/rpmem.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d
	install -m 0644 systemd/rpmem-tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/rpmem.conf
	config/install-configuration config/logrotate $(DESTDIR)/etc/logrotate.d/rpmemd
	config/install-configuration config/rpmemd.conf $(DESTDIR)/etc/rpmemd/rpmemd.conf

# The library, as built before, with what C programs need to use it.
install-library:
	$(call needs,librpmem.so)
	install -d $(addprefix $(DESTDIR),$(LIBDIR)/pkgconfig $(INCLUDEDIR) $(MANDIR)/man3 $(MANDIR)/man7)
	install $(STRIPPED) -m 0644 $(BUILD)/librpmem.so $(DESTDIR)$(LIBDIR)/librpmem.so.1
	ln -sf librpmem.so.1 $(DESTDIR)$(LIBDIR)/librpmem.so
	install -m 0644 Sources/librpmem/include/librpmem.h $(DESTDIR)$(INCLUDEDIR)
	sed 's,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(INCLUDEDIR),' Sources/librpmem/librpmem.pc.in \
	    >$(DESTDIR)$(LIBDIR)/pkgconfig/librpmem.pc
	install -m 0644 man/*.3 $(DESTDIR)$(MANDIR)/man3
	install -m 0644 man/*.7 $(DESTDIR)$(MANDIR)/man7
	set -e; cd $(DESTDIR)$(MANDIR)/man3; \
	    for page in $(CREATE_PAGES); do echo '.so man3/rpmem_create.3' >rpmem_$$page.3; done; \
	    for page in $(PERSIST_PAGES); do echo '.so man3/rpmem_persist.3' >rpmem_$$page.3; done; \
	    for page in $(LIBRARY_PAGES); do echo '.so man7/librpmem.7' >rpmem_$$page.3; done
	@[ -n "$(DESTDIR)" ] || ldconfig 2>/dev/null || echo "Run ldconfig as root, so that programs find librpmem.so.1."

# Removes what `make install` installed, with the same variables. A configuration that was edited stays, and so do the
# user, the group and the pools.
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED_FILES))
	config/install-configuration --remove config/logrotate $(DESTDIR)/etc/logrotate.d/rpmemd
	config/install-configuration --remove config/rpmemd.conf $(DESTDIR)/etc/rpmemd/rpmemd.conf
	@[ ! -d $(DESTDIR)/etc/rpmemd ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)/etc/rpmemd
	@[ -n "$(DESTDIR)" ] || ldconfig || true

clean:
	rm -rf .build .build-tsan .build-asan .build-docs .build-fuzz
