/*
 * counter.c - pyprepctl counter add|get|set|cas|ls|rm: the daemon's counters, through its manager
 * or straight in memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/number.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"

static struct {
	bool manager, atomic;
} arg;

static const struct option_row options[] = {
	{ "manager", 0, OPTION_FLAG, &arg.manager, NULL,
	  "ask the manager process (default): two messages", 0, 0 },
	{ "atomic", 0, OPTION_FLAG, &arg.atomic, NULL,
	  "map the table and change it here: one instruction", 0, 0 },
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "ls: only the names; else: print nothing", 0,
	  0 },
	OPTION_ROW_END,
};

/* One of the two ways, open. */
struct way {
	struct pyprep_manager *manager; /* or */
	struct pyprep_counters *table;
};

static int
way_open(struct way *way)
{
	struct pyprep_problem why;
	struct pyprep *p;

	*way = (struct way){ 0 };
	if (!arg.atomic) {
		int r = pyprep_manager_connect(ctl.runtime_dir, &way->manager, &why);
		return r < 0 ? ctl_fail_problem(&why) : 0;
	}
	int status = ctl_connect(&p);
	if (status != 0)
		return status;
	int r = pyprep_counters_attach(p, &way->table, &why);
	pyprep_close(p);
	return r < 0 ? ctl_fail_problem(&why) : 0;
}

static void
way_close(struct way *way)
{
	pyprep_manager_close(way->manager);
	pyprep_counters_detach(way->table);
}

/* ---- the atomic way, by name ---- */

static int
removed_meanwhile(const char *name, struct pyprep_problem *why)
{
	*why = (struct pyprep_problem){ .code = "no_such_counter", .exit_status = EXIT_NO_SUCH };
	snprintf(why->message, sizeof why->message, "counter '%s' was removed meanwhile", name);
	return -ENOENT;
}

static int
differs(const char *name, int64_t value, struct pyprep_problem *why)
{
	*why = (struct pyprep_problem){ .code = "differs", .exit_status = EXIT_SOME_FAILED };
	snprintf(why->message, sizeof why->message,
		 "counter '%s' is %" PRId64 ", not what was expected, and was left", name, value);
	return -ECANCELED;
}

static int
atomic_change(struct pyprep_counters *table, const char *verb, const char *name,
	      const int64_t *number, int64_t *ret_value, struct pyprep_problem *why)
{
	struct pyprep_counter c;
	bool makes = strcmp(verb, "add") == 0 || strcmp(verb, "set") == 0;
	int r = pyprep_counter_open(table, name, makes, &c, why);

	if (r < 0)
		return r;
	*ret_value = number[0];
	if (strcmp(verb, "add") == 0)
		r = pyprep_counter_add(&c, number[0], ret_value);
	else if (strcmp(verb, "set") == 0)
		r = pyprep_counter_set(&c, number[0]);
	else if (strcmp(verb, "get") == 0)
		r = pyprep_counter_get(&c, ret_value);
	else
		r = pyprep_counter_cas(&c, number[0], number[1], ret_value);
	if (r == -ESTALE)
		return removed_meanwhile(name, why);
	return r == -EAGAIN ? differs(name, *ret_value, why) : r;
}

/* ---- the manager's ---- */

static int
manager_change(struct pyprep_manager *m, const char *verb, const char *name, const int64_t *number,
	       int64_t *ret_value, struct pyprep_problem *why)
{
	int r;

	*ret_value = number[0];
	if (strcmp(verb, "add") == 0)
		r = pyprep_manager_add(m, name, number[0], ret_value, why);
	else if (strcmp(verb, "set") == 0)
		r = pyprep_manager_set(m, name, number[0], why);
	else if (strcmp(verb, "get") == 0)
		r = pyprep_manager_get(m, name, ret_value, why);
	else
		r = pyprep_manager_cas(m, name, number[0], number[1], ret_value, why);
	return r == -ECANCELED ? differs(name, *ret_value, why) : r;
}

/* ---- the verbs ---- */

