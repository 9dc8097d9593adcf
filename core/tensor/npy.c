/* core/tensor/npy.c - NumPy's .npy files.
 * Source:  NumPy, "NEP 1: a simple file format for NumPy arrays" and numpy.lib.format: versions 1.0 to 3.0.
 *
 *     "\x93NUMPY"  major minor  header length (u16 in 1.0, u32 later, little-endian)
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }        a Python dict literal, spaces, newline
 *     the elements
 *
 * The header is read by a parser that knows only these three keys; nothing is allocated before the size that the header claims
 * has been compared with the size of the file and with the caller's limit. */
#include "core/base/checked.h"
#include "core/tensor/broadcast.h"
#include "core/tensor/shape.h"
#include "core/tensor/storage.h"
#include "core/tensor/strings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are copied as they lie in the file");

enum {
    MAGIC_BYTES = 8, /* with the version */
    MAX_HEADER = 64 * 1024,
    UTF32_BYTES = 4,
};

typedef struct npy_header {
    char kind;    /* 'f', 'i', 'u', 'b', 'S' or 'U' */
    size_t item;  /* bytes of an element in the file */
    bool fortran; /* first dimension fastest */
    int32_t rank;
    int64_t dims[QN_MAX_RANK];
    unsigned seen; /* SEEN_* */
} npy_header;

enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

/* -- the header ----------------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

/* Space, then `ch`. */
static bool accept(cursor *c, char ch)
{
    skip_space(c);
    if (c->at == c->end || *c->at != ch) return false;
    c->at++;
    return true;
}

/* A quoted string without escapes, cut out of the header. */
static bool accept_string(cursor *c, const char **s, size_t *len)
{
    const char *close;

    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    close = memchr(c->at + 1, *c->at, (size_t)(c->end - c->at - 1));
    if (!close) return false;
    *s = c->at + 1;
    *len = (size_t)(close - *s);
    c->at = close + 1;
    return !memchr(*s, '\\', *len);
}

static bool accept_word(cursor *c, const char *word)
{
    const size_t len = strlen(word);

    skip_space(c);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0) return false;
    c->at += len;
    return true;
}

/* Decimal digits, no sign. */
static bool accept_number(cursor *c, int64_t *out)
{
    int64_t v = 0;
    const char *start;

    skip_space(c);
    start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (!qn_i64_mul(v, 10, &v) || !qn_i64_add(v, *c->at - '0', &v)) return false;
    }
    *out = v;
    return c->at > start;
}

static qn_status malformed(const cursor *c, const char *start, const char *expected, qn_error *err)
{
    const int left = (int)(c->end - c->at < 16 ? c->end - c->at : 16);

    return qn_error_set(err, QN_ERR_FORMAT, "npy header: found \"%.*s\" at byte %td, expected %s", left, c->at, c->at - start, expected);
}

static qn_status parse_descr(const char *s, size_t len, npy_header *h, qn_error *err)
{
    cursor c = { s, s + len };
    const char order = len > 0 ? s[0] : '\0';
    int64_t n = 0;

    if (len >= 2) h->kind = s[1];
    c.at += len < 2 ? len : 2;
    if ((order != '<' && order != '>' && order != '|' && order != '=') || !accept_number(&c, &n) || c.at != c.end)
        return qn_error_set(err, QN_ERR_FORMAT, "npy header: descr is \"%.*s\", expected one like \"<f4\"", (int)(len < 32 ? len : 32), s);
    if (!strchr("fiubSU", h->kind) || (order == '>' && (h->kind == 'U' || (h->kind != 'S' && n > 1))))
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "npy dtype \"%.*s\": expected a little-endian number, bool, S or U",
                            (int)(len < 32 ? len : 32), s);
    if (!qn_i64_to_size(n, &h->item) || (h->kind == 'U' && !qn_size_mul(h->item, UTF32_BYTES, &h->item)))
        return qn_error_set(err, QN_ERR_LIMIT, "npy dtype \"%.*s\": element too large", (int)(len < 32 ? len : 32), s);
    return QN_OK;
}

