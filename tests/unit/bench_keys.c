/* Keys: each distribution against its theory; keys that are added, and keys of a file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/bench/keys.h"
#include "tests/support/cases.h"
#include "tests/unit/tap.h"

enum { DRAWS = 200000, LATEST_DRAWS = 50000, KEYS = 1000 };

static const double SIGMAS = 6; /* a fixed seed: it holds or it does not */

static bool is_near(uint64_t seen, double probability, double draws)
{
    double mean = probability * draws;
    return fabs((double)seen - mean) <= SIGMAS * sqrt(mean * (1 - probability)) + 1;
}

static struct keys *make(enum keys_order order, uint64_t count)
{
    struct keys *k = mem_alloc(sizeof(*k));
    struct keys_options options = {.order = order, .count = count, .prefix = "k-"};
    must(keys_init(k, &options, NULL) == 0);
    return k;
}

static void drop(struct keys *k)
{
    keys_release(k);
    mem_free(k);
}

static void zipfian_frequencies_fall_as_the_rank(void)
{
    static const double exponents[] = {0.5, 0.99, 1, 1.5};
    for (size_t e = 0; e < sizeof(exponents) / sizeof(exponents[0]); e++) {
        uint64_t seen[KEYS + 1] = {0};
        double sum = 0;
        struct prng p;
        struct zipf z;
        prng_seed(&p, 11);
        zipf_init(&z, KEYS, exponents[e]);
        for (int i = 0; i < DRAWS; i++) {
            uint64_t k = zipf_draw(&z, &p);
            REQUIRE(k >= 1 && k <= KEYS);
            seen[k]++;
        }
        for (int k = 1; k <= KEYS; k++)
            sum += pow(k, -exponents[e]);
        case_row("exponent %g", exponents[e]);
        for (int k = 1; k <= KEYS; k++)
            if (!is_near(seen[k], pow(k, -exponents[e]) / sum, DRAWS))
                case_fail("rank %d: %llu of %d", k, (unsigned long long)seen[k], DRAWS);
    }
    case_row_done();
}

static void zipf_of_a_number_that_grows_is_that_of_the_new_one(void)
{
    struct zipf grown, made;
    struct prng p, q;
    zipf_init(&grown, 10, 0.99);
    zipf_grow(&grown, 5000);
    zipf_init(&made, 5000, 0.99);
    prng_seed(&p, 3);
    q = p;
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(zipf_draw(&grown, &p), zipf_draw(&made, &q));
    zipf_init(&made, 1, 0.99);
    CHECK_EQ(zipf_draw(&made, &p), 1);
}

static void zipfian_keys_are_spread_one_to_one(void)
{
    struct keys *k = make(KEYS_ZIPFIAN, KEYS);
    struct keys_chooser c;
    struct prng p;
    uint64_t seen[KEYS] = {0}, hottest = 0, sum_near = 0;
    keys_chooser_init(&c, k, KEYS_ZIPFIAN);
    prng_seed(&p, 5);
    for (int i = 0; i < DRAWS; i++)
        seen[keys_draw(&c, &p)]++;
    for (uint64_t i = 0; i < KEYS; i++)
        if (seen[i] > seen[hottest])
            hottest = i;
    double sum = 0;
    for (int i = 1; i <= KEYS; i++)
        sum += pow(i, -0.99);
    CHECK(is_near(seen[hottest], 1 / sum, DRAWS));
    for (uint64_t i = 1; i <= 3; i++)
        sum_near += seen[(hottest + i) % KEYS];
    CHECK(sum_near < seen[hottest] / 4);
    drop(k);
}

static void uniform_keys_are_all_as_likely(void)
{
    struct keys *k = make(KEYS_UNIFORM, 100);
    struct keys_chooser c;
    struct prng p;
    uint64_t seen[100] = {0};
    keys_chooser_init(&c, k, KEYS_UNIFORM);
    prng_seed(&p, 5);
    for (int i = 0; i < DRAWS; i++)
        seen[keys_draw(&c, &p)]++;
    for (int i = 0; i < 100; i++)
        CHECK(is_near(seen[i], 0.01, DRAWS));
    drop(k);
}

