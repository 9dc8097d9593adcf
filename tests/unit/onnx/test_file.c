/* Opening and unpacking: what is let in, what is not, and what a bomb costs. */
#include "core/onnx/file.h"
#include "core/onnx/spool.h"

#include "pb_build.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static char root[] = "/tmp/quern-test-file-XXXXXX";
static int dir;

static void put(const char *name, const void *data, size_t n)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), (ssize_t)n);
    close(fd);
}

static qn_status try_open(const char *name, unsigned flags, uint64_t max, qn_source **src, qn_file_info *info, qn_error *err)
{
    *err = (qn_error){ 0 };
    return qn_file_open(dir, name, flags, max, src, info, err);
}

static void a_plain_file_is_read_anywhere_and_hashed(void **state)
{
    qn_source *src;
    qn_file_info info;
    qn_error err;
    char buf[8] = { 0 }, hex[65];

    (void)state;
    put("abc", "abc", 3);
    assert_int_equal(try_open("abc", QN_FILE_DIGEST | QN_FILE_ZSTD, 3, &src, &info, &err), QN_OK);
    assert_true(info.bytes == 3 && info.stored_bytes == 3 && !info.compressed);
    qn_digest_hex(&info.digest, hex); /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(src->read(src, 1, buf, 2, &err), QN_OK);
    assert_string_equal(buf, "bc");
    assert_int_equal(src->read(src, 2, buf, 2, &err), QN_ERR_FORMAT);
    assert_int_equal(src->read(src, UINT64_MAX, buf, 2, &err), QN_ERR_FORMAT);
    assert_int_equal(src->read(src, 3, buf, 0, &err), QN_OK);
    src->unref(src);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    qn_source *src;
    qn_file_info info;
    qn_error err;

    (void)state;
    put("abc", "abc", 3);
    assert_int_equal(try_open("abc", 0, 2, &src, &info, &err), QN_ERR_LIMIT);
    assert_null(src);
}

static void a_file_that_changes_while_it_is_read_is_refused(void **state)
{
    static const char *const how[] = { "truncated", "appended", "overwritten" };
    qn_source *src;
    qn_file_info info;
    qn_error err;
    char buf[4096] = { 0 };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct timespec later[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
        int fd;

        put("changing", buf, sizeof buf);
        assert_int_equal(try_open("changing", 0, 1 << 20, &src, &info, &err), QN_OK);
        assert_int_equal(src->read(src, 0, buf, 100, &err), QN_OK);
        fd = openat(dir, "changing", O_RDWR | O_CLOEXEC);
        if (i == 0) assert_int_equal(ftruncate(fd, 50), 0);
        if (i == 1) assert_int_equal(pwrite(fd, "x", 1, 4096), 1);
        if (i == 2) assert_int_equal(pwrite(fd, "x", 1, 7), 1);
        if (i == 2) assert_int_equal(futimens(fd, later), 0); /* the clock of a file system may be coarse */
        close(fd);
        if (src->read(src, 0, buf, 100, &err) != QN_ERR_FORMAT) fail_msg("%s was not seen", how[i]);
        assert_non_null(strstr(err.message, "changed while it was read"));
        src->unref(src);
    }
}

static void paths_out_of_the_folder_and_special_files_are_refused(void **state)
{
    static const struct {
        const char *name;
        qn_status want;
    } cases[] = {
        { "", QN_ERR_INVALID },
        { "..", QN_ERR_INVALID },
        { "../secret", QN_ERR_INVALID },
        { "sub/../../secret", QN_ERR_INVALID },
        { "sub/../inside", QN_ERR_INVALID },
        { "./../secret", QN_ERR_INVALID },
        { "sub/..//../secret", QN_ERR_INVALID },
        { "/etc/passwd", QN_ERR_INVALID },
        { "//etc/passwd", QN_ERR_INVALID },
        { "/proc/self/environ", QN_ERR_INVALID },
        { "link-to-file", QN_ERR_INVALID },
        { "link-out", QN_ERR_INVALID },
        { "link-to-dir/inside", QN_ERR_INVALID },
        { "link-to-proc/self/environ", QN_ERR_INVALID },
        { "dangling", QN_ERR_INVALID },
        { "loop", QN_ERR_INVALID },
        { "hard", QN_ERR_INVALID },
        { "sub", QN_ERR_INVALID },
        { ".", QN_ERR_INVALID },
        { "sub/", QN_ERR_INVALID },
        { "fifo", QN_ERR_INVALID },
        { "inside/", QN_ERR_NOT_FOUND },
        { "inside/x", QN_ERR_NOT_FOUND },
        { "missing", QN_ERR_NOT_FOUND },
        { "..\\secret", QN_ERR_NOT_FOUND },
        { "%2e%2e/secret", QN_ERR_NOT_FOUND },
    };
    char *longer;
    qn_source *src;
    qn_file_info info;
    qn_error err;

    (void)state;
    assert_int_equal(mkdirat(dir, "sub", 0700), 0);
    put("inside", "in", 2);
    put("sub/inside", "in", 2);
    put("first-name", "in", 2);
    assert_int_equal(linkat(dir, "first-name", dir, "hard", 0), 0);
    assert_int_equal(symlinkat("inside", dir, "link-to-file"), 0);
    assert_int_equal(symlinkat("/etc/passwd", dir, "link-out"), 0);
    assert_int_equal(symlinkat("sub", dir, "link-to-dir"), 0);
    assert_int_equal(symlinkat("/proc", dir, "link-to-proc"), 0);
    assert_int_equal(symlinkat("nowhere", dir, "dangling"), 0);
    assert_int_equal(symlinkat("loop", dir, "loop"), 0);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_status st = try_open(cases[i].name, QN_FILE_ZSTD | QN_FILE_DIGEST, 1 << 20, &src, &info, &err);

        if (st != cases[i].want) fail_msg("'%s' gave %d (%s), expected %d", cases[i].name, st, err.message, cases[i].want);
        assert_null(src);
        assert_null(strstr(err.message, root));
    }
    longer = malloc(5001);
    assert_non_null(longer);
    memset(longer, 'a', 5000);
    longer[5000] = 0;
    assert_int_equal(try_open(longer, 0, 1 << 20, &src, &info, &err), QN_ERR_INVALID);
    free(longer);
    assert_int_equal(try_open("sub/inside", 0, 1 << 20, &src, &info, &err), QN_OK);
    src->unref(src);
    assert_int_equal(try_open("./sub//inside", 0, 1 << 20, &src, &info, &err), QN_OK);
    src->unref(src);
}