static qn_status parse_shape(cursor *c, const char *start, npy_header *h, qn_error *err)
{
    bool comma = false;

    if (!accept(c, '(')) return malformed(c, start, "a tuple", err);
    while (!accept(c, ')')) {
        if (h->rank > 0 && !comma) return malformed(c, start, "',' or ')'", err);
        if (h->rank == QN_MAX_RANK) return qn_error_set(err, QN_ERR_LIMIT, "npy shape has more than %d dimensions", QN_MAX_RANK);
        if (!accept_number(c, &h->dims[h->rank])) return malformed(c, start, "a dimension below 2^63", err);
        h->rank++;
        comma = accept(c, ',');
    }
    if (h->rank == 1 && !comma) return malformed(c, start, "a tuple, (n,)", err); /* (n) is a number in brackets */
    return QN_OK;
}

static qn_status parse_entry(cursor *c, const char *start, npy_header *h, qn_error *err)
{
    const char *key, *s;
    size_t key_len, len;
    unsigned bit;

    if (!accept_string(c, &key, &key_len) || !accept(c, ':')) return malformed(c, start, "a quoted key and ':'", err);
    if (key_len == 5 && memcmp(key, "descr", 5) == 0) {
        bit = SEEN_DESCR;
    } else if (key_len == 13 && memcmp(key, "fortran_order", 13) == 0) {
        bit = SEEN_ORDER;
    } else if (key_len == 5 && memcmp(key, "shape", 5) == 0) {
        bit = SEEN_SHAPE;
    } else {
        return qn_error_set(err, QN_ERR_FORMAT, "npy header: key \"%.*s\", expected descr, fortran_order or shape",
                            (int)(key_len < 32 ? key_len : 32), key);
    }
    if (h->seen & bit) return qn_error_set(err, QN_ERR_FORMAT, "npy header: key \"%.*s\" comes twice", (int)key_len, key);
    h->seen |= bit;
    if (bit == SEEN_SHAPE) return parse_shape(c, start, h, err);
    if (bit == SEEN_ORDER) {
        h->fortran = accept_word(c, "True");
        return h->fortran || accept_word(c, "False") ? QN_OK : malformed(c, start, "True or False", err);
    }
    if (accept(c, '[')) return qn_error_set(err, QN_ERR_UNSUPPORTED, "npy dtype has fields, expected a plain one like \"<f4\"");
    return accept_string(c, &s, &len) ? parse_descr(s, len, h, err) : malformed(c, start, "a quoted dtype", err);
}

static qn_status parse_header(const char *text, size_t len, npy_header *h, qn_error *err)
{
    cursor c = { text, text + len };
    bool comma = true;
    qn_status st;

    *h = (npy_header){ 0 };
    if (!accept(&c, '{')) return malformed(&c, text, "'{'", err);
    while (!accept(&c, '}')) {
        if (!comma) return malformed(&c, text, "',' or '}'", err);
        st = parse_entry(&c, text, h, err);
        if (st) return st;
        comma = accept(&c, ',');
    }
    skip_space(&c);
    if (c.at != c.end) return malformed(&c, text, "the end of the header", err);
    if (h->seen != SEEN_ALL) return qn_error_set(err, QN_ERR_FORMAT, "npy header: expected descr, fortran_order and shape, one is missing");
    return QN_OK;
}

/* QN_DTYPE_NONE if Quern has none. */
static qn_dtype dtype_of(const npy_header *h)
{
    switch (h->kind) {
    case 'f': return h->item == 2 ? QN_F16 : h->item == 4 ? QN_F32 : h->item == 8 ? QN_F64 : QN_DTYPE_NONE;
    case 'i': return h->item == 1 ? QN_I8 : h->item == 2 ? QN_I16 : h->item == 4 ? QN_I32 : h->item == 8 ? QN_I64 : QN_DTYPE_NONE;
    case 'u': return h->item == 1 ? QN_U8 : h->item == 2 ? QN_U16 : h->item == 4 ? QN_U32 : h->item == 8 ? QN_U64 : QN_DTYPE_NONE;
    case 'b': return h->item == 1 ? QN_BOOL : QN_DTYPE_NONE;
    case 'S':
    case 'U': return QN_STRING;
    default: return QN_DTYPE_NONE;
    }
}

