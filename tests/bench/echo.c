/* tests/bench/echo.c - what the machine and libmicrohttpd alone can do: read a body, answer a constant.
 *     quern_bench_echo PORT [THREADS]          prints "listening" once it does; ends with its standard input */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char answer[] = "{\"predictions\":[[0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1]]}";

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *n, void **state)
{
    static char seen;
    struct MHD_Response *r;
    enum MHD_Result queued;

    (void)cls, (void)url, (void)method, (void)version, (void)data;
    if (!*state) {
        *state = &seen;
        return MHD_YES;
    }
    if (*n > 0) {
        *n = 0;
        return MHD_YES;
    }
    *state = NULL;
    r = MHD_create_response_from_buffer(sizeof answer - 1, answer, MHD_RESPMEM_PERSISTENT);
    queued = r ? MHD_queue_response(connection, MHD_HTTP_OK, r) : MHD_NO;
    if (r) MHD_destroy_response(r);
    return queued;
}

int main(int argc, char **argv)
{
    const long port = argc > 1 ? strtol(argv[1], NULL, 10) : 0, threads = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    struct MHD_Daemon *d;
    char byte;

    if (port < 1 || port > 65535 || threads < 1 || threads > 64) return 2;
    d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO, (uint16_t)port, NULL, NULL, on_request, NULL,
                         MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? (unsigned)threads : 0u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         (size_t)65536, MHD_OPTION_END);
    if (!d) return 1;
    puts("listening");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {}
    MHD_stop_daemon(d);
    return 0;
}
