/* server/http/tls.h - the certificate that HTTPS connections are answered with, changed without a restart.
 *
 * TLS itself is GnuTLS inside libmicrohttpd: 1.2 and 1.3 only. The library asks for the certificate at every handshake and has no place for a
 * pointer of ours, so there is one certificate a process.
 * Files    PEM: the certificate with its chain, leaf first; the private key of the leaf, not encrypted. At most 256 KiB each.
 * Threads  every function from any thread. */
#ifndef QUERN_SERVER_HTTP_TLS_H
#define QUERN_SERVER_HTTP_TLS_H

#include "quern/error.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct qn_tls qn_tls;

/* Read both files. There may be one qn_tls at a time. Fails with QN_ERR_NOT_FOUND, QN_ERR_IO, QN_ERR_FORMAT (not PEM; the key is not the
 * certificate's), QN_ERR_INVALID (expired or not yet valid), QN_ERR_CONFLICT (there is one), QN_ERR_NOMEM; messages name the setting. */
qn_status qn_tls_open(const char *certificate_file, const char *key_file, qn_tls **out, qn_error *err);
/* After the server that uses it has been destroyed. NULL allowed. */
void qn_tls_close(qn_tls *tls);
/* Read the files again: handshakes from now on get the new pair, connections that are open go on. On failure nothing changes. */
qn_status qn_tls_reload(qn_tls *tls, qn_error *err);
/* When the certificate ends, seconds since the epoch. */
int64_t qn_tls_expires(qn_tls *tls);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK and MHD_OPTION_HTTPS_PRIORITIES. */
void *qn_tls_callback(void);
extern const char qn_tls_priorities[];

/* One request over a connected socket of ours, whoever answers: is the answer's beginning `expected`? For the watchdog's question to ourselves,
 * so the certificate is not looked at. Blocks as long as the socket's timeouts say. */
bool qn_tls_ask(int fd, const char *request, const char *expected);

#endif
