/* server/routes/upload.c - PUT /v2/repository/models/{model}/versions/{version}: a model file becomes a version.
 *
 * The body streams into a staged folder that no lookup and no scan can see; its SHA-256 is made on the way. At the end the registry's loader
 * loads, warms and asks it, fsyncs it and renames it into its place: the version is there whole, or not at all.
 * Digest   Content-Digest or Repr-Digest with sha-256 (RFC 9530), or X-Checksum-Sha256 in hex. Without one the reply's sha256 can be compared.
 * Threads  everything but on_done() runs on the connection's HTTP thread. */
#include "server/routes/routes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PART_NAME "part"

typedef struct upload {
    char staged[QN_STAGED_NAME];
    int folder_fd, fd;
    bool handed_over; /* the loader removes the folder */
    uint64_t bytes;
    uint8_t first[4];
    struct sha256_ctx hash;
    uint8_t wanted[SHA256_DIGEST_SIZE];
    bool has_wanted;
    char hex[2 * SHA256_DIGEST_SIZE + 1];
} upload;

static upload *upload_of(const qn_exchange *x) { return qn_visit_of(x)->state; }

/* The operating system's refusal: a full disk is not the request's fault and not a bug. */
static void refuse_io(qn_exchange *x, const char *what)
{
    const int status = errno == ENOSPC || errno == EDQUOT ? 507 : 503;

    qn_exchange_error(x, status, "%s: %s", what, strerror(errno));
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const qn_http_field *f, upload *u)
{
    if (f->value_len != 2 * sizeof u->wanted) return false;
    for (size_t i = 0; i < sizeof u->wanted; i++) {
        int hi = hex_digit(f->value[2 * i]), lo = hex_digit(f->value[2 * i + 1]);

        if (hi < 0 || lo < 0) return false;
        u->wanted[i] = (uint8_t)(hi * 16 + lo);
    }
    u->has_wanted = true;
    return true;
}

/* "sha-256=:BASE64:" anywhere in a list of digests; others are passed over. */
static bool take_digest(const qn_http_field *f, upload *u)
{
    static const char key[] = "sha-256=:";
    const size_t n_key = sizeof key - 1, n_text = 44;
    uint8_t out[BASE64_DECODE_LENGTH(44)];
    struct base64_decode_ctx ctx;
    size_t n = 0;

    for (size_t at = 0; at + n_key <= f->value_len; at++) {
        if (strncasecmp(f->value + at, key, n_key) != 0 || (at > 0 && !strchr(" ,\t", f->value[at - 1]))) continue;
        at += n_key;
        base64_decode_init(&ctx);
        if (at + n_text >= f->value_len || f->value[at + n_text] != ':' || !base64_decode_update(&ctx, &n, out, n_text, f->value + at) ||
            n != sizeof u->wanted || !base64_decode_final(&ctx))
            return false;
        memcpy(u->wanted, out, n);
        u->has_wanted = true;
        return true;
    }
    return true;
}

static bool read_digests(qn_exchange *x, upload *u)
{
    static const char *const names[] = { "Content-Digest", "Repr-Digest", "X-Checksum-Sha256" };

    for (size_t i = 0; i < 3 && !u->has_wanted; i++) {
        const qn_http_field *f = qn_exchange_field(x, names[i]);

        if (!f || (i < 2 ? take_digest(f, u) : take_hex(f, u))) continue;
        qn_exchange_error(x, 400, i < 2 ? "%s: sha-256=:BASE64: of 32 bytes expected" : "%s: 64 hex digits expected", names[i]);
        return false;
    }
    return true;
}