static void a_path_that_a_user_types_may_be_a_link_but_no_fifo(void **state)
{
    qn_source *src;
    qn_file_info info;
    qn_error err = { 0 };
    char path[96];

    (void)state;
    put("typed", "abc", 3);
    assert_int_equal(symlinkat("typed", dir, "typed-link"), 0);
    assert_int_equal(mkfifoat(dir, "typed-fifo", 0600), 0);
    snprintf(path, sizeof path, "%s/typed-link", root);
    assert_int_equal(qn_file_open(AT_FDCWD, path, 0, 100, &src, &info, &err), QN_OK);
    src->unref(src);
    assert_int_equal(qn_file_open(AT_FDCWD, path, QN_FILE_BENEATH, 100, &src, &info, &err), QN_ERR_INVALID);
    snprintf(path, sizeof path, "%s/typed-fifo", root);
    assert_int_equal(qn_file_open(AT_FDCWD, path, 0, 100, &src, &info, &err), QN_ERR_INVALID);
    assert_int_equal(qn_file_open(AT_FDCWD, root, 0, 100, &src, &info, &err), QN_ERR_INVALID);
}

static void the_folder_of_a_file_is_found(void **state)
{
    int fd;
    qn_error err;
    char path[96];
    struct stat a, b;

    (void)state;
    snprintf(path, sizeof path, "%s/whatever.onnx", root);
    assert_int_equal(qn_file_open_folder(AT_FDCWD, path, 0, &fd, &err), QN_OK);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat(root, &b), 0);
    assert_true(a.st_ino == b.st_ino);
    close(fd);
    assert_int_equal(qn_file_open_folder(AT_FDCWD, "/x", 0, &fd, &err), QN_OK);
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat("/", &b), 0);
    assert_true(a.st_ino == b.st_ino);
    close(fd);
    assert_int_equal(qn_file_open_folder(dir, "x", 0, &fd, &err), QN_OK);
    close(fd);
    assert_int_equal(qn_file_open_folder(dir, "../x/y", 0, &fd, &err), QN_ERR_INVALID);
}

/* -- zstd ----------------------------------------------------------------------------------------------------------------- */

static pb squeeze(const void *data, size_t n, int level)
{
    pb out = { 0 };
    size_t cap = ZSTD_compressBound(n), got;

    out.data = malloc(cap);
    assert_non_null(out.data);
    got = ZSTD_compress(out.data, cap, data, n, level);
    assert_false(ZSTD_isError(got));
    out.len = out.cap = got;
    return out;
}

