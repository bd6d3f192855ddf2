# RaftKV. `make help` lists the targets.
#
# Sources are found by wildcard: lib/*/*.c is libraftkv.a, a directory cmd/X with C files is the
# program X, each tests/unit/*.c and tests/tools/*.c a program of its own with tests/support/*.c.
#
# VARIANT says how to build, and where: release (into $(BUILD)), and below it san (address and
# undefined behaviour sanitizers: unit tests run here), asan, ubsan, tsan, cov. All but release
# define RAFTKV_TEST_VFS.

BUILD ?= build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
N ?= 10
SIM_TIME ?= 60s
BENCH_TIME ?= 10s

.DELETE_ON_ERROR:
.SUFFIXES:

goals_after_deps := $(filter-out deps,$(MAKECMDGOALS))
ifneq ($(and $(filter deps,$(MAKECMDGOALS)),$(goals_after_deps)),)
# `make deps test`: the rest is asked of a new make, since this one has read pkg-config too early.
.PHONY: deps $(goals_after_deps)
.NOTPARALLEL:
deps:
	@scripts/deps.sh
$(goals_after_deps): deps
	+@$(MAKE) --no-print-directory $@
else

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
Q := $(if $(V),,@)

# --- variants
SANITIZE ?=
ifeq ($(SANITIZE),address,undefined)
VARIANT ?= san
else ifeq ($(SANITIZE),address)
VARIANT ?= asan
else ifeq ($(SANITIZE),undefined)
VARIANT ?= ubsan
else ifeq ($(SANITIZE),thread)
VARIANT ?= tsan
endif
VARIANT ?= release

sanitize_san := address,undefined
sanitize_asan := address
sanitize_ubsan := undefined
sanitize_tsan := thread
sanitize_fuzz := address,undefined,fuzzer-no-link
sanitizer := $(sanitize_$(VARIANT))
OUT := $(if $(filter release,$(VARIANT)),$(BUILD),$(BUILD)/$(VARIANT))

