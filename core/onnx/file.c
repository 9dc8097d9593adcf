/* core/onnx/file.c - see file.h */
#include "core/onnx/file.h"

#include "core/onnx/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)

/* -- sources -------------------------------------------------------------------------------------------------------------- */

typedef enum source_kind { SOURCE_FD, SOURCE_SPOOL, SOURCE_MEMORY } source_kind;

typedef struct file_source {
    qn_source base; /* first: a qn_source * is a file_source * */
    source_kind kind;
    atomic_int refs;
    uint64_t bytes;           /* that can be read */
    uint64_t stored;          /* SOURCE_FD, SOURCE_SPOOL: size of the file */
    int fd;                   /* SOURCE_FD, SOURCE_SPOOL */
    struct timespec mtime;    /* of the file when it was opened */
    qn_spool spool;           /* SOURCE_SPOOL: empty after a trim, until the next read */
    pthread_mutex_t spool_mu; /* guards spool; innermost */
    char *memory;             /* SOURCE_MEMORY, owned */
} file_source;

static qn_status changed(qn_error *err) { return qn_error_set(err, QN_ERR_FORMAT, "the file changed while it was read"); }

/* Size and time are looked at after the bytes were taken: a change that came before the read is then always seen. */
static qn_status check_unchanged(const file_source *f, qn_error *err)
{
    struct stat sb;

    if (fstat(f->fd, &sb)) return qn_error_set(err, QN_ERR_IO, "fstat failed: %s", strerrordesc_np(errno));
    if ((uint64_t)sb.st_size != f->stored || sb.st_mtim.tv_sec != f->mtime.tv_sec || sb.st_mtim.tv_nsec != f->mtime.tv_nsec)
        return changed(err);
    return QN_OK;
}

static qn_status read_fd(const file_source *f, uint64_t offset, char *dst, size_t n, qn_error *err)
{
    while (n > 0) {
        ssize_t got = pread(f->fd, dst, n, (off_t)offset);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return qn_error_set(err, QN_ERR_IO, "read failed: %s", strerrordesc_np(errno));
        if (got == 0) return changed(err);
        dst += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return check_unchanged(f, err);
}

/* Decompress f's file into its empty spool; nothing is left in it on failure. */
static qn_status fill_spool(file_source *f, uint64_t max_bytes, qn_hasher *h, qn_error *err);

static qn_status read_spool(file_source *f, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    qn_status st = QN_OK;

    pthread_mutex_lock(&f->spool_mu);
    if (f->spool.bytes == 0) {
        st = fill_spool(f, f->bytes, NULL, err);
        if (!st && f->spool.bytes != f->bytes) st = changed(err);
    }
    if (!st) qn_spool_read(&f->spool, offset, dst, n);
    pthread_mutex_unlock(&f->spool_mu);
    return st;
}

static void source_trim(qn_source *s)
{
    file_source *f = (file_source *)s;

    if (f->kind != SOURCE_SPOOL) return;
    pthread_mutex_lock(&f->spool_mu);
    qn_spool_release(&f->spool);
    pthread_mutex_unlock(&f->spool_mu);
}

static qn_status source_read(qn_source *s, uint64_t offset, void *dst, size_t n, qn_error *err)
{
    file_source *f = (file_source *)s;

    if (offset > f->bytes || n > f->bytes - offset)
        return qn_error_set(err, QN_ERR_FORMAT, "file of %" PRIu64 " bytes ends before byte %" PRIu64 " + %zu", f->bytes, offset, n);
    if (n == 0) return QN_OK;
    switch (f->kind) {
    case SOURCE_FD: return read_fd(f, offset, dst, n, err);
    case SOURCE_SPOOL: return read_spool(f, offset, dst, n, err);
    case SOURCE_MEMORY: memcpy(dst, f->memory + offset, n); break;
    }
    return QN_OK;
}

static void source_ref(qn_source *s) { atomic_fetch_add_explicit(&((file_source *)s)->refs, 1, memory_order_relaxed); }

static void source_unref(qn_source *s)
{
    file_source *f = (file_source *)s;

    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1) return;
    if (f->fd >= 0) close(f->fd);
    qn_spool_release(&f->spool);
    pthread_mutex_destroy(&f->spool_mu);
    free(f->memory);
    free(f);
}

static file_source *source_create(source_kind kind)
{
    file_source *f = calloc(1, sizeof *f);

    if (!f) return NULL;
    f->base = (qn_source){ .read = source_read, .ref = source_ref, .unref = source_unref, .trim = source_trim };
    pthread_mutex_init(&f->spool_mu, NULL);
    f->kind = kind;
    f->fd = -1;
    atomic_init(&f->refs, 1);
    return f;
}

