/* array.c - pyprepctl array: typed arrays in shared memory, by name. */
#include "client/ctl/array.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/nearest.h"
#include "client/ctl/report.h"

struct array_options array_options = { .seed = 1 };

static const struct option_row options[] = {
	{ "weak", 0, OPTION_FLAG, &array_options.weak, NULL,
	  "create, adopt: the name goes with the last process that holds it", 0, 0 },
	{ "mode", 0, OPTION_TEXT, &array_options.mode, "OCTAL",
	  "create: who may open it (default 0600)", 0, 0 },
	{ "seed", 0, OPTION_INT, &array_options.seed, "N",
	  "random: which numbers (default 1); the same for the same N", 0, INT64_MAX },
	{ "here", 0, OPTION_FLAG, &array_options.here, NULL,
	  "work in this process, also when a daemon runs", 0, 0 },
	{ "pool", 'p', OPTION_TEXT, &array_options.pool, "P", "work in this pool", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the result; ls: only the names", 0,
	  0 },
	OPTION_ROW_END,
};

static const struct verb {
	const char *name;
	int words;
	const char *usage;
	array_verb_fn run;
} verbs[] = {
	{ "create", 3, "array create NAME TYPE SHAPE", array_verb_create },
	{ "adopt", 3, "array adopt NAME TYPE SHAPE", array_verb_adopt },
	{ "ls", 0, "array ls", array_verb_ls },
	{ "stat", 1, "array stat NAME", array_verb_stat },
	{ "show", 1, "array show NAME", array_verb_show },
	{ "fill", 2, "array fill NAME VALUE", array_verb_fill },
	{ "scale", 2, "array scale NAME FACTOR", array_verb_scale },
	{ "random", 1, "array random NAME [--seed N]", array_verb_random },
	{ "sum", 1, "array sum NAME", array_verb_sum },
	{ "dot", 2, "array dot NAME NAME", array_verb_dot },
	{ "sort", 1, "array sort NAME", array_verb_sort },
	{ "hold", 1, "array hold NAME -- CMD ARGS", array_verb_hold },
	{ "rm", 1, "array rm NAME", array_verb_rm },
	{ "restore", 1, "array restore NAME", array_verb_restore },
	{ "collect", 0, "array collect", array_verb_collect },
};
#define VERBS (sizeof verbs / sizeof verbs[0])
#define VERB_NAMES \
	"create adopt ls stat show fill scale random sum dot sort hold rm restore collect"

static int
unknown_verb(const char *text)
{
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (unsigned i = 0; i < VERBS; i++)
		nearest_offer(&nearest, verbs[i].name);
	const char *best = nearest_best(&nearest);
	return ctl_fail(EXIT_USAGE, "usage", "array has no '%s'; %s%s%s", text,
			best ? "did you mean '" : "it takes " VERB_NAMES, best ? best : "",
			best ? "'?" : "");
}

/* Whoever may write to an array's file may also cut it short while we read it. */
static void
on_sigbus(int number)
{
	static const char text[] = "pyprepctl: the array's file was cut short while it was read\n";

	(void)number;
	(void)!write(STDERR_FILENO, text, sizeof text - 1);
	_exit(EXIT_OURS);
}

static int
array_run(const struct words *words)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	unsigned i = 0;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage", "array takes one of " VERB_NAMES);
	while (i < VERBS && strcmp(verbs[i].name, words->word[0]) != 0)
		i++;
	if (i == VERBS)
		return unknown_verb(words->word[0]);
	if (words->count != verbs[i].words + 1)
		return ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl %s", verbs[i].usage);
	if (words->rest_given && verbs[i].run != array_verb_hold)
		return ctl_fail(EXIT_USAGE, "usage", "only array hold takes a command after --");
	sigaction(SIGBUS, &action, NULL);
	return verbs[i].run(words->word + 1, words);
}

extern const struct command command_array;
const struct command command_array = {
	.name = "array",
	.args = "VERB [NAME ...] [OPTIONS]",
	.summary = "arrays in shared memory: make them, look at them, compute on them",
	.examples = "  pyprepctl array create prices f64 1000,1000\n"
		    "  pyprepctl array random prices --seed 7\n"
		    "  pyprepctl array show prices\n"
		    "  pyprepctl array sum prices\n"
		    "  pyprepctl array rm prices\n",
	.more = "create NAME TYPE SHAPE   of zeroes; TYPE i8 i16 i32 i64 u8 u16 u32 u64 f32 f64\n"
		"adopt NAME TYPE SHAPE    what Python made by SharedMemory(name=\"NAME\")\n"
		"ls, stat NAME, show NAME what there is; one in detail; its contents\n"
		"fill NAME VALUE, scale NAME FACTOR, random NAME, sum NAME, dot NAME NAME,\n"
		"sort NAME                compute: as jobs over the workers when a daemon runs\n"
		"hold NAME -- CMD ARGS    be a holder of NAME while CMD runs\n"
		"rm NAME, restore NAME    remove it; give back a name that others removed\n"
		"collect                  remove what nobody can use any more\n"
		"\n"
		"The data is /dev/shm/NAME, so Python attaches to it without a copy.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = VERB_NAMES,
	.run = array_run,
};