/* "pyprep.counter/1": name and value. */
static void
print_counter(const char *name, int64_t value)
{
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s, s:o}", "schema", "pyprep.counter/1", "name",
					  name, "value", json_of_i64(value)));
	else if (!ctl.quiet)
		printf("%" PRId64 "\n", value);
}

struct guess {
	struct nearest nearest;
	char best[64]; /* names are gone after their call */
};

static int
offer(void *context, const char *name, int64_t value)
{
	struct guess *guess = context;

	(void)value;
	nearest_offer(&guess->nearest, name);
	if (guess->nearest.best == name) {
		snprintf(guess->best, sizeof guess->best, "%s", name);
		guess->nearest.best = guess->best;
	}
	return 0;
}

/* What went wrong with `name`; when there is no such counter, with the one that was meant. */
static int
fail_with(struct way *way, const char *name, struct pyprep_problem *why)
{
	struct guess guess = { 0 };
	struct pyprep_problem ignored;

	if (why->exit_status != EXIT_NO_SUCH)
		return ctl_fail_problem(why);
	nearest_begin(&guess.nearest, name);
	if (way->manager != NULL)
		(void)pyprep_manager_each(way->manager, offer, &guess, &ignored);
	else
		(void)pyprep_counter_each(way->table, offer, &guess);
	const char *best = nearest_best(&guess.nearest);
	if (best != NULL)
		snprintf(why->message, sizeof why->message,
			 "there is no counter '%s'; did you mean '%s'?", name, best);
	return ctl_fail_problem(why);
}

static int
run_change(struct way *way, const char *verb, char *const *word, const int64_t *number)
{
	struct pyprep_problem why = { 0 };
	int64_t value = 0;
	int r = way->manager != NULL
			? manager_change(way->manager, verb, word[0], number, &value, &why)
			: atomic_change(way->table, verb, word[0], number, &value, &why);

	if (r < 0)
		return fail_with(way, word[0], &why);
	print_counter(word[0], value);
	return 0;
}

static int
run_remove(struct way *way, char *const *word, int count)
{
	struct pyprep_problem why = { 0 };
	int status = 0;

	for (int i = 0; i < count; i++) {
		int r = way->manager != NULL ? pyprep_manager_remove(way->manager, word[i], &why)
					     : pyprep_counter_remove(way->table, word[i], &why);
		if (r < 0)
			status = fail_with(way, word[i], &why);
		else if (ctl.json)
			json_print_line(json_pack("{s:s, s:s}", "schema", "pyprep.counter/1",
						  "removed", word[i]));
	}
	return status;
}

static int
list_one(void *context, const char *name, int64_t value)
{
	struct table *table = context;

	if (ctl.json)
		print_counter(name, value);
	else if (ctl.quiet)
		printf("%s\n", name);
	else {
		table_text(table, COLOUR_NONE, "%s", name);
		table_number(table, value);
	}
	return 0;
}

static int
run_list(struct way *way)
{
	static const struct column columns[] = { { "counter", COLUMN_TEXT, 0 },
						 { "value", COLUMN_NUMBER, 0 } };
	struct pyprep_problem why;
	struct table table;
	int r;

	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	if (way->manager != NULL)
		r = pyprep_manager_each(way->manager, list_one, &table, &why);
	else
		r = pyprep_counter_each(way->table, list_one, &table);
	table_print(&table);
	return r < 0 ? ctl_fail_problem(&why) : 0;
}

