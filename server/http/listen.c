/* server/http/listen.c - the listening socket: opened here, or handed over by systemd.
 * Only loopback where there are no keys: a model server without keys on a public address is an open door. */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)a;

        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)a;

        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) return v6->sin6_addr.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
    }
    return false;
}

static qn_status refuse_public(const char *shown, qn_error *err)
{
    return qn_error_set(err, QN_ERR_INVALID,
                        "listen address %.60s is not loopback: without security.keys_file only 127.0.0.0/8 and [::1] are served", shown);
}

/* "127.0.0.1:80", "[::1]:80", "localhost:80" -> host and port. */
static bool split(const char *address, char *host, size_t host_cap, char *port, size_t port_cap)
{
    const char *colon = strrchr(address, ':'), *end = colon, *start = address;
    size_t n;

    if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) >= port_cap || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    if (*start == '[') {
        start++;
        end--;
        if (end < start || *end != ']') return false;
    } else if (memchr(start, ':', (size_t)(colon - start))) {
        return false; /* an IPv6 address without brackets */
    }
    n = (size_t)(end - start);
    if (n == 0 || n >= host_cap) return false;
    memcpy(host, start, n);
    host[n] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

/* The checked address; the caller frees *found. */
static qn_status resolve(const char *address, bool anywhere, struct addrinfo **found, qn_error *err)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM };
    struct sockaddr_storage addr = { 0 };
    char host[64], port[8];

    *found = NULL;
    if (!split(address, host, sizeof host, port, sizeof port) || strtol(port, NULL, 10) > 65535 ||
        getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, found) != 0) {
        *found = NULL;
        return qn_error_set(err, QN_ERR_INVALID, "listen address '%.60s': expected ADDRESS:PORT like 127.0.0.1:8000 or [::1]:8000",
                            address);
    }
    memcpy(&addr, (*found)->ai_addr, (*found)->ai_addrlen);
    if (anywhere || is_loopback(&addr)) return QN_OK;
    freeaddrinfo(*found);
    *found = NULL;
    return refuse_public(address, err);
}

qn_status qn_http_check_address(const char *address, bool anywhere, qn_error *err)
{
    struct addrinfo *found = NULL;
    qn_status st = resolve(address, anywhere, &found, err);

    if (found) freeaddrinfo(found);
    return st;
}

qn_status qn_http_listen(const char *address, bool anywhere, int *out, qn_error *err)
{
    struct addrinfo *found = NULL;
    int fd = -1, one = 1;
    qn_status st = resolve(address, anywhere, &found, err);

    *out = -1;
    if (st != QN_OK) goto done;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        st = qn_error_set(err, QN_ERR_IO, "cannot listen on %.60s: %s", address, strerror(errno));
        goto done;
    }
    *out = fd;
    fd = -1;
done:
    if (fd >= 0) close(fd);
    if (found) freeaddrinfo(found);
    return st;
}

qn_status qn_http_adopt(int fd, bool anywhere, qn_error *err)
{
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof addr, int_len = sizeof(int);
    int listening = 0, flags;
    char shown[80];

    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_len) != 0 ||
        !listening)
        return qn_error_set(err, QN_ERR_INVALID, "the socket handed over is not a listening one");
    qn_http_address(fd, shown, sizeof shown);
    if (!anywhere && !is_loopback(&addr)) return refuse_public(shown, err);
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return qn_error_set(err, QN_ERR_IO, "the socket handed over: %s", strerror(errno));
    return QN_OK;
}

void qn_http_address(int fd, char *out, size_t cap)
{
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof addr;
    char host[INET6_ADDRSTRLEN] = "?";

    snprintf(out, cap, "?");
    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0) return;
    if (addr.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)&addr;

        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(out, cap, "%s:%u", host, ntohs(v4->sin_port));
    } else if (addr.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)&addr;

        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out, cap, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}
