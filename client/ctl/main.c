/* main.c - pyprepctl: global options, then the subcommand of the table. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/options.h"
#include "client/ctl/report.h"

static const struct command *
find_command(const char *name)
{
	struct nearest nearest;

	const struct command *found = command_by_name(name);
	if (found)
		return found;
	nearest_begin(&nearest, name);
	for (const struct command *const *c = commands; *c; c++)
		nearest_offer(&nearest, (*c)->name);
	const char *best = nearest_best(&nearest);
	if (best)
		ctl_fail(EXIT_USAGE, "usage", "unknown command '%s'; did you mean '%s'?", name,
			 best);
	else
		ctl_fail(EXIT_USAGE, "usage", "unknown command '%s'; 'pyprepctl help' lists all",
			 name);
	return NULL;
}

static int
help_run(const struct words *words)
{
	if (words->count > 1)
		return ctl_fail(EXIT_USAGE, "usage", "help takes one command, not %d",
				words->count);
	const struct command *command = NULL;
	if (words->count == 1 && !(command = find_command(words->word[0])))
		return EXIT_USAGE;
	help_print(stdout, command);
	return 0;
}

extern const struct command command_help;
const struct command command_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "explain a command, or list all",
	.examples = "  pyprepctl help submit\n",
	.complete = COMPLETE_COMMAND,
	.run = help_run,
};

static int
run_command(const struct command *command, int argc, char **argv)
{
	struct words words = { 0 };

	int status = options_command(command, argc, argv, &words);
	if (status == 0 && ctl.help)
		help_print(stdout, command);
	else if (status == 0 && ctl.version)
		printf("pyprepctl %s\n", pyprep_version());
	else if (status == 0)
		status = command->run(&words);
	free(words.word);
	return status;
}

static int
dispatch(int argc, char **argv)
{
	int index;

	int status = options_global(argc, argv, &index);
	if (status != 0)
		return status;
	if (ctl.help) {
		help_print(stdout, NULL);
		return 0;
	}
	if (ctl.version) {
		printf("pyprepctl %s\n", pyprep_version());
		return 0;
	}
	if (index >= argc) {
		help_print(stderr, NULL);
		return EXIT_USAGE;
	}
	const struct command *command = find_command(argv[index]);
	if (!command)
		return EXIT_USAGE;
	return run_command(command, argc - index - 1, argv + index + 1);
}

int
main(int argc, char **argv)
{
	/* A reader that goes away shows as EPIPE, so that attached jobs can be ended in order. */
	signal(SIGPIPE, SIG_IGN);
	if (!isatty(STDOUT_FILENO))
		setvbuf(stdout, NULL, _IOFBF, 65536);
	return output_finish(dispatch(argc, argv));
}