static void sequential_keys_of_two_threads_are_one_sequence(void)
{
    struct keys *k = make(KEYS_SEQUENTIAL, 7);
    struct keys_chooser a, b;
    struct prng p;
    keys_chooser_init(&a, k, KEYS_SEQUENTIAL);
    keys_chooser_init(&b, k, KEYS_SEQUENTIAL);
    prng_seed(&p, 1);
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQ(keys_draw(i % 2 ? &b : &a, &p), i % 7);
    drop(k);
}

static void latest_follows_what_is_added(void)
{
    struct keys *k = make(KEYS_LATEST, KEYS);
    struct keys_chooser c;
    struct prng p;
    keys_chooser_init(&c, k, KEYS_LATEST);
    prng_seed(&p, 9);
    for (uint64_t added = 0; added < 500; added += 100) {
        uint64_t newest = KEYS + added - 1, seen = 0, last_ten = 0;
        double sum = 0, ten = 0;
        for (int i = 0; i < LATEST_DRAWS; i++) {
            uint64_t number = keys_draw(&c, &p);
            REQUIRE(number <= newest);
            seen += number == newest;
            last_ten += number > newest - 10;
        }
        for (uint64_t i = 1; i <= newest + 1; i++) {
            sum += pow((double)i, -0.99);
            ten += i <= 10 ? pow((double)i, -0.99) : 0;
        }
        CHECK(is_near(seen, 1 / sum, LATEST_DRAWS));
        CHECK(is_near(last_ten, ten / sum, LATEST_DRAWS));
        for (int i = 0; i < 100; i++)
            CHECK_EQ(keys_add(k), newest + 1 + (uint64_t)i);
    }
    drop(k);
}

static void check_text(const struct keys *k, uint64_t number, const char *want)
{
    struct buf b;
    buf_init(&b, 4096);
    keys_text(k, number, &b);
    CHECK(strcmp((const char *)b.data, want) == 0);
    buf_release(&b);
}

static void keys_have_a_prefix_and_twelve_digits(void)
{
    struct keys *k = make(KEYS_UNIFORM, KEYS);
    check_text(k, 0, "k-000000000000");
    check_text(k, 1234567, "k-000001234567");
    drop(k);
}

static int load_file(const char *text, size_t len, struct keys *k, struct err *err)
{
    char path[] = "/tmp/bench_keys-XXXXXX";
    int fd = mkstemp(path);
    must(fd >= 0);
    must(write(fd, text, len) == (ssize_t)len);
    close(fd);
    struct keys_options options = {.order = KEYS_SEQUENTIAL, .file = path};
    int code = keys_init(k, &options, err);
    unlink(path);
    return code;
}

static void keys_of_a_file_are_its_lines(void)
{
    struct keys k;
    struct err err;
    REQUIRE(load_file("a b\nc/%\nlast", 12, &k, &err) == 0);
    CHECK_EQ(k.options.count, 3);
    check_text(&k, 0, "a b");
    check_text(&k, 1, "c/%");
    check_text(&k, 2, "last");
    keys_release(&k);
    CHECK_EQ(load_file("a\n\nb\n", 5, &k, &err), ERR_USAGE);
    CHECK(strstr(err.text, "line 2: a key has 1 to 4096 bytes") != NULL);
    keys_release(&k);
    CHECK_EQ(load_file("", 0, &k, &err), ERR_USAGE);
    CHECK(strstr(err.text, "has no key") != NULL);
    keys_release(&k);
    struct keys_options options = {.file = "/nonexistent/keys"};
    CHECK_EQ(keys_init(&k, &options, &err), ERR_USAGE);
    keys_release(&k);
}

static const struct test_case cases[] = {
    {"zipfian_frequencies_fall_as_the_rank", zipfian_frequencies_fall_as_the_rank},
    {"zipf_of_a_number_that_grows_is_that_of_the_new_one",
     zipf_of_a_number_that_grows_is_that_of_the_new_one},
    {"zipfian_keys_are_spread_one_to_one", zipfian_keys_are_spread_one_to_one},
    {"uniform_keys_are_all_as_likely", uniform_keys_are_all_as_likely},
    {"sequential_keys_of_two_threads_are_one_sequence",
     sequential_keys_of_two_threads_are_one_sequence},
    {"latest_follows_what_is_added", latest_follows_what_is_added},
    {"keys_have_a_prefix_and_twelve_digits", keys_have_a_prefix_and_twelve_digits},
    {"keys_of_a_file_are_its_lines", keys_of_a_file_are_its_lines},
};

CASES_MAIN(cases)
