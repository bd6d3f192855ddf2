/* A line a second, from the beginning of the load on: what ended in it. */
#include <inttypes.h>

#include "lib/bench/report.h"

void report_csv(FILE *out, const struct bench_result *r)
{
    fputs(
        "from_s,length_s,phase,answered,rate,errors,unknown,p50_us,p95_us,p99_us,p999_us,max_us\n",
        out);
    for (size_t i = 0; i < r->report->row_count; i++) {
        const struct figures_row *row = &r->report->rows[i];
        fprintf(out,
                "%.3f,%.3f,%s,%" PRIu64 ",%.1f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
                row->from_s, row->seconds, row->phase, row->answered,
                row->seconds > 0 ? (double)row->answered / row->seconds : 0, row->errors,
                row->unknown, row->p50_us, row->p95_us, row->p99_us, row->p999_us, row->max_us);
    }
}
