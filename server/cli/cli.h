/* server/cli/cli.h - the commands that work without a server.
 * Each takes the arguments from its own name on (argv[0] is "run", "inspect", "bench") and returns the exit code of the process:
 * 0 done, 1 an error, 2 wrong usage, 3 the model uses something Quern does not support (stderr says "unsupported"). */
#ifndef QUERN_SERVER_CLI_H
#define QUERN_SERVER_CLI_H

int qn_cli_run(int argc, char **argv);
int qn_cli_inspect(int argc, char **argv);
int qn_cli_bench(int argc, char **argv);
int qn_cli_load(int argc, char **argv);
int qn_cli_key(int argc, char **argv);

#endif