qn_status qn_file_from_memory(const void *data, size_t n, qn_source **out, qn_error *err)
{
    file_source *f = source_create(SOURCE_MEMORY);

    *out = NULL;
    if (f) f->memory = malloc(n ? n : 1);
    if (!f || !f->memory) {
        if (f) source_unref(&f->base);
        return qn_error_set(err, QN_ERR_NOMEM, "copy of %zu bytes", n);
    }
    if (n) memcpy(f->memory, data, n);
    f->bytes = n;
    *out = &f->base;
    return QN_OK;
}

/* -- opening -------------------------------------------------------------------------------------------------------------- */

/* What a message may show of a name: its last component, since errors travel to clients and folders are nobody's business there. */
static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash && slash[1] ? slash + 1 : name;
}

static bool has_dotdot(const char *name)
{
    while (*name) {
        size_t n = strcspn(name, "/");

        if (n == 2 && name[0] == '.' && name[1] == '.') return true;
        name += n;
        name += strspn(name, "/");
    }
    return false;
}

static qn_status open_failed(const char *name, int code, qn_error *err)
{
    const char *base = base_name(name);

    switch (code) {
    case ENOENT:
    case ENOTDIR: return qn_error_set(err, QN_ERR_NOT_FOUND, "%s: no such file", base);
    case ELOOP: return qn_error_set(err, QN_ERR_INVALID, "%s: is or passes through a symbolic link, expected a plain file", base);
    case EXDEV: return qn_error_set(err, QN_ERR_INVALID, "%s: leaves its folder, expected a file beneath it", base);
    case ENAMETOOLONG: return qn_error_set(err, QN_ERR_INVALID, "file name of %zu bytes is too long", strlen(name));
    case ENXIO:
    case ENODEV: return qn_error_set(err, QN_ERR_INVALID, "%s: not a regular file", base);
    case ENOMEM: return qn_error_set(err, QN_ERR_NOMEM, "%s: the kernel is out of memory", base);
    case ENOSYS:
        return qn_error_set(err, QN_ERR_UNSUPPORTED, "%s: this kernel has no openat2 (Linux 5.6), so the file cannot be opened safely",
                            base);
    default: return qn_error_set(err, QN_ERR_IO, "%s: cannot open: %s", base, strerrordesc_np(code));
    }
}

static qn_status open_path(int dir_fd, const char *name, bool beneath, int how_flags, int *fd, qn_error *err)
{
    struct open_how how = { .flags = (unsigned)how_flags };
    int tries = 0;
    long got;

    *fd = -1;
    if (!*name) return qn_error_set(err, QN_ERR_INVALID, "empty file name");
    if (beneath) {
        if (name[0] == '/') return open_failed(name, EXDEV, err);
        if (has_dotdot(name)) return open_failed(name, EXDEV, err);
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    }
    do { /* EAGAIN: somebody renamed above us while the kernel walked */
        got = beneath ? syscall(SYS_openat2, dir_fd, name, &how, sizeof how) : openat(dir_fd, name, how_flags);
    } while (got < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < 8)));
    if (got < 0) return open_failed(name, errno, err);
    *fd = (int)got;
    return QN_OK;
}

static bool is_beneath(int dir_fd, unsigned flags) { return dir_fd != AT_FDCWD || (flags & QN_FILE_BENEATH); }

qn_status qn_file_open_fd(int dir_fd, const char *name, unsigned flags, uint64_t max_bytes, int *fd, uint64_t *bytes, qn_error *err)
{
    bool beneath = is_beneath(dir_fd, flags);
    qn_status st = open_path(dir_fd, name, beneath, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, fd, err);
    struct stat sb;

    if (st) return st;
    if (fstat(*fd, &sb))
        st = qn_error_set(err, QN_ERR_IO, "%s: fstat failed: %s", base_name(name), strerrordesc_np(errno));
    else if (!S_ISREG(sb.st_mode))
        st = qn_error_set(err, QN_ERR_INVALID, "%s: not a regular file", base_name(name));
    else if (beneath && sb.st_nlink != 1)
        st = qn_error_set(err, QN_ERR_INVALID, "%s: the file has %ju names (hard links), expected 1", base_name(name),
                          (uintmax_t)sb.st_nlink);
    else if (sb.st_size < 0 || (uint64_t)sb.st_size > max_bytes)
        st = qn_error_set(err, QN_ERR_LIMIT, "%s: %jd bytes, at most %" PRIu64 " allowed (limit file_bytes)", base_name(name),
                          (intmax_t)sb.st_size, max_bytes);
    if (st) {
        close(*fd);
        *fd = -1;
        return st;
    }
    *bytes = (uint64_t)sb.st_size;
    return QN_OK;
}

