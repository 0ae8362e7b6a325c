/*
 * command.h - a subcommand of pyprepctl: one row and one function.
 *
 * Parser, help and completion all come from the row, so they cannot drift.  To add a
 * subcommand: write its file with `const struct command command_NAME` and add one line to
 * COMMANDS in commands.c.
 *
 * stdout is for the answer, stderr for everything else.  `run` returns the exit status.
 */
#ifndef PYPREP_CTL_COMMAND_H
#define PYPREP_CTL_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/pyprep.h"

/* Exit statuses of pyprepctl's own; a job's own status may be any other. */
enum {
	EXIT_SOME_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_SUCH = 3, /* no such job; for `status` also: no daemon */
	EXIT_UNREACHABLE = 69,
	EXIT_TRY_LATER = 75,
	EXIT_NOT_ALLOWED = 77,
	EXIT_TIMED_OUT = 124,
	EXIT_OURS = 125,      /* pyprepctl or pyprepd failed, the job's status is unknown */
	EXIT_SIGNALLED = 128, /* plus the signal */
};

enum option_type {
	OPTION_END,
	OPTION_FLAG,     /* into: bool */
	OPTION_TEXT,     /* into: const char * */
	OPTION_CHOICE,   /* into: const char *; `value` lists the choices: "auto|always|never" */
	OPTION_INT,      /* into: int64_t; low .. high */
	OPTION_DURATION, /* into: uint64_t, ns; "1.5", "500ms", "2s", "1m" */
	OPTION_SIZE,     /* into: uint64_t, bytes; "512M", "1G" */
	OPTION_LIST,     /* into: struct option_list: may be given again, each adds one */
};

/* The values of an option that may be given more than once, in order. */
struct option_list {
	const char **value;
	unsigned count;
};

struct option_row {
	const char *name; /* without the two dashes */
	char letter;      /* 0: none */
	enum option_type type;
	void *into;
	const char *value; /* its name in help; NULL for a flag */
	const char *help;
	int64_t low, high;
};

/* What the command line says apart from options.  Owned by the parser. */
struct words {
	char **word; /* before "--" */
	int count;
	char **rest; /* after "--", NULL at the end */
	int rest_count;
	bool rest_given; /* there was a "--" */
};

/* What the words of a command are, for completion. */
enum complete { COMPLETE_NOTHING, COMPLETE_KIND, COMPLETE_JOB, COMPLETE_COMMAND, COMPLETE_WORDS };

struct command {
	const char *name;
	const char *args;                 /* usage, after the name */
	const char *summary;              /* one line, small first letter, no full stop */
	const char *examples;             /* lines, each indented by two spaces */
	const char *more;                 /* further text of the help, or NULL */
	const struct option_row *options; /* ends with OPTION_END; NULL: none */
	enum complete complete;
	const char *choices; /* COMPLETE_WORDS: "bash zsh fish" */
	int (*run)(const struct words *words);
};

extern const struct command *const commands[]; /* NULL at the end, in the order of help */
extern const struct option_row global_options[];
const struct command *command_by_name(const char *name);

/* What the global options (and --json, -q where a command has them) said.  Written by the
 * parser only. */
struct ctl {
	const char *runtime_dir; /* NULL: as pyprep_connect() finds it */
	const char *lane;        /* shm, unix, zmq; NULL: as pyprep_connect() chooses */
	const char *color;       /* auto, always, never */
	const char *units;       /* auto, human, base */
	bool help, version;
	bool json;
	bool quiet;
};
extern struct ctl ctl;

#define OPTION_ROW_JSON                                                                        \
	{                                                                                      \
		"json", 0, OPTION_FLAG, &ctl.json, NULL, "print JSON, one object a line", 0, 0 \
	}
#define OPTION_ROW_END                                      \
	{                                                   \
		NULL, 0, OPTION_END, NULL, NULL, NULL, 0, 0 \
	}

/* help.c.  With no command: the list of all. */
void help_print(FILE *out, const struct command *command);

#endif
