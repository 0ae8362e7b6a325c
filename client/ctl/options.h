/* options.h - the command line, read by the tables of command.h. */
#ifndef PYPREP_CTL_OPTIONS_H
#define PYPREP_CTL_OPTIONS_H

#include "client/ctl/command.h"

/* Read the options at the start of argv[1..] that stand before the subcommand.
 * *ret_index is where the subcommand stands (or argc).  0 or EXIT_USAGE, said. */
int options_global(int argc, char **argv, int *ret_index);

/* Read what follows the subcommand: options anywhere before "--", the rest words.
 * `ret->word` is allocated; `ret->rest` points into argv.  0 or EXIT_USAGE, said. */
int options_command(const struct command *command, int argc, char **argv, struct words *ret);

#endif
