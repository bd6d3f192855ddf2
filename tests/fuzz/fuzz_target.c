/* Request targets: percent-encoding, queries, URLs. The first byte chooses. */
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/net/http_client.h"
#include "lib/net/http_server.h"
#include "tests/fuzz/fuzz.h"

static void fuzz_decode(struct slice raw, bool plus_is_space)
{
    struct buf bytes, text, again;
    struct err err = {0};
    buf_init(&bytes, LIMIT_KEY_BYTES);
    buf_init(&text, 3 * LIMIT_KEY_BYTES);
    buf_init(&again, LIMIT_KEY_BYTES);
    int rc = target_decode(raw, plus_is_space, &bytes, &err);
    if (rc == 0) {
        FUZZ_CHECK(bytes.len <= raw.len);
        FUZZ_CHECK(target_encode(slice_of(bytes.data, bytes.len), raw.len % 2, &text) == 0);
        FUZZ_CHECK(target_decode(slice_of(text.data, text.len), plus_is_space, &again, &err) == 0);
        fuzz_check_same(&bytes, &again);
    } else {
        fuzz_check_error(rc, rc == ERR_TOO_LARGE ? rc : ERR_BAD_REQUEST, &err);
        FUZZ_CHECK(bytes.len == 0);
        FUZZ_CHECK(rc != ERR_TOO_LARGE || raw.len > LIMIT_KEY_BYTES);
    }
    buf_release(&again);
    buf_release(&text);
    buf_release(&bytes);
}

static void fuzz_query(struct slice raw)
{
    struct query_parameter table[] = {{.name = "prefix"},  {.name = "start"}, {.name = "limit"},
                                      {.name = "reverse"}, {.name = "a"},     {.name = "a b"}};
    size_t count = sizeof(table) / sizeof(table[0]);
    struct err err = {0};
    int rc = query_parse(raw, table, count, &err);
    if (rc != 0) {
        fuzz_check_error(rc, rc == ERR_TOO_LARGE ? rc : ERR_BAD_REQUEST, &err);
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(table[i].seen || !table[i].has_value);
        FUZZ_CHECK(table[i].has_value || table[i].value.len == 0);
        bytes += table[i].value.len;
    }
    FUZZ_CHECK(bytes <= raw.len);
    query_release(table, count);
}

static void fuzz_url(struct slice raw)
{
    struct err err = {0};
    char *url = mem_alloc(raw.len + 1);
    if (raw.len > 0)
        memcpy(url, raw.data, raw.len);
    url[raw.len] = '\0';
    if (url_valid(url, &err))
        FUZZ_CHECK(strlen(url) <= LIMIT_URL_BYTES && !strpbrk(url, " \"\r\n\\<>@?#"));
    else
        fuzz_check_error(ERR_BAD_REQUEST, ERR_BAD_REQUEST, &err);
    mem_free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    switch (fuzz_choose(&data, &size)) {
    case 'p': fuzz_decode(slice_of(data, size), false); break;
    case '+': fuzz_decode(slice_of(data, size), true); break;
    case 'q': fuzz_query(slice_of(data, size)); break;
    case 'u': fuzz_url(slice_of(data, size)); break;
    default: return -1;
    }
    return 0;
}
