/* /faults: requests, replies, and what raftkv-ctl makes of its arguments. */
#include "lib/json/api_faults.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/tap.h"

static int decode(const char *text, struct api_fault *f, struct err *err)
{
    return api_fault_decode(slice_str(text), f, err);
}

/* As it came, and through the text that people see. */
static void test_round(const char *json, const char *text)
{
    struct api_fault f;
    struct err err = {0};
    struct buf out;
    buf_init(&out, 1000);
    is_i64(decode(json, &f, &err), 0, "%s (%s)", json, err.text);
    must(api_fault_encode(&f, &out) == 0);
    is_str((const char *)out.data, json, "written as it was read");
    buf_clear(&out);
    must(api_fault_text(&f, &out) == 0);
    is_str((const char *)out.data, text, "and for people");
    buf_release(&out);
}

static void test_good(void)
{
    struct api_fault f;
    struct err err = {0};
    test_round("{\"kind\":\"drop\",\"peer\":\"*\"}", "drop peer=*");
    test_round("{\"kind\":\"drop\",\"peer\":\"n.1_-\",\"per_mille\":1}",
               "drop peer=n.1_- per_mille=1");
    test_round("{\"kind\":\"delay\",\"peer\":\"node2\",\"delay_ms\":3600000}",
               "delay peer=node2 delay_ms=3600000");
    test_round("{\"kind\":\"fsync-delay\",\"delay_ms\":1,\"file\":\"raft.db\"}",
               "fsync-delay delay_ms=1 file=raft.db");
    test_round("{\"kind\":\"fsync-error\"}", "fsync-error");
    test_round("{\"kind\":\"disk-full\",\"file\":\"kv.db\"}", "disk-full file=kv.db");
    test_round("{\"kind\":\"disk-stall\"}", "disk-stall");
    test_round("{\"kind\":\"clock-offset\",\"offset_ms\":-315576000000}",
               "clock-offset offset_ms=-315576000000");
    test_round("{\"kind\":\"clock-rate\",\"ppm\":500000}", "clock-rate ppm=500000");
    test_round("{\"kind\":\"crash\",\"point\":\"after-compaction\",\"after\":1000000000}",
               "crash point=after-compaction after=1000000000");
    must(decode("{\"kind\":\"drop\",\"peer\":\"*\"}", &f, &err) == 0);
    is_i64(f.value[API_FAULT_PER_MILLE], 1000, "all of them, if it does not say how many");
    must(decode("{\"kind\":\"crash\",\"point\":\"before-apply\"}", &f, &err) == 0);
    is_i64(f.value[API_FAULT_AFTER], 1, "the first time, if it does not say which");
    is_i64(f.value[API_FAULT_POINT], API_FAULT_BEFORE_APPLY, "at that point");
}

static void test_bad(void)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        {"{}", "kind '(none)' must be one of: drop, delay, fsync-delay, fsync-error"},
        {"{\"kind\":\"Drop\"}", "kind 'Drop'"},
        {"{\"kind\":\"drop\\u0000\",\"peer\":\"*\"}", "kind '(no word)'"},
        {"{\"kind\":\"drop\"}", "drop needs 'peer': the name of a member, or * for all"},
        {"{\"kind\":\"drop\",\"peer\":\"**\"}", "peer '**'"},
        {"{\"kind\":\"drop\",\"peer\":\"a\\u0000\"}", "peer '(with a NUL)'"},
        {"{\"kind\":\"drop\",\"peer\":null}", "peer '(no string)'"},
        {"{\"kind\":\"drop\",\"peer\":\"*\",\"per_mille\":1001}",
         "per_mille '1001' must be a whole number from 1 to 1000"},
        {"{\"kind\":\"drop\",\"peer\":\"*\",\"per_mille\":1.0}", "per_mille '(no number)'"},
        {"{\"kind\":\"drop\",\"peer\":\"*\",\"id\":1}", "drop has no 'id', but: peer, per_mille"},
        {"{\"kind\":\"disk-full\",\"delay_ms\":1}", "disk-full has no 'delay_ms', but: file"},
        {"{\"kind\":\"disk-full\",\"file\":\"kv\"}", "file 'kv' must be one of: raft.db, kv.db"},
        {"{\"kind\":\"clock-rate\",\"ppm\":-500001}", "from -500000 to 500000"},
        {"{\"kind\":\"crash\",\"point\":\"apply\"}", "one of: before-persist, after-persist"},
    };
    struct api_fault f;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        is_i64(decode(cases[i].json, &f, &err), ERR_BAD_REQUEST, "refused: %s", cases[i].json);
        has_str(err.text, cases[i].text, "and said why");
    }
}