/* -- reading -------------------------------------------------------------------------------------------------------------- */

static qn_status read_all(int fd, void *dst, size_t n, qn_error *err)
{
    char *p = dst;

    while (n > 0) {
        const ssize_t got = read(fd, p, n);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return qn_error_set(err, QN_ERR_IO, "npy read: %s", strerrordesc_np(errno));
        if (got == 0) return qn_error_set(err, QN_ERR_FORMAT, "npy file ends %zu bytes early", n);
        p += got;
        n -= (size_t)got;
    }
    return QN_OK;
}

/* Magic, version and header; *left is what remains of file_bytes. */
static qn_status read_header(int fd, uint64_t file_bytes, npy_header *h, uint64_t *left, qn_error *err)
{
    unsigned char start[MAGIC_BYTES + 4] = { 0 };
    char *text = NULL;
    size_t n_len, len;
    qn_status st;

    if (file_bytes < sizeof start) return qn_error_set(err, QN_ERR_FORMAT, "npy file of %" PRIu64 " bytes is too short", file_bytes);
    st = read_all(fd, start, MAGIC_BYTES, err);
    if (st) return st;
    if (memcmp(start, "\x93NUMPY", 6) != 0) return qn_error_set(err, QN_ERR_FORMAT, "not an npy file: it does not begin with \\x93NUMPY");
    if (start[6] < 1 || start[6] > 3 || start[7] != 0)
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "npy version %d.%d, expected 1.0 to 3.0", start[6], start[7]);
    n_len = start[6] == 1 ? 2 : 4;
    st = read_all(fd, start + MAGIC_BYTES, n_len, err);
    if (st) return st;
    len = (size_t)start[8] | (size_t)start[9] << 8 | (size_t)start[10] << 16 | (size_t)start[11] << 24;
    if (len > MAX_HEADER) return qn_error_set(err, QN_ERR_LIMIT, "npy header of %zu bytes, expected at most %d", len, MAX_HEADER);
    if (len > file_bytes - MAGIC_BYTES - n_len)
        return qn_error_set(err, QN_ERR_FORMAT, "npy header of %zu bytes in a file of %" PRIu64, len, file_bytes);
    text = malloc(len + 1);
    if (!text) return qn_error_set(err, QN_ERR_NOMEM, "npy header of %zu bytes", len);
    st = read_all(fd, text, len, err);
    if (!st) st = parse_header(text, len, h, err);
    *left = file_bytes - MAGIC_BYTES - n_len - len;
    free(text);
    return st;
}

/* Shape, dtype and sizes against the file and the limit; nothing is allocated yet. *bytes: of the elements in the file. */
static qn_status check_sizes(const npy_header *h, uint64_t left, size_t max_bytes, size_t *bytes, qn_error *err)
{
    const qn_dtype dtype = dtype_of(h);
    int64_t count;
    size_t n, held;
    qn_status st;

    if (dtype == QN_DTYPE_NONE) return qn_error_set(err, QN_ERR_UNSUPPORTED, "npy dtype of kind '%c' with %zu bytes", h->kind, h->item);
    st = qn_shape_count(h->rank, h->dims, &count, err);
    if (st) return st;
    if (!qn_i64_to_size(count, &n) || !qn_size_mul(n, h->item, bytes))
        return qn_error_set(err, QN_ERR_LIMIT, "npy data of %" PRId64 " elements of %zu bytes", count, h->item);
    held = *bytes;
    /* Text never grows on the way: UTF-8 takes at most the four bytes of UTF-32. */
    if (dtype == QN_STRING && !qn_strings_bytes(count, *bytes, &held))
        return qn_error_set(err, QN_ERR_LIMIT, "npy data of %" PRId64 " strings of %zu bytes", count, h->item);
    if (held > max_bytes) return qn_error_set(err, QN_ERR_LIMIT, "npy data of %zu bytes, expected at most %zu", held, max_bytes);
    if (*bytes != left)
        return qn_error_set(err, QN_ERR_FORMAT, "npy data: shape and dtype need %zu bytes, the file has %" PRIu64, *bytes, left);
    return QN_OK;
}

