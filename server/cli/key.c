/* server/cli/key.c - quern key new: a new API key, and the line for the file of keys. */
#include "server/auth/keys.h"
#include "server/cli/cli.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: quern key new --id ID --scopes infer[,train][,admin] [--rate N[/BURST]] [--expires YYYY-MM-DD]\n"
                            "       prints the key once, on stdout; the line for security.keys_file goes to stderr\n";

static const char *option(int argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    return fallback;
}

static bool known_options(int argc, char **argv)
{
    static const char *const names[] = { "--id", "--scopes", "--rate", "--expires" };

    for (int i = 2; i < argc; i += 2) {
        bool known = false;

        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) known = known || strcmp(argv[i], names[k]) == 0;
        if (!known || i + 1 >= argc) {
            fprintf(stderr, "quern key: '%s' is not an option, or lacks its value\n", argv[i]);
            return false;
        }
    }
    return true;
}

int qn_cli_key(int argc, char **argv)
{
    const char *id, *scopes, *rate, *expires;
    char key[QN_KEY_TEXT_MAX], hex[65], line[512];
    qn_error err = { 0 };
    int n;

    if (argc < 2 || strcmp(argv[1], "new") != 0 || !known_options(argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    id = option(argc, argv, "--id", NULL);
    scopes = option(argc, argv, "--scopes", NULL);
    rate = option(argc, argv, "--rate", NULL);
    expires = option(argc, argv, "--expires", NULL);
    if (!id || !scopes) {
        fputs(usage, stderr);
        return 2;
    }
    if (qn_key_make(key, hex, &err) != QN_OK) {
        fprintf(stderr, "quern key: %s\n", err.message);
        return 1;
    }
    n = snprintf(line, sizeof line, "%s sha256:%s %s%s%s%s%s", id, hex, scopes, rate ? " rate=" : "", rate ? rate : "",
                 expires ? " expires=" : "", expires ? expires : "");
    if (n < 0 || (size_t)n >= sizeof line || qn_key_check_line(line, &err) != QN_OK) {
        fprintf(stderr, "quern key: %s\n", err.message[0] ? err.message : "the line is too long");
        return 2;
    }
    printf("%s\n", key);
    fprintf(stderr, "%s\n", line);
    return 0;
}
