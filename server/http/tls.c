/* server/http/tls.c - a certificate and its key, handed to GnuTLS at every handshake. */
#include "server/http/tls.h"

#include "server/config/settings.h"

#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CHAIN 16
/* A pair that was replaced may be in use by a handshake for as long as a head may take: server.header_timeout_ms is at most 600 s. */
#define KEEP_S 1200

const char qn_tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE";

typedef struct pair {
    gnutls_pcert_st chain[MAX_CHAIN];
    unsigned n_chain;
    gnutls_privkey_t key;
    int64_t expires;
    time_t replaced; /* CLOCK_MONOTONIC */
    struct pair *older;
} pair;

struct qn_tls {
    char certificate_file[QN_SETTING_TEXT_MAX], key_file[QN_SETTING_TEXT_MAX];
};

/* The newest pair, and behind it those that handshakes may still use. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pair *current;

static time_t now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void pair_free(pair *p)
{
    if (!p) return;
    for (unsigned i = 0; i < p->n_chain; i++) gnutls_pcert_deinit(&p->chain[i]);
    if (p->key) gnutls_privkey_deinit(p->key);
    free(p);
}

static qn_status slurp(const char *path, const char *setting, gnutls_datum_t *out, qn_error *err)
{
    char *text = NULL;
    size_t n = 0;
    qn_status st = qn_settings_slurp(AT_FDCWD, path, 1, &text, &n, err);

    if (st != QN_OK) qn_error_prefix(err, "%s", setting);
    *out = (gnutls_datum_t){ .data = (unsigned char *)text, .size = (unsigned)n };
    return st;
}

/* Secrets do not stay in freed memory. */
static void wipe(gnutls_datum_t *d)
{
    if (d->data) gnutls_memset(d->data, 0, d->size);
    free(d->data);
}