/* Strides, in elements of h->item bytes, of the file's order seen in row-major order. */
static void file_strides(const npy_header *h, int64_t *strides)
{
    int64_t step = 1;

    if (!h->fortran) {
        qn_shape_strides(h->rank, h->dims, strides);
        return;
    }
    for (int32_t i = 0; i < h->rank; i++) {
        strides[i] = step;
        if (h->dims[i] > 0) step *= h->dims[i];
    }
}

/* Walks the file's elements in row-major order. */
typedef struct element_walk {
    qn_odometer o;
    int64_t i; /* in the inner loop */
} element_walk;

static void walk_init(element_walk *w, const npy_header *h)
{
    int64_t strides[1][QN_MAX_RANK] = { { 0 } };

    file_strides(h, strides[0]);
    qn_odometer_init(&w->o, 1, h->rank, h->dims, strides);
    w->i = 0;
}

static const unsigned char *walk_next(element_walk *w, const unsigned char *raw, size_t item)
{
    const unsigned char *p = raw + (size_t)(w->o.at[0] + w->i * w->o.step[0]) * item;

    if (++w->i == w->o.n_inner) {
        w->i = 0;
        qn_odometer_next(&w->o);
    }
    return p;
}

/* One S element -> dst (NULL: only count). Padding NULs at the end are not part of it. */
static size_t bytes_element(const unsigned char *src, size_t item, char *dst)
{
    while (item > 0 && src[item - 1] == 0) item--;
    if (dst && item) memcpy(dst, src, item);
    return item;
}

static size_t put_utf8(uint32_t cp, char *dst)
{
    const size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = n; dst && i-- > 1; cp >>= 6) dst[i] = (char)(0x80 | (cp & 0x3f));
    if (dst) dst[0] = (char)(lead[n] | cp);
    return n;
}

/* One U element, UTF-32, -> UTF-8; false if it holds something that is no character. */
static bool utf32_element(const unsigned char *src, size_t item, char *dst, size_t *len)
{
    size_t n = item / UTF32_BYTES;
    uint32_t cp;

    *len = 0;
    for (; n > 0; n--) {
        memcpy(&cp, src + (n - 1) * UTF32_BYTES, sizeof cp);
        if (cp) break;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(&cp, src + i * UTF32_BYTES, sizeof cp);
        if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) return false;
        *len += put_utf8(cp, dst ? dst + *len : NULL);
    }
    return true;
}

static bool string_element(const npy_header *h, const unsigned char *src, char *dst, size_t *len)
{
    if (h->kind == 'U') return utf32_element(src, h->item, dst, len);
    *len = bytes_element(src, h->item, dst);
    return true;
}

/* raw [count][item] -> QN_STRING: once over the elements to measure, once to copy. */
static qn_status build_strings(const npy_header *h, const unsigned char *raw, qn_tensor *out, qn_error *err)
{
    element_walk w;
    int64_t count;
    size_t total = 0, len;
    uint64_t *off;
    qn_status st;

    st = qn_shape_count(h->rank, h->dims, &count, err);
    if (st) return st;
    walk_init(&w, h);
    for (int64_t i = 0; i < count; i++) {
        if (!string_element(h, walk_next(&w, raw, h->item), NULL, &len))
            return qn_error_set(err, QN_ERR_FORMAT, "npy string %" PRId64 " holds a number that is no Unicode character", i);
        total += len; /* at most the checked size of raw */
    }
    st = qn_strings_alloc(h->rank, h->dims, total, out, err);
    if (st) return st;
    off = qn_strings_offsets(out);
    walk_init(&w, h);
    for (int64_t i = 0; i < count; i++) {
        string_element(h, walk_next(&w, raw, h->item), qn_strings_blob(out) + off[i], &len);
        off[i + 1] = off[i] + len;
    }
    return QN_OK;
}

static void reorder(const npy_header *h, const unsigned char *raw, unsigned char *dst, int64_t count)
{
    element_walk w;

    walk_init(&w, h);
    for (int64_t i = 0; i < count; i++, dst += h->item) memcpy(dst, walk_next(&w, raw, h->item), h->item);
}

