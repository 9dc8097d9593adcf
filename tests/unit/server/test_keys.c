/* The file of keys, and who may do what with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/auth/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* printf %s KEY | sha256sum */
#define SHA_ALPHA "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
#define SHA_BETA  "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"

static char path[] = "/tmp/quern-keys-XXXXXX";

static int set_up(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    if (fd >= 0) close(fd);
    return fd < 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    return 0;
}

static void put_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static qn_keys *open_keys(const char *text)
{
    qn_keys *k = NULL;
    qn_error err = { 0 };

    put_file(text);
    if (qn_keys_open(path, &k, &err) != QN_OK) fail_msg("%s", err.message);
    return k;
}

static char id[QN_KEY_ID_BYTES + 1];
static int32_t retry_s;

static qn_key_result check(qn_keys *k, const char *field, qn_key_scope scope, uint64_t now_us, time_t today)
{
    return qn_keys_check(k, field, field ? strlen(field) : 0, scope, now_us, today, id, &retry_s);
}

static void a_key_does_what_its_scopes_say(void **state)
{
    qn_keys *k = open_keys("# people\n\n  a.b-c_1  sha256:" SHA_ALPHA "  infer # of the shop\nroot sha256:" SHA_BETA " admin,infer\r\n");

    (void)state;
    assert_int_equal(qn_keys_count(k), 2);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1), QN_KEY_ALLOWED);
    assert_string_equal(id, "a.b-c_1");
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_ADMIN, 1, 1), QN_KEY_SCOPE);
    assert_string_equal(id, "a.b-c_1");
    assert_int_equal(check(k, "bearer   beta \t", QN_KEY_ADMIN, 1, 1), QN_KEY_ALLOWED);
    assert_int_equal(check(k, "Bearer beta", QN_KEY_TRAIN, 1, 1), QN_KEY_SCOPE);
    assert_int_equal(check(k, NULL, QN_KEY_INFER, 1, 1), QN_KEY_MISSING);
    assert_string_equal(id, "");
    assert_int_equal(check(k, "", QN_KEY_INFER, 1, 1), QN_KEY_MISSING);
    assert_int_equal(check(k, "Bearer", QN_KEY_INFER, 1, 1), QN_KEY_MISSING);
    assert_int_equal(check(k, "Bearer  ", QN_KEY_INFER, 1, 1), QN_KEY_MISSING);
    assert_int_equal(check(k, "Basic YWxwaGE=", QN_KEY_INFER, 1, 1), QN_KEY_MISSING);
    assert_int_equal(check(k, "Bearer alph", QN_KEY_INFER, 1, 1), QN_KEY_UNKNOWN);
    assert_int_equal(check(k, "Bearer alpha beta", QN_KEY_INFER, 1, 1), QN_KEY_UNKNOWN);
    assert_int_equal(check(k, "Bearer sha256:" SHA_ALPHA, QN_KEY_INFER, 1, 1), QN_KEY_UNKNOWN); /* the file does not let anybody in */
    assert_string_equal(id, "");
    qn_keys_close(k);
}

static void a_rate_is_kept_and_survives_a_reload(void **state)
{
    const char text[] = "a sha256:" SHA_ALPHA " infer rate=2/3\n";
    qn_keys *k = open_keys(text);

    (void)state;
    for (int i = 0; i < 3; i++) assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1000000, 1), QN_KEY_ALLOWED);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1000000, 1), QN_KEY_RATE);
    assert_int_equal(retry_s, 1);
    assert_string_equal(id, "a");
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_ADMIN, 1000000, 1), QN_KEY_SCOPE);   /* which costs nothing */
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1500000, 1), QN_KEY_ALLOWED); /* half a second is one */
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1400000, 1), QN_KEY_RATE);    /* a clock of another thread */
    assert_int_equal(qn_keys_reload(k, NULL), QN_OK);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1500000, 1), QN_KEY_RATE);
    for (int i = 0; i < 3; i++) assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1000000000, 1), QN_KEY_ALLOWED);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1000000000, 1), QN_KEY_RATE); /* the burst is the most there is */
    qn_keys_close(k);
}

static void a_key_expires_on_its_day(void **state)
{
    qn_keys *k = open_keys("a sha256:" SHA_ALPHA " infer expires=2026-03-01\n");

    (void)state;
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1772323199), QN_KEY_ALLOWED); /* date -u -d 2026-02-28T23:59:59 +%s */
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1772323200), QN_KEY_UNKNOWN);
    assert_string_equal(id, "");
    qn_keys_close(k);
}

