/* help.c - the help, printed from the tables of the subcommands. */
#include <string.h>

#include "client/ctl/command.h"

/* "-q, --quiet", "    --count N" */
static int
option_heading(const struct option_row *row, char *buffer, size_t size)
{
	char letter[8] = "    ";

	if (row->letter)
		snprintf(letter, sizeof letter, "-%c, ", row->letter);
	return snprintf(buffer, size, "%s--%s%s%s", letter, row->name, row->value ? " " : "",
			row->value ? row->value : "");
}

static void
print_options(FILE *out, const char *title, const struct option_row *rows)
{
	char heading[80];
	int width = 0;

	if (!rows || rows->type == OPTION_END)
		return;
	for (const struct option_row *row = rows; row->type != OPTION_END; row++) {
		int length = option_heading(row, heading, sizeof heading);
		width = length > width ? length : width;
	}
	fprintf(out, "\n%s:\n", title);
	for (const struct option_row *row = rows; row->type != OPTION_END; row++) {
		option_heading(row, heading, sizeof heading);
		fprintf(out, "  %-*s  %s\n", width, heading, row->help);
	}
}

static void
print_command(FILE *out, const struct command *command)
{
	fprintf(out, "pyprepctl %s: %s\n\nExamples:\n%s", command->name, command->summary,
		command->examples);
	fprintf(out, "\nUsage: pyprepctl %s%s%s\n", command->name, command->args[0] ? " " : "",
		command->args);
	if (command->more)
		fprintf(out, "\n%s", command->more);
	print_options(out, "Options", command->options);
	print_options(out, "Global options", global_options);
}

static void
print_all(FILE *out)
{
	fputs("pyprepctl: submit jobs to pyprepd and see what they cost\n\n"
	      "Examples:\n"
	      "  pyprepctl submit sumsq n=1000000 --count 4\n"
	      "  pyprepctl run exec -- make -j2\n"
	      "  pyprepctl map square 0..1000000\n"
	      "  pyprepctl status\n"
	      "  pyprepctl demo queue\n"
	      "  pyprepctl explain wake-up-cost\n\n"
	      "Usage: pyprepctl [OPTIONS] COMMAND ...\n\nCommands:\n",
	      out);
	for (const struct command *const *c = commands; *c; c++)
		fprintf(out, "  %-10s  %s\n", (*c)->name, (*c)->summary);
	print_options(out, "Global options", global_options);
	fputs("\nExit status: the job's own; 1 some jobs failed; 2 wrong usage; 3 no such job;\n"
	      "69 daemon unreachable; 75 no room, try later; 77 not allowed; 124 timeout;\n"
	      "125 pyprep itself failed; 128+N signal N.\n"
	      "More on a command: pyprepctl help COMMAND\n",
	      out);
}

void
help_print(FILE *out, const struct command *command)
{
	if (command)
		print_command(out, command);
	else
		print_all(out);
}
