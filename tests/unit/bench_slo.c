/* Objectives: what is understood, what is refused, and how each is judged. */
#include <math.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/bench/slo.h"
#include "tests/support/cases.h"

static void objectives_are_understood(void)
{
    static const struct {
        const char *text;
        unsigned op;
        enum slo_metric metric;
        double quantile, limit;
        bool below, or_equal;
    } rows[] = {
        {"put.p99<10ms", BENCH_PUT, SLO_QUANTILE, 0.99, 10000, true, false},
        {"get.p99.9<=1.5ms", BENCH_GET, SLO_QUANTILE, 0.999, 1500, true, true},
        {"p50<250us", FIGURES_ALL, SLO_QUANTILE, 0.5, 250, true, false},
        {"all.max<2s", FIGURES_ALL, SLO_MAX_LATENCY, 0, 2e6, true, false},
        {"scan.mean<5ms", BENCH_SCAN, SLO_MEAN, 0, 5000, true, false},
        {"conditional.rate>=1000", BENCH_CONDITIONAL, SLO_RATE, 0, 1000, false, true},
        {"errors<0.1%", FIGURES_ALL, SLO_ERRORS, 0, 0.1, true, false},
        {"delete.unknown<=0%", BENCH_DELETE, SLO_UNKNOWN, 0, 0, true, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slo_set set;
        case_row("%s", rows[i].text);
        REQUIRE(slo_parse(&set, rows[i].text, NULL) == 0);
        const struct slo *s = &set.list[0];
        CHECK_EQ(set.count, 1);
        CHECK_EQ(s->op, rows[i].op);
        CHECK(s->metric == rows[i].metric);
        CHECK(fabs(s->quantile - rows[i].quantile) < 1e-12);
        CHECK(fabs(s->limit - rows[i].limit) < 1e-9);
        CHECK(s->below == rows[i].below && s->or_equal == rows[i].or_equal);
    }
    case_row_done();
}

static void what_is_no_objective_is_named(void)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "no objective is given"},
        {"put.p99", "want METRIC<VALUE"},
        {"put.p99<10", "want a time"},
        {"put.p99<ms", "want a time"},
        {"put.p99<1.ms", "want a time"},
        {"put.p99<-1ms", "want a time"},
        {"put.p101<1ms", "'p101'"},
        {"put.p<1ms", "'p'"},
        {"putt.p99<1ms", "'putt.p99'"},
        {"put.speed<1ms", "'speed'"},
        {"errors<1", "want a percentage"},
        {"errors<1ms", "want a percentage"},
        {"rate>1%", "want a number"},
        {"put.p99<1ms,,get.p99<1ms", "want METRIC<VALUE"},
        {"put.p99==1ms", "want METRIC<VALUE"},
        {"put.p99<1ms,x", "'x'"},
        {"a234567890123456789012345678901234567890123456789012345678901234<1ms", "too long"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slo_set set;
        struct err err = {.text = ""};
        case_row("%s", rows[i].text);
        CHECK_EQ(slo_parse(&set, rows[i].text, &err), ERR_USAGE);
        CHECK(strstr(err.text, rows[i].says) != NULL);
    }
    case_row_done();
}

/* 100 puts of 1 … 100 ms in ten seconds, 2 more of unknown outcome, 3 refused. */
static struct figures *sample(void)
{
    struct figures *f = mem_zalloc(sizeof(*f));
    struct figures_end end = {.op = BENCH_PUT, .begun = true};
    for (unsigned i = 1; i <= 100; i++) {
        end.latency_us = 1000 * i;
        figures_add(f, &end);
    }
    end.code = ERR_NO_LEADER;
    for (int i = 0; i < 3; i++)
        figures_add(f, &end);
    end.code = ERR_TIMEOUT;
    end.unknown = true;
    for (int i = 0; i < 2; i++)
        figures_add(f, &end);
    return f;
}

static void objectives_are_judged(void)
{
    static const struct {
        const char *text;
        enum slo_verdict verdict;
    } rows[] = {
        {"put.p99<98ms", SLO_VIOLATED},   {"put.p99<100ms", SLO_HELD},
        {"put.max<=100ms", SLO_HELD},     {"put.max<100ms", SLO_VIOLATED},
        {"p50<51ms", SLO_HELD},           {"put.mean<50ms", SLO_VIOLATED},
        {"put.mean<50.6ms", SLO_HELD},    {"rate>9", SLO_HELD},
        {"rate>10", SLO_VIOLATED},        {"put.rate>=10", SLO_HELD},
        {"errors<5%", SLO_HELD},          {"errors<4.7%", SLO_VIOLATED},
        {"put.unknown<2%", SLO_HELD},     {"put.unknown<1.9%", SLO_VIOLATED},
        {"get.p99<1s", SLO_INCONCLUSIVE}, {"get.errors<1%", SLO_INCONCLUSIVE},
    };
    struct figures *f = sample();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slo_set set;
        case_row("%s", rows[i].text);
        REQUIRE(slo_parse(&set, rows[i].text, NULL) == 0);
        CHECK_EQ(slo_judge(&set, f, 10000000), rows[i].verdict);
        CHECK_EQ(set.list[0].verdict, rows[i].verdict);
    }
    case_row_done();
    mem_free(f);
}

static void the_worst_verdict_counts(void)
{
    struct figures *f = sample();
    struct slo_set set;
    REQUIRE(slo_parse(&set, "errors<50%,get.p99<1s", NULL) == 0);
    CHECK_EQ(slo_judge(&set, f, 10000000), SLO_INCONCLUSIVE);
    REQUIRE(slo_parse(&set, "put.p50<1ms,get.p99<1s,errors<50%", NULL) == 0);
    CHECK_EQ(slo_judge(&set, f, 10000000), SLO_VIOLATED);
    mem_free(f);
}

static void nothing_answered_has_no_latency_but_errors(void)
{
    struct figures *f = mem_zalloc(sizeof(*f));
    struct figures_end end = {.op = BENCH_GET, .begun = false};
    struct slo_set set;
    figures_add(f, &end);
    REQUIRE(slo_parse(&set, "get.p99<1s,errors<50%", NULL) == 0);
    CHECK_EQ(slo_judge(&set, f, 1000000), SLO_VIOLATED);
    CHECK_EQ(set.list[0].verdict, SLO_INCONCLUSIVE);
    CHECK_EQ(set.list[1].verdict, SLO_VIOLATED);
    mem_free(f);
}

static const struct test_case cases[] = {
    {"objectives_are_understood", objectives_are_understood},
    {"what_is_no_objective_is_named", what_is_no_objective_is_named},
    {"objectives_are_judged", objectives_are_judged},
    {"the_worst_verdict_counts", the_worst_verdict_counts},
    {"nothing_answered_has_no_latency_but_errors", nothing_answered_has_no_latency_but_errors},
};

CASES_MAIN(cases)