static void a_bad_file_names_its_line_and_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "a",
        "a sha256:" SHA_ALPHA,
        "a sha256:abc infer",
        "a sha256:" SHA_ALPHA "0 infer",
        "a md5:" SHA_ALPHA " infer",
        "a alpha infer",
        "a sha256:" SHA_ALPHA " root",
        "a sha256:" SHA_ALPHA " infer,",
        "a sha256:" SHA_ALPHA " ,infer",
        "a sha256:" SHA_ALPHA " infer admin",
        "a sha256:" SHA_ALPHA " infer rate=0",
        "a sha256:" SHA_ALPHA " infer rate=1/",
        "a sha256:" SHA_ALPHA " infer rate=1/2/3",
        "a sha256:" SHA_ALPHA " infer rate=-1",
        "a sha256:" SHA_ALPHA " infer rate=12345678901",
        "a sha256:" SHA_ALPHA " infer rate=1 rate=2",
        "a sha256:" SHA_ALPHA " infer expires=2026-02-30",
        "a sha256:" SHA_ALPHA " infer expires=tomorrow",
        "a sha256:" SHA_ALPHA " infer expires=2026-2-3",
        "a/b sha256:" SHA_ALPHA " infer",
        "0123456789012345678901234567890123456789012345678901234567890123x sha256:" SHA_ALPHA " infer",
        "ok sha256:" SHA_BETA " infer",
    };
    qn_keys *k = open_keys("ok sha256:" SHA_ALPHA " infer\n"), *none = NULL;
    qn_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[600];

        snprintf(text, sizeof text, "ok sha256:%s infer\n%s\n", SHA_BETA, bad[i]);
        put_file(text);
        err = (qn_error){ 0 };
        assert_int_equal(qn_keys_reload(k, &err), QN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "line 2"));
        assert_null(strstr(err.message, SHA_ALPHA));
        assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1), QN_KEY_ALLOWED);
        assert_int_equal(qn_keys_open(path, &none, &err), QN_ERR_FORMAT);
        assert_null(none);
    }
    put_file("# nobody\n");
    assert_int_equal(qn_keys_reload(k, &err), QN_ERR_INVALID);
    unlink(path);
    assert_int_equal(qn_keys_reload(k, &err), QN_ERR_NOT_FOUND);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1), QN_KEY_ALLOWED);
    put_file("ok sha256:" SHA_BETA " infer\n");
    assert_int_equal(qn_keys_reload(k, &err), QN_OK);
    assert_int_equal(check(k, "Bearer alpha", QN_KEY_INFER, 1, 1), QN_KEY_UNKNOWN);
    qn_keys_close(k);
}

static void more_keys_than_allowed_are_refused(void **state)
{
    char *text = malloc(200000);
    size_t n = 0;
    qn_keys *k = NULL;
    qn_error err = { 0 };

    (void)state;
    assert_non_null(text);
    for (int i = 0; i <= QN_KEYS_MAX; i++) n += (size_t)snprintf(text + n, 200, "k%d sha256:%s infer\n", i, SHA_BETA);
    put_file(text);
    assert_int_equal(qn_keys_open(path, &k, &err), QN_ERR_LIMIT);
    free(text);
}

static void a_new_key_opens_its_own_line(void **state)
{
    char key[QN_KEY_TEXT_MAX], other[QN_KEY_TEXT_MAX], hex[65], line[200], field[200];
    qn_keys *k;

    (void)state;
    assert_int_equal(qn_key_make(key, hex, NULL), QN_OK);
    snprintf(line, sizeof line, "new sha256:%s train rate=5", hex);
    assert_int_equal(qn_key_check_line(line, NULL), QN_OK);
    k = open_keys(line); /* no newline at the end */
    snprintf(field, sizeof field, "Bearer %s", key);
    assert_int_equal(check(k, field, QN_KEY_TRAIN, 1, 1), QN_KEY_ALLOWED);
    assert_int_equal(strlen(key), 46);
    assert_int_equal(qn_key_make(other, hex, NULL), QN_OK);
    assert_string_not_equal(key, other);
    assert_int_equal(qn_key_check_line("", NULL), QN_ERR_FORMAT);
    assert_int_equal(qn_key_check_line("a sha256:" SHA_ALPHA " infer\nb", NULL), QN_ERR_FORMAT);
    qn_keys_close(k);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_key_does_what_its_scopes_say),     T(a_rate_is_kept_and_survives_a_reload),
        T(a_key_expires_on_its_day),           T(a_bad_file_names_its_line_and_changes_nothing),
        T(more_keys_than_allowed_are_refused), T(a_new_key_opens_its_own_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