# --- flags
modules := libcurl jansson libmicrohttpd libuv sqlite3 libbsd libxxhash nettle
WARNINGS := -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wformat=2 -Wno-format-zero-length -Wcast-qual
CFLAGS ?= -O2 -g
cflags_variant_release := -D_FORTIFY_SOURCE=2
cflags_variant_cov := -O0 --coverage -DRAFTKV_TEST_VFS
cflags_variant_sanitize := -O1 -fsanitize=$(sanitizer) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer $(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized) -DRAFTKV_TEST_VFS
cflags_variant := $(if $(sanitizer),$(cflags_variant_sanitize),$(cflags_variant_$(VARIANT)))
DEFINES := -D_GNU_SOURCE -I.
PKG_CFLAGS := $(shell pkg-config --cflags $(modules) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(modules) 2>/dev/null)
ALL_CFLAGS = -std=c11 $(DEFINES) $(WARNINGS) -fPIE -fstack-protector-strong $(PKG_CFLAGS) \
	$(CFLAGS) $(cflags_variant) $(EXTRA_CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(LDFLAGS) \
	$(if $(sanitizer),-fsanitize=$(sanitizer)) $(if $(filter cov,$(VARIANT)),--coverage)
# jemalloc, but for sanitizers with an allocator of their own: libmicrohttpd allocates each header of
# a reply three times, which glibc's caches are too small for when a turn answers many.
LIBS := $(if $(filter release ubsan cov,$(VARIANT)),-ljemalloc) $(PKG_LIBS) -lisal -lpthread -lm

# --- what there is. ONLY="base raft" leaves out all but those layers and their unit tests.
ONLY ?=
lib_sources := $(sort $(wildcard lib/*/*.c))
cmd_sources := $(sort $(wildcard cmd/raftkv-*/*.c))
support_sources := $(sort $(wildcard tests/support/*.c))
unit_sources := $(sort $(wildcard tests/unit/*.c))
tool_sources := $(sort $(wildcard tests/tools/*.c))
fuzz_sources := $(sort $(wildcard tests/fuzz/*.c))
headers := $(sort $(wildcard lib/*/*.h cmd/*/*.h tests/*/*.h))
ifneq ($(ONLY),)
lib_sources := $(filter $(ONLY:%=lib/%/%),$(lib_sources))
unit_sources := $(filter $(ONLY:%=tests/unit/%_%),$(unit_sources))
headers := $(filter $(ONLY:%=lib/%/%) tests/%,$(headers))
cmd_sources :=
tool_sources :=
fuzz_sources :=
endif
sources := $(lib_sources) $(cmd_sources) $(support_sources) $(unit_sources) $(tool_sources) \
	$(fuzz_sources)
programs := $(sort $(notdir $(patsubst %/,%,$(dir $(cmd_sources)))))
# Those that take longest first, so that nobody waits for one alone in the end.
e2e_files := $(wildcard $(patsubst %,tests/e2e/%.bats,faults members cluster disk examples api_limits check_run \
	bad_http ctl check_replicas))
e2e_files += $(filter-out $(e2e_files),$(sort $(wildcard tests/e2e/*.bats)))
shell_files := $(sort $(wildcard scripts/*.sh scripts/*.bash completions/*.sh tests/*.sh tests/*/*.sh tests/*/*.bash \
	tests/e2e/*.bats examples/*.sh examples/*/*.sh .ci/run))
man_pages := $(wildcard man/*.1)

archive := $(OUT)/lib/libraftkv.a
support := $(OUT)/lib/libtest.a
binaries := $(programs:%=$(OUT)/bin/%)
units := $(unit_sources:%.c=$(OUT)/%)
tools := $(tool_sources:%.c=$(OUT)/%)
objects = $(patsubst %.c,$(OUT)/obj/%.o,$(1))

.PHONY: all units tools deps demo test test-all bench bench-peers soak sim unit e2e asan ubsan tsan cov \
	install clean format help FORCE
all: $(archive) $(binaries)
units: $(units)
tools: $(tools)

# --- rules
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) | $(ALL_LDFLAGS) $(LIBS))' | \
		cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) | $(ALL_LDFLAGS) $(LIBS))' >$@

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $(@:$(OUT)/%=%)")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The list of members is a prerequisite: a source that goes away must leave the archive.
$(OUT)/lib/%.members: FORCE
	@mkdir -p $(@D)
	@echo '$(members)' | cmp -s - $@ || echo '$(members)' >$@
$(OUT)/lib/libraftkv.members: members = $(lib_sources)
$(OUT)/lib/libtest.members: members = $(support_sources)

$(archive): $(call objects,$(lib_sources)) $(OUT)/lib/libraftkv.members
$(support): $(call objects,$(support_sources)) $(OUT)/lib/libtest.members
$(archive) $(support):
	$(if $(V),,@echo "  AR    $(@:$(OUT)/%=%)")
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

link = @mkdir -p $(@D); $(if $(V),,echo "  LINK  $(@:$(OUT)/%=%)";)
define program_rule
$(OUT)/bin/$(1): $(call objects,$(filter cmd/$(1)/%,$(cmd_sources))) \
		$(if $(filter release,$(VARIANT)),,$(support)) $(archive) $(OUT)/flags
	$$(link)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o %.a,$$^) $$(LIBS)
endef
$(foreach program,$(programs),$(eval $(call program_rule,$(program))))

$(units) $(tools): $(OUT)/%: $(OUT)/obj/%.o $(support) $(archive) $(OUT)/flags
	$(link)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

-include $(patsubst %.c,$(OUT)/obj/%.d,$(sources))

# --- dependencies, demo
deps:
	@scripts/deps.sh

demo:
	+@$(MAKE) --no-print-directory -j$(JOBS) all
	@test -x examples/demo.sh || { echo "demo: examples/demo.sh is missing" >&2; exit 1; }
	@RAFTKV_BIN=$(abspath $(BUILD))/bin examples/demo.sh

# --- tests. RAFTKV_BIN holds the programs under test, RAFTKV_TEST_BIN the same with the test VFS
# and sanitizers, RAFTKV_TEST_TOOLS the helper programs of tests/tools.
export ASAN_OPTIONS ?= abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS ?= print_stacktrace=1:abort_on_error=1
export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1
prove := prove --timer
# A node's test waits a third of its time: with one more at a time the cores are busy.
e2e_jobs := $(shell expr $(JOBS) + 1)
submake = $(MAKE) --no-print-directory -Otarget $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
unit_programs = $(unit_sources:%.c=$(abspath $(BUILD))/$(1)/%)
run_units = $(prove) -j$(JOBS) -e "" $(call unit_programs,$(1))
run_e2e = set -- $(e2e_files); if [ -e "$$$$1" ]; then RAFTKV_BIN=$(abspath $(1)/bin) \
	RAFTKV_TEST_BIN=$(abspath $(2)/bin) RAFTKV_TEST_TOOLS=$(abspath $(2)/tests/tools) \
	$(prove) -j$(e2e_jobs) --failures --comments -e "bats --tap" "$$$$@"; else echo "no end-to-end tests"; fi

unit:
	+@$(submake) VARIANT=san units
	@$(call run_units,san)
e2e:
	+@$(submake) all
	+@$(submake) VARIANT=san all tools
	@$(subst $$$$,$$,$(call run_e2e,$(BUILD),$(BUILD)/san))

test:
	+@scripts/parts.sh \
		build '$(submake) all && $(submake) VARIANT=san all units tools' \
		lint '$(submake) lint' \
		unit '$(MAKE) --no-print-directory unit' \
		sim '$(BUILD)/bin/raftkv-check sim --seeds 1..500 --jobs $(JOBS)' \
		explore 'tests/sim/explore.sh 100000 $(BUILD)/bin/raftkv-check --jobs $(JOBS)' \
		e2e '$(MAKE) --no-print-directory e2e'

test-all:
	+@scripts/parts.sh \
		build '$(submake) all && $(submake) VARIANT=san all units tools' \
		clang '$(submake) BUILD=$(BUILD)/clang CC=clang all units tools' \
		lint '$(submake) lint' \
		unit '$(MAKE) --no-print-directory unit' \
		points 'RAFTKV_POINTS=10000 $(BUILD)/san/tests/unit/store_points' \
		sim '$(BUILD)/bin/raftkv-check sim --seeds 1..10000 --jobs $(JOBS)' \
		explore 'tests/sim/explore.sh 10000000 $(BUILD)/bin/raftkv-check --jobs $(JOBS)' \
		histories 'RAFTKV_HISTORIES=1000000 $(BUILD)/san/tests/unit/history_model' \
		same 'tests/sim/same.sh 20 $(BUILD)/bin/raftkv-check $(BUILD)/clang/bin/raftkv-check' \
		e2e '$(MAKE) --no-print-directory e2e' \
		run 'tests/run/faults.sh $(BUILD)/bin/raftkv-check 8s 1' \
		museum '$(MAKE) --no-print-directory museum' \
		asan '$(MAKE) --no-print-directory asan' \
		ubsan '$(MAKE) --no-print-directory ubsan' \
		tsan '$(MAKE) --no-print-directory tsan' \
		soak '$(MAKE) --no-print-directory soak'

sim:
	+@$(submake) all
	@$(BUILD)/bin/raftkv-check sim --time $(SIM_TIME) --jobs $(JOBS)

asan ubsan tsan cov:
	+@REPORT=$(BUILD)/reports/$@.txt scripts/parts.sh \
		build '$(submake) VARIANT=$@ all units tools' \
		unit '$(call run_units,$@)' \
		e2e '$(subst $$$$,$$,$(call run_e2e,$(BUILD)/$@,$(BUILD)/$@))'
	@cat $(BUILD)/reports/$@.txt
	@test $@ != cov || scripts/cov.sh $(BUILD)/cov | tee -a $(BUILD)/reports/cov.txt

bench:
	+@$(submake) all
	@RAFTKV_BIN=$(BUILD)/bin scripts/bench.sh $(BUILD)/bench $(BENCH_TIME)

bench-peers:
	+@$(submake) all
	@mkdir -p $(BUILD)/bench
	@RAFTKV_BIN=$(BUILD)/bin RESULTS=$(BUILD)/bench/peers.jsonl scripts/bench_peers.sh | tee $(BUILD)/bench/peers.txt

soak:
	+@$(submake) all
	+@$(submake) VARIANT=san all units tools
	@RAFTKV_BIN=$(abspath $(BUILD)/bin) RAFTKV_TEST_BIN=$(abspath $(BUILD)/san/bin) \
		RAFTKV_TEST_TOOLS=$(abspath $(BUILD)/san/tests/tools) JOBS=$(JOBS) E2E_FILES='$(e2e_files)' \
		scripts/soak.sh $(N) $(BUILD)/reports/soak.txt $(call unit_programs,san)

include tests/lint/lint.mk
-include tests/fuzz/fuzz.mk
include tests/museum/museum.mk

# --- the rest
install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1' \
		'$(DESTDIR)$(PREFIX)/share/bash-completion/completions'
	$(if $(binaries),install $(binaries) '$(DESTDIR)$(PREFIX)/bin')
	$(if $(man_pages),install -m 644 $(man_pages) '$(DESTDIR)$(PREFIX)/share/man/man1')
	@set -e; umask 022; for program in $(programs); do \
		completions/bash.sh $(OUT)/bin/$$program \
			>'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/'$$program; done

format:
	clang-format -i $(sources) $(headers)

clean:
	rm -rf $(BUILD)

help:
	@echo 'make [all]        programs into $(BUILD)/bin, library into $(BUILD)/lib'
	@echo 'make deps         install build and test dependencies (apt-get)'
	@echo 'make demo         the tour on three nodes'
	@echo 'make test         lint, unit tests (address and undefined sanitizers), end-to-end tests'
	@echo 'make test-all     the long version: a clang build, each sanitizer, soak'
	@echo 'make sim          the simulator for SIM_TIME=60s'
	@echo 'make bench        raftkv-bench on one node and three, BENCH_TIME=10s each; figures in $(BUILD)/bench'
	@echo 'make bench-peers  the same work on this node, etcd and Redis, in turn (ROUNDS=5); skipped without them'
	@echo 'make soak N=10    rounds of the tests with new seeds'
	@echo 'make fuzz         libFuzzer, FUZZ_SECONDS=10 each'
	@echo 'make museum       known bugs put back one by one, and caught; BUGS="18 54" for some'
	@echo 'make lint         layers, symbols, format, clang, clang-tidy, cppcheck, shellcheck, tables'
	@echo 'make asan|ubsan|tsan|cov   all tests with that instrumentation; totals in $(BUILD)/reports'
	@echo 'make install      PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make format       clang-format -i on every source'
	@echo 'make clean        remove $(BUILD)'
	@echo 'Variables: BUILD CC CFLAGS LDFLAGS JOBS V=1 SANITIZE=address,undefined|thread|…'
	@echo 'ONLY="base raft"   those layers and their unit tests only (while another layer does not compile)'

endif