static void zstd_is_known_by_name_or_by_bytes_and_read_anywhere(void **state)
{
    const size_t n = 3 * QN_SPOOL_CHUNK + 12345;
    unsigned char *data = malloc(n), *back = malloc(n);
    qn_source *src;
    qn_file_info info;
    qn_error err;
    pb z;

    (void)state;
    assert_non_null(data);
    assert_non_null(back);
    for (size_t i = 0; i < n; i++) data[i] = (unsigned char)(i * 7 ^ i >> 11);
    z = squeeze(data, n / 2, 3);
    {
        pb second = squeeze(data + n / 2, n - n / 2, 3); /* frames may follow each other */

        pb_raw(&z, second.data, second.len);
        pb_free(&second);
    }
    put("model.onnx.zst", z.data, z.len);
    put("model.onnx", z.data, z.len);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(try_open(i ? "model.onnx" : "model.onnx.zst", QN_FILE_ZSTD, n, &src, &info, &err), QN_OK);
        assert_true(info.compressed && info.bytes == n && info.stored_bytes == z.len);
        assert_int_equal(src->read(src, 0, back, n, &err), QN_OK);
        assert_memory_equal(back, data, n);
        assert_int_equal(src->read(src, QN_SPOOL_CHUNK - 1, back, 2, &err), QN_OK); /* across two chunks */
        assert_memory_equal(back, data + QN_SPOOL_CHUNK - 1, 2);
        assert_int_equal(src->read(src, n - 1, back, 2, &err), QN_ERR_FORMAT);
        src->unref(src);
    }
    assert_int_equal(try_open("model.onnx", QN_FILE_ZSTD, n - 1, &src, &info, &err), QN_ERR_LIMIT); /* one byte too many */
    assert_int_equal(try_open("model.onnx", 0, n, &src, &info, &err), QN_OK);                       /* not asked to look inside */
    assert_false(info.compressed);
    src->unref(src);
    pb_free(&z);
    free(data);
    free(back);
}

static void a_cut_or_broken_zstd_is_a_format_error(void **state)
{
    unsigned char data[5000];
    qn_source *src;
    qn_file_info info;
    qn_error err;
    pb z;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * i >> 3);
    z = squeeze(data, sizeof data, 3);
    for (size_t n = 0; n < z.len; n += n < 40 ? 1 : 37) {
        put("cut.zst", z.data, n);
        assert_int_equal(try_open("cut.zst", QN_FILE_ZSTD | QN_FILE_DIGEST, 1 << 20, &src, &info, &err), QN_ERR_FORMAT);
        assert_null(src);
    }
    put("not.zst", "this is no zstd frame", 21);
    assert_int_equal(try_open("not.zst", QN_FILE_ZSTD, 1 << 20, &src, &info, &err), QN_ERR_FORMAT);
    pb_raw(&z, "tail", 4); /* neither a frame nor nothing */
    put("tail.zst", z.data, z.len);
    assert_int_equal(try_open("tail.zst", QN_FILE_ZSTD, 1 << 20, &src, &info, &err), QN_ERR_FORMAT);
    pb_free(&z);
}

static long peak_kib(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void a_bomb_costs_no_more_than_the_limit(void **state)
{
    const size_t part = 16 << 20; /* zeros, thousandfold smaller */
    unsigned char *zeros = calloc(1, part);
    qn_source *src;
    qn_file_info info;
    qn_error err;
    long before;
    pb z, bomb = { 0 };

    (void)state;
    assert_non_null(zeros);
    z = squeeze(zeros, part, 3);
    free(zeros);
    for (int i = 0; i < 64; i++) pb_raw(&bomb, z.data, z.len); /* 1 GiB */
    put("bomb.zst", bomb.data, bomb.len);
    before = peak_kib();
    assert_int_equal(try_open("bomb.zst", QN_FILE_ZSTD, 8 << 20, &src, &info, &err), QN_ERR_LIMIT);
    assert_null(src);
    assert_true(peak_kib() - before < 64 << 10);
    pb_free(&bomb);
    pb_free(&z);
}

static void a_frame_that_asks_for_a_huge_window_is_refused(void **state)
{
    /* magic, no single segment, window 2^41, then an empty last block */
    static const unsigned char huge[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00 };
    qn_source *src;
    qn_file_info info;
    qn_error err;

    (void)state;
    put("window.zst", huge, sizeof huge);
    assert_int_equal(try_open("window.zst", QN_FILE_ZSTD, 8ull << 30, &src, &info, &err), QN_ERR_FORMAT);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(root)) return -1;
    dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "abc",          "changing", "sub/inside",  "inside",       "first-name", "hard",
                                         "link-to-file", "link-out", "link-to-dir", "link-to-proc", "dangling",   "loop",
                                         "fifo",         "typed",    "typed-link",  "typed-fifo",   "model.onnx", "model.onnx.zst",
                                         "cut.zst",      "not.zst",  "tail.zst",    "bomb.zst",     "window.zst" };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlinkat(dir, names[i], 0);
    unlinkat(dir, "sub", AT_REMOVEDIR);
    close(dir);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_file_is_read_anywhere_and_hashed),
        cmocka_unit_test(a_file_over_the_limit_is_refused),
        cmocka_unit_test(a_file_that_changes_while_it_is_read_is_refused),
        cmocka_unit_test(paths_out_of_the_folder_and_special_files_are_refused),
        cmocka_unit_test(a_path_that_a_user_types_may_be_a_link_but_no_fifo),
        cmocka_unit_test(the_folder_of_a_file_is_found),
        cmocka_unit_test(zstd_is_known_by_name_or_by_bytes_and_read_anywhere),
        cmocka_unit_test(a_cut_or_broken_zstd_is_a_format_error),
        cmocka_unit_test(a_bomb_costs_no_more_than_the_limit),
        cmocka_unit_test(a_frame_that_asks_for_a_huge_window_is_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
