/* Results: what each form says of known figures, and what compare reads of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/bench/compare.h"
#include "lib/bench/report.h"
#include "tests/support/cases.h"
#include "tests/unit/tap.h"

static struct bench_options options;
static struct bench_report report;
static struct slo_set slo;
static struct figures_row rows[] = {
    {0, 1, "warm-up", 50, 0, 0, 900, 950, 990, 999, 1000},
    {1, 1, "measured", 100, 1, 2, 1000, 1900, 1980, 2000, 2000},
    {2, 0.5, "last answers", 0, 3, 0, 0, 0, 0, 0, 0},
};

/* 1000 puts of 1 µs to 1 ms times `factor`, in two seconds, 10 of them late; 4 of unknown outcome;
 * 2 gets that were never begun. */
static void fill(unsigned factor)
{
    struct figures_end end = {.op = BENCH_PUT, .begun = true};
    memset(&report, 0, sizeof(report));
    options = (struct bench_options){.workload = *bench_workload_find("mixed"),
                                     .keys = {.count = 10, .prefix = "k"},
                                     .value_min = 1,
                                     .value_max = 2,
                                     .clients = 3,
                                     .connections = 3,
                                     .threads = 1,
                                     .warmup_ms = 1000,
                                     .seed = 7};
    for (unsigned i = 1; i <= 1000; i++) {
        end.latency_us = i * factor;
        end.late = i <= 10;
        figures_add(&report.figures, &end);
    }
    end =
        (struct figures_end){.op = BENCH_PUT, .begun = true, .code = ERR_UNKNOWN, .unknown = true};
    for (int i = 0; i < 4; i++)
        figures_add(&report.figures, &end);
    end = (struct figures_end){.op = BENCH_GET, .begun = false};
    for (int i = 0; i < 2; i++)
        figures_add(&report.figures, &end);
    report.measured_us = 2000000;
    report.rows = rows;
    report.row_count = sizeof(rows) / sizeof(rows[0]);
    must(slo_parse(&slo, "put.p99<10s,scan.p99<1s", NULL) == 0);
    slo_judge(&slo, &report.figures, report.measured_us);
}

static char *text_of(void (*print)(FILE *, const struct bench_result *))
{
    char *text = NULL;
    size_t bytes;
    struct bench_result r = {&options, &report, &slo};
    FILE *memory = open_memstream(&text, &bytes);
    must(memory != NULL);
    print(memory, &r);
    must(fclose(memory) == 0);
    return text;
}

static void print_hdr(FILE *out, const struct bench_result *r)
{
    report_hdr(out, r, BENCH_PUT);
}

static void figures_are_sums(void)
{
    static struct figures_op all;
    fill(1);
    figures_of(&report.figures, FIGURES_ALL, &all);
    CHECK_EQ(all.latency.count, 1000);
    CHECK_EQ(figures_errors(&all), 2);
    CHECK_EQ(figures_unknown(&all), 4);
    CHECK_EQ(figures_total(&all), 1006);
    CHECK_EQ(all.errors[FIGURES_NOT_BEGUN], 2);
    CHECK(figures_rate(&all, report.measured_us) == 495);
    CHECK(strcmp(figures_kind_name(FIGURES_NOT_BEGUN), "not_begun") == 0);
    CHECK(strcmp(figures_kind_name(ERR_UNKNOWN - ERR_FIRST_), "no_reply") == 0);
    CHECK(strcmp(figures_kind_name(ERR_TIMEOUT - ERR_FIRST_), "timeout") == 0);
}

static void json_is_read_back_by_compare(void)
{
    static struct compare_side side;
    fill(1);
    char *text = text_of(report_json);
    REQUIRE(compare_read(&side, slice_str(text), NULL) == 0);
    CHECK(side.value[BENCH_PUT][COMPARE_RATE] == 495);
    double p99 = side.value[BENCH_PUT][COMPARE_P99];
    CHECK(p99 >= 990 && p99 <= 990 * 1.008);
    CHECK(side.value[BENCH_PUT][COMPARE_MAX] == 1000);
    CHECK(side.value[BENCH_PUT][COMPARE_UNKNOWN] == 4);
    CHECK(side.value[BENCH_GET][COMPARE_ERRORS] == 2);
    CHECK(!side.has[BENCH_GET][COMPARE_P99]);
    CHECK(!side.has[BENCH_SCAN][COMPARE_RATE]);
    CHECK(side.value[FIGURES_ALL][COMPARE_ERRORS] == 2);
    CHECK(strstr(text, "\"unknown_kinds\":{\"no_reply\":4}") != NULL);
    CHECK(strstr(text, "\"error_kinds\":{\"not_begun\":2}") != NULL);
    CHECK(strstr(text, "{\"objective\":\"scan.p99<1s\",\"verdict\":\"inconclusive\"}") != NULL);
    free(text);
}

