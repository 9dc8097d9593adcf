/* server/registry/scan.c - the folder of models, by name and stamp. */
#include "server/registry/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool name_start(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool qn_model_name_valid(const char *name)
{
    size_t n = strnlen(name, 65);

    if (n == 0 || n > 64 || !name_start(name[0]) || strstr(name, "..")) return false;
    for (size_t i = 1; i < n; i++) {
        if (!name_start(name[i]) && name[i] != '.' && name[i] != '_' && name[i] != '-') return false;
    }
    return true;
}

void qn_scan_free_names(char **names, int32_t n)
{
    for (int32_t i = 0; i < n; i++) free(names[i]);
    free(names);
}

/* A second descriptor with a position of its own, for fdopendir() to keep. */
static DIR *open_folder(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;

    if (!dir && copy >= 0) close(copy);
    return dir;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool is_folder(int fd, const char *name)
{
    struct stat st;

    return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

qn_status qn_scan_models(int root_fd, char ***names, int32_t *n, qn_error *err)
{
    qn_status st = QN_OK;
    DIR *dir = open_folder(root_fd);
    char **list = NULL;
    int32_t used = 0, cap = 0;
    struct dirent *e;

    *names = NULL;
    *n = 0;
    if (!dir) return qn_error_set(err, QN_ERR_IO, "the folder of models cannot be read: %s", strerror(errno));
    while ((e = readdir(dir)) != NULL) {
        if (!qn_model_name_valid(e->d_name) || !is_folder(root_fd, e->d_name)) continue;
        if (used == QN_SCAN_MAX_MODELS) {
            st = qn_error_set(err, QN_ERR_LIMIT, "the folder of models holds more than %d models", QN_SCAN_MAX_MODELS);
            goto done;
        }
        if (used == cap) {
            char **grown;

            cap = cap ? 2 * cap : 16;
            grown = realloc(list, (size_t)cap * sizeof *list);
            if (!grown) goto nomem;
            list = grown;
        }
        list[used] = strdup(e->d_name);
        if (!list[used]) goto nomem;
        used++;
    }
    if (used) qsort(list, (size_t)used, sizeof *list, by_name);
    *names = list;
    *n = used;
    list = NULL;
    goto done;
nomem:
    st = qn_error_set(err, QN_ERR_NOMEM, "names of %d models", used);
done:
    closedir(dir);
    if (list) qn_scan_free_names(list, used);
    return st;
}

/* "12" -> 12: decimal, no sign, no leading zero, fits. */
static bool version_number(const char *s, int64_t *out)
{
    char *end;
    long long v;

    if (s[0] < '1' || s[0] > '9' || strlen(s) > 18) return false;
    v = strtoll(s, &end, 10);
    if (*end) return false;
    *out = v;
    return true;
}

static void stamp_of(const struct stat *st, qn_file_stamp *out)
{
    out->dev = st->st_dev;
    out->ino = st->st_ino;
    out->size = st->st_size;
    out->mtime_ns = st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->ctime_ns = st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

/* Times and number only: the size stays that of the model's file. */
static void stamp_join(qn_file_stamp *to, const struct stat *other)
{
    qn_file_stamp s;

    stamp_of(other, &s);
    to->mtime_ns ^= s.mtime_ns + s.size;
    to->ctime_ns ^= s.ctime_ns + (int64_t)s.ino;
}

static bool find_file(int model_fd, int64_t number, const struct stat *settings, qn_scan_version *out)
{
    static const char *const names[] = { "model.onnx", "model.onnx.zst" };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat st;

        memset(out, 0, sizeof *out);
        snprintf(out->file, sizeof out->file, "%" PRId64 "/%s", number, names[i]);
        if (fstatat(model_fd, out->file, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
        out->number = number;
        stamp_of(&st, &out->stamp);
        if (settings) stamp_join(&out->stamp, settings);
        snprintf(out->answer, sizeof out->answer, "%" PRId64 "/known_answer.json", number);
        if (fstatat(model_fd, out->answer, &st, AT_SYMLINK_NOFOLLOW) == 0) stamp_join(&out->stamp, &st);
        return true;
    }
    return false;
}

static int highest_first(const void *a, const void *b)
{
    const qn_scan_version *x = a, *y = b;

    return x->number < y->number ? 1 : x->number > y->number ? -1 : 0;
}

qn_status qn_scan_versions(int model_fd, qn_scan_version **versions, int32_t *n, qn_error *err)
{
    qn_status st = QN_OK;
    DIR *dir = open_folder(model_fd);
    qn_scan_version *list = NULL;
    int32_t used = 0, cap = 0;
    struct dirent *e;
    struct stat settings_stat;
    bool has_settings = fstatat(model_fd, "quern.yaml", &settings_stat, AT_SYMLINK_NOFOLLOW) == 0;

    *versions = NULL;
    *n = 0;
    if (!dir) return qn_error_set(err, QN_ERR_IO, "the model's folder cannot be read: %s", strerror(errno));
    while ((e = readdir(dir)) != NULL) {
        int64_t number;
        qn_scan_version v;

        if (!version_number(e->d_name, &number) || !is_folder(model_fd, e->d_name)) continue;
        if (!find_file(model_fd, number, has_settings ? &settings_stat : NULL, &v)) continue;
        if (used == QN_SCAN_MAX_VERSIONS) {
            st = qn_error_set(err, QN_ERR_LIMIT, "more than %d versions", QN_SCAN_MAX_VERSIONS);
            goto done;
        }
        if (used == cap) {
            qn_scan_version *grown;

            cap = cap ? 2 * cap : 8;
            grown = realloc(list, (size_t)cap * sizeof *list);
            if (!grown) {
                st = qn_error_set(err, QN_ERR_NOMEM, "%d versions", used);
                goto done;
            }
            list = grown;
        }
        list[used++] = v;
    }
    if (used) qsort(list, (size_t)used, sizeof *list, highest_first);
    *versions = list;
    *n = used;
    list = NULL;
done:
    closedir(dir);
    free(list);
    return st;
}
