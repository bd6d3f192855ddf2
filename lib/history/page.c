/* Placeholder until written. */
#include "lib/history/proof.h"

int history_page(const struct history_part *p, const struct history_report *report,
                 const struct history_proof *proof, const char *title, struct buf *out)
{
    (void)p, (void)report, (void)proof, (void)title;
    return buf_append_str(out, "");
}
