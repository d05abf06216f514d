# `make demo` and `make test` do everything on a fresh Debian 12 with the Swift toolchain, apt packages included.
.PHONY: all deps test-deps demo test unit release hot-path lint format install clean

SWIFT ?= swift
DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
BUILD := .build/release
# Release binaries carry the Swift runtime, so that sshd's bare environment can run them.
RELEASE_FLAGS := -c release --static-swift-stdlib

BUILD_PACKAGES := libfabric-dev libpmem-dev libpmem2-dev libndctl-dev libdaxctl-dev libsystemd-dev
RUN_PACKAGES := openssh-server openssh-client xxd
TEST_PACKAGES := man-db groff iproute2 binutils

all: release

deps:
	@config/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

test-deps: deps
	@config/install-packages $(TEST_PACKAGES)

release: deps
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemd
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmem-hello
	$(SWIFT) build $(RELEASE_FLAGS) --product rpmemctl

demo: release
	@demo/run $(CURDIR)/$(BUILD)

# The tests drive the release daemon: it is what gets installed. One at a time: many of them start processes or wait in
# libfabric, and would only take the CPUs from each other.
test: test-deps release hot-path
	RPMEMD_BINARY=$(CURDIR)/$(BUILD)/rpmemd $(SWIFT) test --disable-xctest --no-parallel

unit: deps
	$(SWIFT) test --disable-xctest --skip EndToEndTests

# The compiled path of a persist request calls nothing that allocates, locks, logs or counts references.
hot-path: release
	Tests/HotPath/check $(BUILD)/rpmemd

lint:
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests

format:
	$(SWIFT) format format --in-place --parallel --recursive Package.swift Sources Tests

install: release
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

clean:
	rm -rf .build
