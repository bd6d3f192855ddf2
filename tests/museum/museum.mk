# The bug museum: each bug of tests/museum/*.patch put back, and caught. BUGS="18 54" for some.
.PHONY: museum
museum:
	@BUGS='$(BUGS)' JOBS='$(JOBS)' BUILD='$(abspath $(BUILD))' tests/museum/run.sh