static qn_status read_chain(pair *p, const gnutls_datum_t *pem, qn_error *err)
{
    static const char setting[] = "security.tls_certificate_file";
    gnutls_x509_crt_t crts[MAX_CHAIN];
    unsigned n = MAX_CHAIN;
    time_t now = time(NULL), from, until;
    int rc = gnutls_x509_crt_list_import(crts, &n, pem, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    qn_status st = QN_OK;

    if (rc <= 0)
        return qn_error_set(err, QN_ERR_FORMAT, "%s: no chain of at most %d certificates in PEM: %s", setting, MAX_CHAIN,
                            gnutls_strerror(rc ? rc : GNUTLS_E_NO_CERTIFICATE_FOUND));
    n = (unsigned)rc;
    from = gnutls_x509_crt_get_activation_time(crts[0]);
    until = gnutls_x509_crt_get_expiration_time(crts[0]);
    p->expires = until;
    if (now < from || now >= until)
        st = qn_error_set(err, QN_ERR_INVALID, "%s: the certificate %s", setting, now < from ? "is not valid yet" : "has expired");
    for (unsigned i = 0; i < n && st == QN_OK; i++) {
        if (gnutls_pcert_import_x509(&p->chain[i], crts[i], 0) != 0)
            st = qn_error_set(err, QN_ERR_NOMEM, "%s", setting);
        else
            p->n_chain++;
    }
    for (unsigned i = 0; i < n; i++) gnutls_x509_crt_deinit(crts[i]);
    return st;
}

/* The public halves must be the same, or every handshake would fail later. */
static qn_status key_is_the_certificates(const pair *p, qn_error *err)
{
    unsigned char of_key[64], of_certificate[64];
    size_t a = sizeof of_key, b = sizeof of_certificate;
    gnutls_pubkey_t public = NULL;
    bool same = gnutls_pubkey_init(&public) == 0 && gnutls_pubkey_import_privkey(public, p->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &a) == 0 &&
                gnutls_pubkey_get_key_id(p->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_certificate, &b) == 0 && a == b &&
                memcmp(of_key, of_certificate, a) == 0;

    if (public) gnutls_pubkey_deinit(public);
    return same ? QN_OK : qn_error_set(err, QN_ERR_FORMAT, "security.tls_key_file: not the private key of security.tls_certificate_file");
}

static qn_status pair_read(const qn_tls *tls, pair **out, qn_error *err)
{
    gnutls_datum_t chain = { 0 }, key = { 0 };
    pair *p = calloc(1, sizeof *p);
    qn_status st = p ? QN_OK : qn_error_set(err, QN_ERR_NOMEM, "a certificate");
    int rc;

    if (st == QN_OK) st = slurp(tls->certificate_file, "security.tls_certificate_file", &chain, err);
    if (st == QN_OK) st = slurp(tls->key_file, "security.tls_key_file", &key, err);
    if (st == QN_OK) st = read_chain(p, &chain, err);
    if (st == QN_OK) {
        rc = gnutls_privkey_init(&p->key);
        if (rc == 0) rc = gnutls_privkey_import_x509_raw(p->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (rc != 0) st = qn_error_set(err, QN_ERR_FORMAT, "security.tls_key_file: no private key in PEM: %s", gnutls_strerror(rc));
    }
    if (st == QN_OK) st = key_is_the_certificates(p, err);
    free(chain.data);
    wipe(&key);
    if (st == QN_OK)
        *out = p;
    else
        pair_free(p);
    return st;
}

/* Under mu: pairs that no handshake can have any more. */
static void free_old(void)
{
    for (pair **at = &current->older; *at;) {
        pair *old = *at;

        if (now_s() < old->replaced + KEEP_S) {
            at = &old->older;
        } else {
            *at = old->older;
            pair_free(old);
        }
    }
}

qn_status qn_tls_reload(qn_tls *tls, qn_error *err)
{
    pair *p = NULL;
    qn_status st = pair_read(tls, &p, err);

    if (st != QN_OK) return st;
    pthread_mutex_lock(&mu);
    p->older = current;
    if (current) current->replaced = now_s();
    current = p;
    free_old();
    pthread_mutex_unlock(&mu);
    return QN_OK;
}

qn_status qn_tls_open(const char *certificate_file, const char *key_file, qn_tls **out, qn_error *err)
{
    qn_tls *tls;
    qn_status st;

    *out = NULL;
    pthread_mutex_lock(&mu);
    st = current ? qn_error_set(err, QN_ERR_CONFLICT, "there is a certificate already") : QN_OK;
    pthread_mutex_unlock(&mu);
    if (st != QN_OK) return st;
    tls = calloc(1, sizeof *tls);
    if (!tls) return qn_error_set(err, QN_ERR_NOMEM, "TLS");
    if (strlen(certificate_file) >= sizeof tls->certificate_file || strlen(key_file) >= sizeof tls->key_file) {
        free(tls);
        return qn_error_set(err, QN_ERR_LIMIT, "security.tls_certificate_file, security.tls_key_file: too long");
    }
    strncpy(tls->certificate_file, certificate_file, sizeof tls->certificate_file - 1);
    strncpy(tls->key_file, key_file, sizeof tls->key_file - 1);
    st = qn_tls_reload(tls, err);
    if (st == QN_OK)
        *out = tls;
    else
        free(tls);
    return st;
}

void qn_tls_close(qn_tls *tls)
{
    if (!tls) return;
    pthread_mutex_lock(&mu);
    while (current) {
        pair *older = current->older;

        pair_free(current);
        current = older;
    }
    pthread_mutex_unlock(&mu);
    free(tls);
}

int64_t qn_tls_expires(qn_tls *tls)
{
    int64_t t;

    (void)tls;
    pthread_mutex_lock(&mu);
    t = current ? current->expires : 0;
    pthread_mutex_unlock(&mu);
    return t;
}

/* gnutls_certificate_retrieve_function2: what it hands out stays ours. */
static int give_pair(gnutls_session_t session, const gnutls_datum_t *authorities, int n_authorities,
                     const gnutls_pk_algorithm_t *algorithms, int n_algorithms, gnutls_pcert_st **chain, unsigned *n_chain,
                     gnutls_privkey_t *key)
{
    int rc = -1;

    (void)session;
    (void)authorities;
    (void)n_authorities;
    (void)algorithms;
    (void)n_algorithms;
    pthread_mutex_lock(&mu);
    if (current) {
        *chain = current->chain;
        *n_chain = current->n_chain;
        *key = current->key;
        rc = 0;
    }
    pthread_mutex_unlock(&mu);
    return rc;
}

void *qn_tls_callback(void) { return (void *)give_pair; }

bool qn_tls_ask(int fd, const char *request, const char *expected)
{
    gnutls_certificate_credentials_t credentials = NULL;
    gnutls_session_t s = NULL;
    const size_t n = strlen(expected);
    char answer[64];
    size_t got = 0;
    int rc;
    bool ok = n < sizeof answer && gnutls_certificate_allocate_credentials(&credentials) == 0 && gnutls_init(&s, GNUTLS_CLIENT) == 0 &&
              gnutls_set_default_priority(s) == 0 && gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, credentials) == 0;

    if (ok) {
        gnutls_transport_set_int(s, fd);
        do rc = gnutls_handshake(s);
        while (rc < 0 && rc != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(rc));
        ok = rc == 0 && gnutls_record_send(s, request, strlen(request)) == (ssize_t)strlen(request);
    }
    while (ok && got < n) {
        ssize_t r = gnutls_record_recv(s, answer + got, n - got);

        if (r > 0)
            got += (size_t)r;
        else
            ok = r == GNUTLS_E_INTERRUPTED; /* AGAIN is the socket's timeout */
    }
    if (s) gnutls_deinit(s);
    if (credentials) gnutls_certificate_free_credentials(credentials);
    return ok && memcmp(answer, expected, n) == 0;
}