static void test_arguments(void)
{
    static const char *const wrong[][2] = {{"ppm", ""},       {"ppm", "-"},
                                           {"ppm", "--5"},    {"ppm", "5x"},
                                           {"ppm", " 5"},     {"ppm", "0x5"},
                                           {"ppm", "500001"}, {"peer", "a"},
                                           {"", "1"},         {"ppm", "99999999999999999999"}};
    struct api_fault f;
    struct err err = {0};
    must(api_fault_begin(&f, "clock-rate", &err) == 0);
    is_i64(api_fault_check(&f, &err), ERR_BAD_REQUEST, "without what it needs");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        is_i64(api_fault_set(&f, wrong[i][0], wrong[i][1], &err), ERR_BAD_REQUEST, "%s=%s",
               wrong[i][0], wrong[i][1]);
    is_i64(api_fault_set(&f, "ppm", "+5", &err), 0, "with a sign");
    is_i64(f.value[API_FAULT_PPM], 5, "that is none");
    is_i64(api_fault_set(&f, "ppm", "-500000", &err), 0, "with one that is");
    is_i64(f.value[API_FAULT_PPM], -500000, "the least there is");
    is_i64(api_fault_check(&f, &err), 0, "with all that it needs");
}

static void test_list(void)
{
    struct api_fault f[2], got[2];
    struct err err = {0};
    struct buf out;
    size_t count = 2;
    buf_init(&out, 1000);
    must(decode("{\"kind\":\"disk-full\"}", &f[0], &err) == 0);
    must(decode("{\"kind\":\"drop\",\"peer\":\"x\"}", &f[1], &err) == 0);
    f[0].id = 7;
    f[1].id = 12;
    must(api_faults_encode(f, 2, &out) == 0);
    is_str((const char *)out.data,
           "{\"faults\":[{\"id\":7,\"kind\":\"disk-full\"},"
           "{\"id\":12,\"kind\":\"drop\",\"peer\":\"x\"}]}",
           "a list");
    struct slice text = slice_of(out.data, out.len);
    is_i64(api_faults_decode(text, got, &count, &err), 0, "is read again");
    ok(count == 2 && got[0].id == 7 && got[1].id == 12 && strcmp(got[1].peer, "x") == 0,
       "all of it");
    count = 1;
    is_i64(api_faults_decode(text, got, &count, &err), ERR_BAD_REQUEST, "no more than has room");
    count = 2;
    is_i64(api_faults_decode(slice_str("{\"faults\":[7]}"), got, &count, &err), ERR_BAD_REQUEST,
           "no numbers");
    count = 2;
    is_i64(api_faults_decode(slice_str("{}"), got, &count, &err), ERR_BAD_REQUEST, "no nothing");
    is_i64(api_fault_reply_decode(slice_str("{\"id\":7,\"kind\":\"disk-full\"}"), &got[0], &err), 0,
           "a reply");
    is_u64(got[0].id, 7, "has an id");
    is_i64(api_fault_reply_decode(slice_str("{\"kind\":\"disk-full\"}"), &got[0], &err),
           ERR_BAD_REQUEST, "always");
    buf_release(&out);
}

int main(void)
{
    test_good();
    test_bad();
    test_arguments();
    test_list();
    return done();
}
