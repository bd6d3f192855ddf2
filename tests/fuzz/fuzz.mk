# Fuzzers: one program for each tests/fuzz/fuzz_*.c, with clang's libFuzzer. `make fuzz` runs each for
# FUZZ_SECONDS, begins with the seeds and what earlier runs found worth keeping ($(BUILD)/fuzz/corpus),
# and replays tests/fuzz/cases/NAME: the inputs of mended bugs.
FUZZ_SECONDS ?= 10
fuzzers := $(patsubst %.c,$(OUT)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

.PHONY: fuzz fuzzers
fuzzers: $(fuzzers) $(OUT)/tests/fuzz/seeds
$(fuzzers): $(OUT)/%: $(OUT)/obj/%.o $(archive) $(OUT)/flags
	$(link)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o %.a,$^) $(LIBS)
$(OUT)/tests/fuzz/seeds: $(OUT)/obj/tests/fuzz/seeds.o $(archive) $(OUT)/flags
	$(link)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

fuzz:
	+@$(submake) VARIANT=fuzz CC=clang fuzzers
	@tests/fuzz/run.sh $(abspath $(BUILD))/fuzz $(FUZZ_SECONDS) $(BUILD)/reports/fuzz.txt
