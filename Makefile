# mydocker: `make` builds ./mydocker, one static binary; `make help` lists the rest.

# TARGET=x86_64-unknown-linux-musl builds for another target, where its standard library is installed.
TARGET ?=
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
CARGO_TARGET_DIR ?= target
# What `make initramfs` puts into it: references, archives; an image of this machine's busybox.
IMAGES ?= --busybox-image
KERNEL = /var/cache/mydocker-guest
# What is only for the release binary: the tests need unwind tables, to go on after a failed assertion; and LLVM's
# outliner makes one function of instructions that occur again and again, 2 percent of the file.
LINK = -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,scripts/link.ld \
    -C llvm-args=-enable-machine-outliner=always
BUILT = $(CARGO_TARGET_DIR)/$(if $(TARGET),$(TARGET)/)release/mydocker

.PHONY: all build demo test bench fuzz lint lessons tour trace initramfs install clean help

# What `make trace` runs.
ARGS ?=

all: build

# Cargo knows what has changed.
build:
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR) cargo rustc --release --locked $(if $(TARGET),--target $(TARGET)) -- $(LINK)
	install -m 755 $(BUILT) mydocker

demo: build
	scripts/demo.sh

test: build
	scripts/test.sh

bench: build
	scripts/bench.sh

lessons: build
	scripts/lessons/run.sh

tour: build
	scripts/tour.sh

trace: build
	@scripts/trace.sh $(ARGS)

initramfs: build
	scripts/setup.sh initramfs guest
	scripts/initramfs.sh --modules $(KERNEL) $(IMAGES) -o $(CARGO_TARGET_DIR)/initramfs.cpio.gz
	@echo 'Try it (Ctrl-A X ends QEMU):'
	@echo '  qemu-system-x86_64 -accel tcg -cpu max -m 256 -nographic -no-reboot -nic user,model=virtio-net-pci \'
	@echo '    -kernel $(KERNEL)/vmlinuz -initrd $(CARGO_TARGET_DIR)/initramfs.cpio.gz \'
	@echo "    -append 'console=ttyS0 quiet panic=-1 rdinit=/mydocker mydocker.ip=dhcp mydocker=\"run -it busybox sh\"'"

fuzz:
	scripts/fuzz.sh $(FUZZ_SECONDS)

lint:
	scripts/lint.sh

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 mydocker $(DESTDIR)$(PREFIX)/bin/mydocker

clean:
	cargo clean
	cargo clean --manifest-path scripts/fuzz/Cargo.toml
	rm -rf scripts/fuzz/corpus
	rm -f mydocker

help:
	@echo 'make            build ./mydocker, a static binary'
	@echo 'make demo       a busybox image from a registry on 127.0.0.1, containers of it; DNS'
	@echo 'make test       install what the tests need, and run them all (root)'
	@echo 'make lessons    eight exercises: a question, the trace to look at, a check of the answer (root)'
	@echo 'make trace      a run under strace, explained line by line (ARGS="run busybox true")'
	@echo 'make tour       writes the generated sections of README.md from what happens'
	@echo 'make bench      the same work beside bwrap, crun, podman, unbound, dnsdist, ... (root)'
	@echo 'make initramfs  a machine in one file, with the engine as pid 1 (IMAGES="alpine my.tar")'
	@echo 'make fuzz       a minute of coverage-guided fuzzing for each of twelve targets (FUZZ_SECONDS=60)'
	@echo 'make lint       rustfmt, clippy, shellcheck'
	@echo 'make install    to $$(DESTDIR)$$(PREFIX)/bin (PREFIX=/usr/local)'
	@echo 'make clean      remove what was built'
	@echo 'TARGET=...      build for another target, such as x86_64-unknown-linux-musl'
