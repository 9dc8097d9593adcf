#include "core/base/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void hex_of(const char *text, size_t step, char out[65])
{
    const size_t len = strlen(text);
    qn_hasher h;
    qn_digest d;

    qn_hasher_init(&h);
    for (size_t at = 0; at < len; at += step) qn_hasher_update(&h, text + at, len - at < step ? len - at : step);
    qn_hasher_update(&h, NULL, 0);
    qn_hasher_finish(&h, &d);
    qn_digest_hex(&d, out);
}

/* FIPS 180-4 examples. */
static void known_texts_have_known_digests(void **state)
{
    static const struct {
        const char *text, *hex;
    } rows[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    };
    char hex[65];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (size_t step = 1; step < 64; step += 9) {
            hex_of(rows[i].text, step, hex);
            assert_string_equal(hex, rows[i].hex);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_texts_have_known_digests) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