static const struct verb {
	const char *name;
	int words, numbers; /* after the verb: names, then numbers; -1: one or more names */
	const char *usage;
} verbs[] = {
	{ "add", 1, 1, "counter add NAME NUMBER" },
	{ "get", 1, 0, "counter get NAME" },
	{ "set", 1, 1, "counter set NAME NUMBER" },
	{ "cas", 1, 2, "counter cas NAME EXPECTED NUMBER" },
	{ "ls", 0, 0, "counter ls" },
	{ "rm", -1, 0, "counter rm NAME ..." },
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static const struct verb *
find_verb(const char *text)
{
	struct nearest nearest;

	nearest_begin(&nearest, text);
	for (unsigned i = 0; i < VERBS; i++) {
		if (strcmp(verbs[i].name, text) == 0)
			return &verbs[i];
		nearest_offer(&nearest, verbs[i].name);
	}
	const char *best = nearest_best(&nearest);
	ctl_fail(EXIT_USAGE, "usage", "counter takes add, get, set, cas, ls or rm, not '%s'%s%s%s",
		 text, best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
	return NULL;
}

/* Numbers below 0 look like options: they come after "--". */
static int
gather(const struct words *words, char *all[8], int *ret_count)
{
	int n = 0;

	for (int i = 0; i < words->count; i++, n++)
		if (n < 8)
			all[n] = words->word[i];
	for (int i = 0; i < words->rest_count; i++, n++)
		if (n < 8)
			all[n] = words->rest[i];
	*ret_count = n;
	return n <= 8 ? 0 : -E2BIG;
}

static int
parse_numbers(const struct verb *verb, char *const *word, int64_t *ret)
{
	for (int i = 0; i < verb->numbers; i++)
		if (number_int(word[1 + i], INT64_MIN, INT64_MAX, &ret[i]) < 0)
			return ctl_fail(
				EXIT_USAGE, "usage",
				"'%s' is no number: expected a whole one of 64 bits; write: "
				"pyprepctl %s",
				word[1 + i], verb->usage);
	return 0;
}

static int
counter_run(const struct words *words)
{
	char *word[8] = { NULL };
	int count;
	int64_t number[2] = { 0 };
	struct way way;

	if (words->count == 0)
		return ctl_fail(EXIT_USAGE, "usage", "counter takes add, get, set, cas, ls or rm");
	const struct verb *verb = find_verb(words->word[0]);
	if (verb == NULL)
		return EXIT_USAGE;
	if (gather(words, word, &count) < 0 ||
	    (verb->words >= 0 ? count - 1 != verb->words + verb->numbers : count < 2))
		return ctl_fail(EXIT_USAGE, "usage", "write: pyprepctl %s", verb->usage);
	if (arg.atomic && arg.manager)
		return ctl_fail(EXIT_USAGE, "usage",
				"--manager and --atomic are two ways: choose one");
	int status = parse_numbers(verb, word + 1, number);
	if (status == 0)
		status = way_open(&way);
	if (status != 0)
		return status;
	if (verb->words < 0)
		status = run_remove(&way, word + 1, count - 1);
	else if (verb->words == 0)
		status = run_list(&way);
	else
		status = run_change(&way, verb->name, word + 1, number);
	way_close(&way);
	return status;
}

extern const struct command command_counter;
const struct command command_counter = {
	.name = "counter",
	.args = "add NAME N | get NAME | set NAME N | cas NAME OLD NEW | ls | rm NAME ...",
	.summary = "shared counters, kept by the daemon",
	.examples = "  pyprepctl counter add builds 1\n"
		    "  pyprepctl counter add builds -- -1\n"
		    "  pyprepctl counter get --atomic builds\n"
		    "  pyprepctl counter cas leader 0 $$\n"
		    "  pyprepctl counter ls --json\n",
	.more = "Two ways to the same counters, exact also when both are used at once:\n"
		"  --manager  a request to the manager process and its answer: two messages over\n"
		"             ZeroMQ, two wakes; about a hundred microseconds, one at a time\n"
		"  --atomic   the table is mapped and changed here: an add is one instruction, a "
		"few\n"
		"             nanoseconds; whoever may attach may change every value\n"
		"Either way pyprepctl itself costs milliseconds to start: programs use libpyprep\n"
		"(pyprep-ipc(7)).  add and set make a counter that is not there.  The counters "
		"live as\n"
		"long as the daemon.  Numbers below 0 come after \"--\".\n"
		"Exit status: 1 cas found another value; 3 no such counter; 75 no room, or the "
		"manager\n"
		"does not answer.\n",
	.options = options,
	.complete = COMPLETE_WORDS,
	.choices = "add get set cas ls rm",
	.run = counter_run,
};
