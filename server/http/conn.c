/* server/http/conn.c - stages of a connection, and answers the library can't be made to send. */
#include "server/http/conn.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

uint64_t qn_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

bool qn_conn_stage(qn_conn *conn, qn_stage stage, uint64_t timeout_us)
{
    uint64_t now = qn_now_us();
    bool alive;

    pthread_mutex_lock(&conn->mu);
    alive = conn->stage != QN_STAGE_DEAD;
    if (alive) {
        conn->stage = stage;
        conn->deadline_us = timeout_us ? now + timeout_us : 0;
        conn->rate_from_us = now;
        conn->rate_bytes = 0;
    }
    pthread_mutex_unlock(&conn->mu);
    return alive;
}

void qn_http_make_id(qn_http *http, char *out, size_t cap)
{
    /* splitmix64: distinct for 2^64 requests, and from another start nobody can guess */
    uint64_t z = http->id_seed + 0x9e3779b97f4a7c15u * (atomic_fetch_add_explicit(&http->next_id, 1, memory_order_relaxed) + 1);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    snprintf(out, cap, "%016llx", (unsigned long long)(z ^ (z >> 31)));
}

void qn_conn_write_reply(qn_conn *conn, int status, const char *json, size_t n)
{
    char head[512], made[32];
    const char *id = conn->x.id;
    struct iovec parts[2];
    struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t ignored;
    int len;

    conn->stage = QN_STAGE_DEAD;
    conn->raw_status = status;
    if (conn->http->options.tls) return; /* plain bytes in a TLS stream are no answer: the connection just ends */
    conn->linger = true;
    if (!id[0]) {
        qn_http_make_id(conn->http, made, sizeof made);
        id = made;
    }
    len = snprintf(
        head, sizeof head,
        "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nX-Request-Id: %s\r\n%s\r\n",
        status, qn_http_reason(status), n, id, status == 503 ? "Retry-After: 1\r\n" : "");
    parts[0] = (struct iovec){ .iov_base = head, .iov_len = len < 0 ? 0 : (size_t)len };
    parts[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)json, .iov_len = n };
    ignored = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT); /* a client that takes nothing gets nothing */
    (void)ignored;
}

void qn_conn_write_error(qn_conn *conn, int status, const char *message)
{
    char body[256];
    int n = snprintf(body, sizeof body, "{\"error\":\"%s\"}", message);

    if (n > 0 && (size_t)n < sizeof body) qn_conn_write_reply(conn, status, body, (size_t)n);
}