static void upload_begin(qn_exchange *x)
{
    qn_visit *v = qn_visit_of(x);
    qn_error err = { 0 };
    upload *u;

    if (atomic_load(&v->app->draining)) {
        qn_exchange_error(x, 503, "stopping");
        return;
    }
    if (!qn_model_name_valid(v->path.model)) {
        qn_exchange_error(x, 400,
                          "not a model name: expected letters, digits, '.', '_' or '-', at most 64, beginning with a letter or digit");
        return;
    }
    u = calloc(1, sizeof *u);
    if (!u) {
        qn_exchange_error(x, 503, "no memory for an upload");
        return;
    }
    v->state = u;
    u->fd = u->folder_fd = -1;
    sha256_init(&u->hash);
    if (!read_digests(x, u)) return;
    if (qn_registry_stage(v->app->registry, u->staged, &u->folder_fd, &err) != QN_OK) {
        u->staged[0] = '\0';
        qn_exchange_error(x, 503, "%s", err.message);
        return;
    }
    u->fd = openat(u->folder_fd, PART_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (u->fd < 0) refuse_io(x, "a file for the upload");
}

static void upload_body(qn_exchange *x, const char *data, size_t n)
{
    upload *u = upload_of(x);

    for (size_t i = 0; i < n && u->bytes + i < sizeof u->first; i++) u->first[u->bytes + i] = (uint8_t)data[i];
    u->bytes += n;
    sha256_update(&u->hash, n, (const uint8_t *)data);
    while (n > 0) {
        ssize_t w = write(u->fd, data, n);

        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            refuse_io(x, "the upload cannot be written");
            return;
        }
        data += w;
        n -= (size_t)w;
    }
}

/* On the loader's thread. */
static void on_done(void *user, const qn_registry_report *r)
{
    qn_exchange *x = user;
    const upload *u = upload_of(x);
    const qn_path *p = &qn_visit_of(x)->path;

    if (r->status != QN_OK) {
        qn_exchange_error(x, qn_reply_status(r->status, true), "%s", r->message && r->message[0] ? r->message : qn_status_text(r->status));
    } else {
        qn_buf_puts(&x->reply, "{\"name\":");
        qn_json_put_string(&x->reply, p->model, strlen(p->model));
        qn_buf_printf(&x->reply,
                      ",\"version\":\"%" PRId64 "\",\"bytes\":%" PRIu64 ",\"sha256\":\"%s\",\"state\":\"%s\",\"served\":", p->version,
                      u->bytes, u->hex, r->ready ? "READY" : "UNAVAILABLE");
        qn_buf_printf(&x->reply, r->served ? "\"%" PRId64 "\"}" : "null}", r->served);
        qn_exchange_reply(x, 201, "application/json");
    }
    qn_exchange_resume(x);
}

/* Did what was sent arrive? */
static bool digest_agrees(qn_exchange *x, upload *u)
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(&u->hash, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(u->hex + 2 * i, 3, "%02x", digest[i]);
    if (!u->has_wanted || memcmp(digest, u->wanted, sizeof digest) == 0) return true;
    qn_exchange_error(x, 400, "the sha256 of the body is %s, the request says another", u->hex);
    return false;
}

static void upload_end(qn_exchange *x)
{
    static const uint8_t zstd[4] = { 0x28, 0xb5, 0x2f, 0xfd };
    upload *u = upload_of(x);
    qn_visit *v = qn_visit_of(x);
    const char *file = memcmp(u->first, zstd, sizeof zstd) == 0 ? "model.onnx.zst" : "model.onnx";
    const qn_registry_order o = { .action = QN_REGISTRY_INSTALL, .name = v->path.model, .version = v->path.version, .staged = u->staged };
    qn_error err = { 0 };

    if (u->bytes == 0) {
        qn_exchange_error(x, 400, "an ONNX model, or one compressed by zstd, expected as the body");
        return;
    }
    if (!digest_agrees(x, u)) return;
    if (close(u->fd) != 0 || (u->fd = -1, renameat(u->folder_fd, PART_NAME, u->folder_fd, file)) != 0) {
        u->fd = -1;
        refuse_io(x, "the upload cannot be written");
        return;
    }
    qn_exchange_suspend(x, NULL);
    u->handed_over = true;
    if (qn_registry_order_submit(v->app->registry, &o, on_done, x, &err) != QN_OK) {
        u->handed_over = false;
        qn_reply_error(x, &err, true);
        qn_exchange_resume(x);
    }
}

static void upload_release(qn_exchange *x)
{
    upload *u = upload_of(x);

    if (!u) return;
    if (u->fd >= 0) close(u->fd);
    if (u->staged[0] && !u->handed_over) qn_registry_unstage(qn_visit_of(x)->app->registry, u->staged);
    if (u->folder_fd >= 0) close(u->folder_fd);
    free(u);
}

const qn_endpoint qn_endpoint_upload = {
    .body = QN_BODY_FILE, .handler = { .begin = upload_begin, .body = upload_body, .end = upload_end, .release = upload_release }
};
