/*
 * options.c - reads the command line by the options' tables.
 *
 * As getopt_long does: --name=value, --name value, -n value, -nvalue, -qa for -q -a, options
 * and words in any order, "--" ends options, "-" is a word.  Unlike it: "-5" is a word (a
 * number), names cannot be shortened, and a mistake is answered with the nearest name.
 */
#include "client/ctl/options.h"

#include <ctype.h>
#include <string.h>

#include "client/ctl/nearest.h"
#include "client/ctl/number.h"
#include "client/ctl/report.h"

struct ctl ctl = { .color = "auto", .units = "auto" };

const struct option_row global_options[] = {
	{ "runtime-dir", 0, OPTION_TEXT, &ctl.runtime_dir, "DIR",
	  "the daemon's directory (else $PYPREP_RUNTIME_DIR, else the usual places)", 0, 0 },
	{ "lane", 0, OPTION_CHOICE, &ctl.lane, "shm|unix|zmq",
	  "how jobs travel (else $PYPREP_LANE, else shm)", 0, 0 },
	{ "color", 0, OPTION_CHOICE, &ctl.color, "auto|always|never",
	  "colour; auto: on a terminal, unless NO_COLOR is set or TERM is dumb", 0, 0 },
	{ "units", 0, OPTION_CHOICE, &ctl.units, "auto|human|base",
	  "times as 1.2 ms or as whole ns; auto: human on a terminal", 0, 0 },
	{ "help", 'h', OPTION_FLAG, &ctl.help, NULL, "print this help", 0, 0 },
	{ "version", 0, OPTION_FLAG, &ctl.version, NULL, "print the version", 0, 0 },
	OPTION_ROW_END,
};

/* One reading of a command line. */
struct reader {
	const struct command *command; /* NULL: only global options */
	char **argv;
	int argc;
	int next; /* index of the argument after the present one */
};

static const char *
help_hint(const struct reader *reader, char *buffer, size_t size)
{
	if (reader->command)
		snprintf(buffer, size, "pyprepctl %s --help", reader->command->name);
	else
		snprintf(buffer, size, "pyprepctl --help");
	return buffer;
}

static const struct option_row *
row_by_name(const struct option_row *rows, const char *name, size_t length)
{
	for (; rows && rows->type != OPTION_END; rows++)
		if (strlen(rows->name) == length && memcmp(rows->name, name, length) == 0)
			return rows;
	return NULL;
}

static const struct option_row *
row_by_letter(const struct option_row *rows, char letter)
{
	for (; rows && rows->type != OPTION_END; rows++)
		if (rows->letter == letter)
			return rows;
	return NULL;
}

static int
unknown_option(const struct reader *reader, const char *text)
{
	char hint[80];
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (int table = 0; table < 2; table++) {
		const struct option_row *row = table == 0        ? global_options
					       : reader->command ? reader->command->options
								 : NULL;
		for (; row && row->type != OPTION_END; row++)
			nearest_offer(&nearest, row->name);
	}
	help_hint(reader, hint, sizeof hint);
	const char *best = nearest_best(&nearest);
	if (best)
		return ctl_fail(EXIT_USAGE, "usage",
				"unknown option --%s; did you mean --%s?  See %s", text, best,
				hint);
	return ctl_fail(EXIT_USAGE, "usage", "unknown option --%s; see %s", text, hint);
}

static int
set_choice(const struct option_row *row, const char *value)
{
	if (!choice_has(row->value, value))
		return ctl_fail(EXIT_USAGE, "usage", "--%s wants one of %s, not '%s'", row->name,
				row->value, value);
	*(const char **)row->into = value;
	return 0;
}

static int
add_to_list(struct option_list *list, const char *value)
{
	list->value = ctl_realloc(list->value, (list->count + 1) * sizeof *list->value);
	list->value[list->count++] = value;
	return 0;
}