static void compare_says_what_is_worse(void)
{
    static struct compare_side a, b;
    char where[64], *text;
    fill(1);
    text = text_of(report_json);
    REQUIRE(compare_read(&a, slice_str(text), NULL) == 0);
    free(text);
    fill(2);
    options.clients = 9;
    report.measured_us = 1000000;
    text = text_of(report_json);
    REQUIRE(compare_read(&b, slice_str(text), NULL) == 0);
    free(text);
    double worst = compare_worst(&a, &b, where, sizeof(where));
    CHECK(worst > 98 && worst < 102);
    CHECK(strncmp(where, "put P", 5) == 0 || strncmp(where, "all P", 5) == 0);
    worst = compare_worst(&b, &a, where, sizeof(where));
    CHECK(worst > 49 && worst < 51);
    CHECK(strcmp(where, "put rate") == 0);
    CHECK(compare_worst(&a, &a, where, sizeof(where)) == 0);
    CHECK(where[0] == '\0');
    size_t bytes;
    FILE *memory = open_memstream(&text, &bytes);
    must(memory != NULL);
    compare_print(memory, &a, &b);
    must(fclose(memory) == 0);
    CHECK(strstr(text, "differs      clients: 3, 9\n") != NULL);
    CHECK(strstr(text, "put          rate            495/s        990/s   +100.0 %\n") != NULL);
    free(text);
}

static void what_is_no_result_is_refused(void)
{
    static struct compare_side side;
    struct err err;
    CHECK_EQ(compare_read(&side, slice_str("{}"), &err), ERR_BAD_REQUEST);
    CHECK(strstr(err.text, "no result of raftkv-bench") != NULL);
    CHECK_EQ(compare_read(&side, slice_str("{\"tool\":\"wrk\"}"), &err), ERR_BAD_REQUEST);
    CHECK_EQ(compare_read(&side, slice_str("{\"tool\":"), &err), ERR_BAD_REQUEST);
}

static void csv_has_a_line_a_second(void)
{
    fill(1);
    char *text = text_of(report_csv);
    CHECK(strcmp(text,
                 "from_s,length_s,phase,answered,rate,errors,unknown,p50_us,p95_us,p99_us,p999_us,"
                 "max_us\n"
                 "0.000,1.000,warm-up,50,50.0,0,0,900,950,990,999,1000\n"
                 "1.000,1.000,measured,100,100.0,1,2,1000,1900,1980,2000,2000\n"
                 "2.000,0.500,last answers,0,0.0,3,0,0,0,0,0,0\n") == 0);
    free(text);
}

static void hdr_rises_to_the_maximum(void)
{
    fill(1);
    char *text = text_of(print_hdr), *line = text, *end;
    double last_value = 0, last_percentile = -1;
    unsigned long long last_count = 0;
    unsigned lines = 0;
    for (; (end = strchr(line, '\n')) != NULL && *line != '#'; line = end + 1) {
        char *at;
        double value = strtod(line, &at);
        if (*line == '\n' || at == line)
            continue;
        double percentile = strtod(at, &at);
        unsigned long long count = strtoull(at, NULL, 10);
        CHECK(value >= last_value && percentile > last_percentile && count >= last_count);
        CHECK((double)count + 1e-6 >= percentile * 1000);
        last_value = value;
        last_percentile = percentile;
        last_count = count;
        lines++;
    }
    CHECK(lines > 20);
    CHECK(last_value == 1.0 && last_percentile == 1.0);
    CHECK_EQ(last_count, 1000);
    CHECK(strstr(text, "Total count    =         1000]") != NULL);
    free(text);
}

static void text_and_page_say_the_same(void)
{
    fill(1);
    options.workload.summary = "<script>";
    report.rate_missed = true;
    options.rate = 1;
    report.limited_by_us = true;
    snprintf(report.why, sizeof(report.why), "node1 ended by itself");
    char *text = text_of(report_text), *page = text_of(report_html);
    static const char *const parts[] = {
        "unknown       put no_reply 4",
        "errors        get not_begun 2",
        "the rate was NOT kept",
        "raftkv-bench itself is the limit",
        "ended early    node1 ended by itself",
        "inconclusive: -",
        "do not count",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        case_row("%s", parts[i]);
        CHECK(strstr(text, parts[i]) != NULL);
        CHECK(strstr(page, parts[i]) != NULL);
    }
    case_row_done();
    CHECK(strstr(page, "<script>") == NULL && strstr(page, "&lt;script&gt;") != NULL);
    CHECK(strstr(page, "nan") == NULL && strstr(page, "inf,") == NULL);
    free(text);
    free(page);
}

static void nothing_measured_is_printed_too(void)
{
    fill(1);
    memset(&report, 0, sizeof(report));
    static void (*const prints[])(FILE *, const struct bench_result *) = {
        report_text, report_json, report_csv, report_html, print_hdr};
    for (size_t i = 0; i < sizeof(prints) / sizeof(prints[0]); i++) {
        char *text = text_of(prints[i]);
        case_row("form %zu", i);
        CHECK(strlen(text) > 0);
        CHECK(strstr(text, "nan") == NULL && strstr(text, "inf,") == NULL);
        free(text);
    }
    case_row_done();
}

static const struct test_case cases[] = {
    {"figures_are_sums", figures_are_sums},
    {"json_is_read_back_by_compare", json_is_read_back_by_compare},
    {"compare_says_what_is_worse", compare_says_what_is_worse},
    {"what_is_no_result_is_refused", what_is_no_result_is_refused},
    {"csv_has_a_line_a_second", csv_has_a_line_a_second},
    {"hdr_rises_to_the_maximum", hdr_rises_to_the_maximum},
    {"text_and_page_say_the_same", text_and_page_say_the_same},
    {"nothing_measured_is_printed_too", nothing_measured_is_printed_too},
};

CASES_MAIN(cases)