/* numpy writes 0 and 1 only, and C code that reads a bool may count on it. */
static qn_status check_bools(const qn_tensor *t, qn_error *err)
{
    const unsigned char *p = t->data;

    for (size_t i = 0; t->dtype == QN_BOOL && i < t->bytes; i++) {
        if (p[i] > 1) return qn_error_set(err, QN_ERR_FORMAT, "npy bool %zu is %d, expected 0 or 1", i, p[i]);
    }
    return QN_OK;
}

static qn_status read_data(int fd, const npy_header *h, size_t bytes, qn_tensor *out, qn_error *err)
{
    const bool direct = !h->fortran && h->kind != 'S' && h->kind != 'U';
    qn_tensor raw = { 0 };
    qn_status st;

    if (direct) {
        st = qn_tensor_storage(dtype_of(h), h->rank, h->dims, bytes, out, err);
        if (!st) st = read_all(fd, out->data, bytes, err);
    } else {
        st = qn_tensor_storage(QN_U8, 0, NULL, bytes, &raw, err);
        if (!st) st = read_all(fd, raw.data, bytes, err);
        if (st) {
            qn_tensor_free(&raw);
            return st;
        }
        if (h->kind == 'S' || h->kind == 'U') {
            /* Elements of no bytes have no storage: any address does for them. */
            st = build_strings(h, raw.data ? raw.data : (const unsigned char *)"", out, err);
        } else {
            st = qn_tensor_alloc(dtype_of(h), h->rank, h->dims, out, err);
            if (!st) reorder(h, raw.data, out->data, qn_tensor_count(out));
        }
    }
    if (!st) st = check_bools(out, err);
    qn_tensor_free(&raw);
    return st;
}