/* Store one option's value. */
static int
set_option(const struct option_row *row, const char *value)
{
	switch (row->type) {
	case OPTION_END:
	case OPTION_FLAG:
		*(bool *)row->into = true;
		return 0;
	case OPTION_TEXT:
		*(const char **)row->into = value;
		return 0;
	case OPTION_CHOICE:
		return set_choice(row, value);
	case OPTION_INT:
		if (number_int(value, row->low, row->high, row->into) == 0)
			return 0;
		return ctl_fail(EXIT_USAGE, "usage",
				"--%s wants a whole number from %lld to %lld, not '%s'", row->name,
				(long long)row->low, (long long)row->high, value);
	case OPTION_DURATION:
		if (number_duration(value, row->into) == 0)
			return 0;
		return ctl_fail(EXIT_USAGE, "usage",
				"--%s wants a time such as 1.5, 500ms, 2s or 1m, not '%s'",
				row->name, value);
	case OPTION_SIZE:
		if (number_size(value, row->into) == 0)
			return 0;
		return ctl_fail(EXIT_USAGE, "usage",
				"--%s wants a size such as 65536, 64K, 512M or 2G, not '%s'",
				row->name, value);
	case OPTION_LIST:
		return add_to_list(row->into, value);
	}
	return 0;
}

/* The value of an option that needs one: what is attached to it, or the next argument. */
static const char *
value_of(struct reader *reader, const char *attached)
{
	if (attached)
		return attached;
	return reader->next < reader->argc ? reader->argv[reader->next++] : NULL;
}

static int
missing_value(const struct option_row *row)
{
	return ctl_fail(EXIT_USAGE, "usage", "--%s needs a value: --%s %s", row->name, row->name,
			row->value);
}

static int
read_long(struct reader *reader, const char *text)
{
	size_t length = strcspn(text, "=");
	const char *attached = text[length] == '=' ? text + length + 1 : NULL;
	const struct option_row *row = NULL;

	if (reader->command)
		row = row_by_name(reader->command->options, text, length);
	if (!row)
		row = row_by_name(global_options, text, length);
	if (!row) {
		char name[64];
		snprintf(name, sizeof name, "%.*s", (int)length, text);
		return unknown_option(reader, name);
	}
	if (row->type == OPTION_FLAG) {
		if (attached)
			return ctl_fail(EXIT_USAGE, "usage", "--%s takes no value, not '%s'",
					row->name, attached);
		return set_option(row, NULL);
	}
	const char *value = value_of(reader, attached);
	return value ? set_option(row, value) : missing_value(row);
}

static int
read_letters(struct reader *reader, const char *text)
{
	char hint[80];

	for (; *text; text++) {
		const struct option_row *row = NULL;
		if (reader->command)
			row = row_by_letter(reader->command->options, *text);
		if (!row)
			row = row_by_letter(global_options, *text);
		if (!row)
			return ctl_fail(EXIT_USAGE, "usage",
					"unknown option -%c; see %s (a command's own options go "
					"after --)",
					*text, help_hint(reader, hint, sizeof hint));
		if (row->type != OPTION_FLAG) {
			const char *value = value_of(reader, text[1] ? text + 1 : NULL);
			return value ? set_option(row, value) : missing_value(row);
		}
		set_option(row, NULL);
	}
	return 0;
}

static bool
is_option(const char *text)
{
	return text[0] == '-' && text[1] != '\0' && !isdigit((unsigned char)text[1]);
}

static int
read_option(struct reader *reader, const char *text)
{
	return text[1] == '-' ? read_long(reader, text + 2) : read_letters(reader, text + 1);
}

int
options_global(int argc, char **argv, int *ret_index)
{
	struct reader reader = { .argv = argv, .argc = argc, .next = 1 };

	while (reader.next < argc && is_option(argv[reader.next])) {
		const char *text = argv[reader.next++];
		if (strcmp(text, "--") == 0)
			break;
		int r = read_option(&reader, text);
		if (r != 0)
			return r;
	}
	*ret_index = reader.next;
	return 0;
}

/* A mistake earlier on the line than --json is answered in JSON, too. */
static bool
asks_json(const struct command *command, int argc, char **argv)
{
	if (!row_by_name(command->options, "json", 4))
		return false;
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

int
options_command(const struct command *command, int argc, char **argv, struct words *ret)
{
	struct reader reader = { .command = command, .argv = argv, .argc = argc, .next = 0 };

	ctl.json = asks_json(command, argc, argv);
	ret->word = ctl_alloc((size_t)argc + 1, sizeof *ret->word);
	while (reader.next < argc) {
		char *text = argv[reader.next++];
		if (strcmp(text, "--") == 0) {
			ret->rest_given = true;
			break;
		}
		if (!is_option(text)) {
			ret->word[ret->count++] = text;
			continue;
		}
		int r = read_option(&reader, text);
		if (r != 0)
			return r;
	}
	ret->rest = argv + reader.next;
	ret->rest_count = argc - reader.next;
	return 0;
}
