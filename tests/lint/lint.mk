# The gates. Compiler checks keep a stamp per file in $(BUILD)/lint, so that only what changed is
# looked at again.
lint_out := $(BUILD)/lint
lint_cflags = -std=c11 $(DEFINES) -DRAFTKV_TEST_VFS $(WARNINGS) $(PKG_CFLAGS)

.PHONY: lint lint-layers lint-pure lint-words lint-format lint-shell lint-clang lint-cppcheck \
	lint-tidy lint-scenarios lint-man
lint: lint-layers lint-pure lint-words lint-format lint-shell lint-clang lint-cppcheck lint-tidy \
	lint-scenarios lint-man

lint-layers:
	@tests/lint/layers.sh
lint-words:
	@tests/lint/words.sh
lint-pure: $(call objects,$(filter lib/raft/%,$(lib_sources)))
	@tests/lint/pure.sh $^
lint-format:
	@mkdir -p $(BUILD)
	@clang-format --dry-run -Werror $(sources) $(headers) 2>$(lint_out).format || { \
		sed -n 's/^\([^ :]*\):[0-9]*:.*/format: \1 (see clang-format -i)/p' $(lint_out).format | uniq >&2; false; }
lint-shell:
	@shellcheck -x $(shell_files)
lint-scenarios:
	+@$(submake) VARIANT=san units && BUILD=$(BUILD)/san tests/lint/scenarios.sh
lint-man: $(binaries)
	@tests/lint/man.sh $^

lint-clang: $(sources:%.c=$(lint_out)/clang/%.ok)
$(lint_out)/clang/%.ok: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CLANG $<")
	$(Q)clang -fsyntax-only $(lint_cflags) -MMD -MP -MT $@ -MF $@.d $<
	@touch $@
-include $(sources:%.c=$(lint_out)/clang/%.ok.d)

# It reads no system headers, but must know the macros that write declarations.
bsd_macros := $(wildcard /usr/include/bsd/sys/queue.h /usr/include/bsd/sys/tree.h)
lint-cppcheck:
	@mkdir -p $(lint_out)/cppcheck
	@cppcheck -q -j$(JOBS) --std=c11 --enable=warning,performance,portability --inline-suppr \
		--error-exitcode=1 --cppcheck-build-dir=$(lint_out)/cppcheck -D_GNU_SOURCE \
		-DRAFTKV_TEST_VFS -I. $(addprefix --include=,$(bsd_macros)) --suppressions-list=tests/lint/cppcheck.txt $(sources)

lint-tidy: $(sources:%.c=$(lint_out)/tidy/%.ok)
$(lint_out)/tidy/%.ok: %.c .clang-tidy $(lint_out)/clang/%.ok
	@mkdir -p $(@D)
	$(if $(V),,@echo "  TIDY  $<")
	$(Q)clang-tidy --quiet $< -- $(lint_cflags) 2>$@.err || { cat $@.err; false; }
	@touch $@