static qn_status open_regular(const char *path, int flags, int *fd, uint64_t *bytes, qn_error *err)
{
    struct stat sb;

    /* O_NONBLOCK: opening a FIFO must not wait for its other end. */
    *fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (*fd < 0) return qn_error_set(err, errno == ENOENT ? QN_ERR_NOT_FOUND : QN_ERR_IO, "npy open: %s", strerrordesc_np(errno));
    if (fstat(*fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        close(*fd);
        *fd = -1;
        return qn_error_set(err, QN_ERR_IO, "npy open: not a regular file");
    }
    *bytes = (uint64_t)sb.st_size;
    return QN_OK;
}

qn_status qn_npy_read(const char *path, size_t max_bytes, qn_tensor *out, qn_error *err)
{
    npy_header h;
    uint64_t file_bytes = 0, left = 0;
    size_t bytes = 0;
    int fd = -1;
    qn_status st;

    *out = (qn_tensor){ 0 };
    st = open_regular(path, O_RDONLY, &fd, &file_bytes, err);
    if (!st) st = read_header(fd, file_bytes, &h, &left, err);
    if (!st) st = check_sizes(&h, left, max_bytes, &bytes, err);
    if (!st) st = read_data(fd, &h, bytes, out, err);
    if (st) qn_tensor_free(out);
    if (fd >= 0) close(fd);
    return st;
}

/* -- writing -------------------------------------------------------------------------------------------------------------- */

static qn_status write_all(int fd, const void *src, size_t n, qn_error *err)
{
    const char *p = src;

    while (n > 0) {
        const ssize_t put = write(fd, p, n);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return qn_error_set(err, QN_ERR_IO, "npy write: %s", strerrordesc_np(errno));
        p += put;
        n -= (size_t)put;
    }
    return QN_OK;
}

static qn_status write_header(int fd, const char *descr, const qn_tensor *t, qn_error *err)
{
    enum { UNIT = 64 }; /* NumPy begins the data at a multiple of 64 */
    char text[512], shape[256];
    size_t at = 0, total;

    for (int32_t i = 0; i < t->rank; i++) {
        const char *before = i ? ", " : "", *after = t->rank == 1 ? "," : "";

        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRId64 "%s", before, t->dims[i], after); /* 8 * 21 < 256 */
    }
    shape[at] = '\0';
    memset(text, ' ', sizeof text);
    at = MAGIC_BYTES + 2;
    at += (size_t)snprintf(text + at, sizeof text - at, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    text[at] = ' ';
    total = (at + 1 + UNIT - 1) / UNIT * UNIT;
    text[total - 1] = '\n';
    memcpy(text, "\x93NUMPY\x01\x00", MAGIC_BYTES);
    text[8] = (char)((total - MAGIC_BYTES - 2) & 0xff);
    text[9] = (char)((total - MAGIC_BYTES - 2) >> 8);
    return write_all(fd, text, total, err);
}

static const char *descr_of(qn_dtype dtype)
{
    switch (dtype) {
    case QN_F32: return "<f4";
    case QN_F64: return "<f8";
    case QN_F16: return "<f2";
    case QN_BF16: return "<u2";
    case QN_I4:
    case QN_I8: return "|i1";
    case QN_I16: return "<i2";
    case QN_I32: return "<i4";
    case QN_I64: return "<i8";
    case QN_U4:
    case QN_U8: return "|u1";
    case QN_U16: return "<u2";
    case QN_U32: return "<u4";
    case QN_U64: return "<u8";
    case QN_BOOL: return "|b1";
    default: return NULL;
    }
}

/* Elements padded with NULs to the longest, many to a write. */
static qn_status write_strings(int fd, const qn_tensor *t, qn_error *err)
{
    const int64_t count = qn_tensor_count(t);
    size_t longest = 1, len, rows, fill = 0, bytes; /* NumPy has no S0 */
    char descr[32];
    char *row = NULL;
    qn_status st;

    for (int64_t i = 0; i < count; i++) {
        qn_strings_get(t, i, &len);
        if (len > longest) longest = len;
    }
    snprintf(descr, sizeof descr, "|S%zu", longest);
    st = write_header(fd, descr, t, err);
    rows = longest < 65536 ? 65536 / longest : 1;
    if (!qn_size_mul(rows, longest, &bytes)) return qn_error_set(err, QN_ERR_LIMIT, "npy string of %zu bytes", longest);
    row = calloc(rows, longest);
    if (!st && !row) st = qn_error_set(err, QN_ERR_NOMEM, "npy strings of %zu bytes", longest);
    for (int64_t i = 0; i < count && !st; i++) {
        const char *s = qn_strings_get(t, i, &len);

        if (len) memcpy(row + fill * longest, s, len);
        if (++fill == rows || i == count - 1) {
            st = write_all(fd, row, fill * longest, err);
            memset(row, 0, bytes);
            fill = 0;
        }
    }
    free(row);
    return st;
}

static qn_status check_writable(const qn_tensor *t, qn_error *err)
{
    size_t bytes;
    qn_status st;

    if (t->dtype == QN_STRING) return qn_strings_check(t, err);
    st = qn_shape_bytes(t->dtype, t->rank, t->dims, &bytes, err);
    if (!st && bytes != t->bytes) st = qn_error_set(err, QN_ERR_INVALID, "tensor has %zu bytes, its shape needs %zu", t->bytes, bytes);
    return st;
}

qn_status qn_npy_write(const char *path, const qn_tensor *t, qn_error *err)
{
    uint64_t bytes;
    int fd = -1;
    qn_status st;

    st = check_writable(t, err);
    if (!st) st = open_regular(path, O_WRONLY | O_CREAT, &fd, &bytes, err);
    if (st) return st;
    if (ftruncate(fd, 0) != 0) {
        st = qn_error_set(err, QN_ERR_IO, "npy write: %s", strerrordesc_np(errno));
    } else if (t->dtype == QN_STRING) {
        st = write_strings(fd, t, err);
    } else {
        st = write_header(fd, descr_of(t->dtype), t, err);
        if (!st) st = write_all(fd, t->data, t->bytes, err);
    }
    if (close(fd) != 0 && !st) st = qn_error_set(err, QN_ERR_IO, "npy close: %s", strerrordesc_np(errno));
    if (st) unlink(path); /* half a file would look like a whole one to the next reader of the folder */
    return st;
}