qn_status qn_file_open_folder(int dir_fd, const char *name, unsigned flags, int *fd, qn_error *err)
{
    const char *slash = strrchr(name, '/');
    char folder[4096] = ".";
    size_t n = slash ? (size_t)(slash - name) : 0;

    if (slash && n == 0) n = 1; /* "/model.onnx" lies in "/" */
    if (n >= sizeof folder) return open_failed(name, ENAMETOOLONG, err);
    if (slash) {
        memcpy(folder, name, n);
        folder[n] = 0;
    }
    return open_path(dir_fd, folder, is_beneath(dir_fd, flags), O_RDONLY | O_CLOEXEC | O_DIRECTORY, fd, err);
}

static bool ends_with_zst(const char *name)
{
    size_t n = strlen(name);

    return n >= 4 && strcmp(name + n - 4, ".zst") == 0;
}

/* A ModelProto cannot begin like this: 0x28 would be field 5 as a varint, which it does not have. */
static bool begins_like_zstd(const unsigned char *b) { return b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd; }

static void update_hasher(void *ctx, const void *data, size_t n) { qn_hasher_update(ctx, data, n); }

static qn_status hash_plain(qn_source *s, uint64_t bytes, qn_hasher *h, qn_error *err)
{
    qn_status st = QN_OK;
    char *buf = malloc(READ_BYTES);

    if (!buf) return qn_error_set(err, QN_ERR_NOMEM, "read buffer");
    for (uint64_t at = 0; at < bytes && !st; at += READ_BYTES) {
        size_t n = bytes - at < READ_BYTES ? (size_t)(bytes - at) : READ_BYTES;

        st = s->read(s, at, buf, n, err);
        if (!st) qn_hasher_update(h, buf, n);
    }
    free(buf);
    return st;
}

static qn_status fill_spool(file_source *f, uint64_t max_bytes, qn_hasher *h, qn_error *err)
{
    qn_status st;

    qn_spool_init(&f->spool, max_bytes);
    st = qn_spool_unzstd(&f->spool, f->fd, f->stored, h ? update_hasher : NULL, h, err);
    if (!st) st = check_unchanged(f, err);
    if (st) qn_spool_release(&f->spool);
    return st;
}

static qn_status unpack(file_source *f, qn_hasher *h, uint64_t max_bytes, qn_error *err)
{
    qn_status st = fill_spool(f, max_bytes, h, err);

    if (st) return st;
    f->kind = SOURCE_SPOOL;
    f->bytes = f->spool.bytes;
    return QN_OK;
}

qn_status qn_file_open(int dir_fd, const char *name, unsigned flags, uint64_t max_bytes, qn_source **out, qn_file_info *info, qn_error *err)
{
    qn_status st;
    file_source *f = source_create(SOURCE_FD);
    unsigned char magic[4] = { 0 };
    qn_hasher hasher;
    struct stat sb;

    *out = NULL;
    *info = (qn_file_info){ 0 };
    if (!f) return qn_error_set(err, QN_ERR_NOMEM, "source for %s", base_name(name));
    st = qn_file_open_fd(dir_fd, name, flags, max_bytes, &f->fd, &f->bytes, err);
    if (st) goto done;
    if (fstat(f->fd, &sb)) {
        st = qn_error_set(err, QN_ERR_IO, "%s: fstat failed: %s", base_name(name), strerrordesc_np(errno));
        goto done;
    }
    f->mtime = sb.st_mtim;
    info->stored_bytes = f->stored = f->bytes;
    if (f->bytes >= sizeof magic) st = source_read(&f->base, 0, magic, sizeof magic, err);
    if (st) goto named;
    qn_hasher_init(&hasher);
    info->compressed = (flags & QN_FILE_ZSTD) && (ends_with_zst(name) || begins_like_zstd(magic));
    if (info->compressed)
        st = unpack(f, flags & QN_FILE_DIGEST ? &hasher : NULL, max_bytes, err);
    else if (flags & QN_FILE_DIGEST)
        st = hash_plain(&f->base, f->bytes, &hasher, err);
    if (st) goto named;
    if (flags & QN_FILE_DIGEST) qn_hasher_finish(&hasher, &info->digest);
    info->bytes = f->bytes;
    *out = &f->base;
    f = NULL;
named:
    if (st) qn_error_prefix(err, "%s", base_name(name));
done:
    if (f) source_unref(&f->base);
    return st;
}
