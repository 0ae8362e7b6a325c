/* map.c - pyprepctl map: one kind over many items. */
#include "client/ctl/map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/ctl/number.h"
#include "client/ctl/policy_options.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"
#include "client/ctl/units.h"
#include "ipc/clock.h"

static struct {
	const char *pool, *param, *output;
	uint64_t timeout_ns;
	bool each;
	struct policy_options policy;
} arg;

static const struct option_row options[] = {
	{ "param", 0, OPTION_TEXT, &arg.param, "NAME",
	  "the parameter that takes the item (else the kind's first fitting one)", 0, 0 },
	{ "pool", 'p', OPTION_TEXT, &arg.pool, "P", "run in this pool", 0, 0 },
	{ "timeout", 't', OPTION_DURATION, &arg.timeout_ns, "S", "of each job, as for submit", 0,
	  0 },
	{ "output", 'o', OPTION_TEXT, &arg.output, "FILE",
	  "write all results, one a line; -: stdout", 0, 0 },
	{ "each", 0, OPTION_FLAG, &arg.each, NULL,
	  "one job per item, also where one array job would do", 0, 0 },
	POLICY_OPTION_ROWS(arg.policy),
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "no summary", 0, 0 },
	OPTION_ROW_END,
};

void
map_sample_put(struct map_sample *sample, uint64_t index, uint64_t count, const char *item,
	       const char *result)
{
	unsigned place;

	if (index < SAMPLE_ENDS)
		place = (unsigned)index;
	else if (count > 0 && index + SAMPLE_ENDS >= count)
		place = (unsigned)(index + 2 * SAMPLE_ENDS - count);
	else
		return;
	snprintf(sample->text[place], sizeof sample->text[place], "%.40s -> %.50s", item, result);
}

void
map_summary(const struct map *map, uint64_t items, uint64_t failed, uint64_t wall_ns,
	    const struct map_sample *sample)
{
	double seconds = (double)wall_ns / (double)NS_PER_S;

	printf("%s items of %s in %s: %s failed", unit_count(items).text, map->kind,
	       unit_time_human(wall_ns).text, unit_count(failed).text);
	if (seconds > 0)
		printf("; %s items/s", unit_rate((double)items / seconds).text);
	putchar('\n');
	for (unsigned i = 0; i < 2 * SAMPLE_ENDS; i++) {
		if (i == SAMPLE_ENDS && items > 2 * SAMPLE_ENDS)
			printf("  ...\n");
		if (sample->text[i][0])
			printf("  %s\n", sample->text[i]);
	}
}

/* ---- what the daemon knows of the kind ---- */

struct form {
	bool array;  /* LO..HI can be one array job */
	bool pieces; /* which takes parameters */
};

static int
got_array(void *context, const msgpack_object *map)
{
	struct form *form = context;

	form->array = field_bool(map, "array");
	form->pieces = field_bool(map, "pieces");
	return 0;
}

static int
ask_array(struct pyprep *p, const struct map *map, struct form *ret)
{
	struct request request;

	request_begin(&request, "resolve", map->pool ? 2 : 1);
	request_text(&request, "kind", map->kind);
	if (map->pool)
		request_text(&request, "pool", map->pool);
	return request_send(&request, p, got_array, ret);
}

/* The first parameter that can take the item: an integer for a range. */
static int
got_kind(void *context, const msgpack_object *kind)
{
	struct map *map = context;
	const msgpack_object *param;

	if (!field_text_is(kind, "name", map->kind))
		return 0;
	unsigned count = field_list(kind, "params", &param);
	for (unsigned i = 0; i < count && !map->param[0]; i++)
		if (!map->range || field_text_is(&param[i], "type", "int"))
			snprintf(map->param, sizeof map->param, "%.*s",
				 FIELD_TEXT(&param[i], "name"));
	return 0;
}

static int
find_param(struct pyprep *p, struct map *map)
{
	struct request request;

	if (map->argv)
		return 0;
	if (arg.param) {
		snprintf(map->param, sizeof map->param, "%s", arg.param);
		return 0;
	}
	request_begin(&request, "kinds", 0);
	int status = request_send(&request, p, got_kind, map);
	if (status == 0 && !map->param[0])
		return ctl_fail(EXIT_USAGE, "usage",
				"%s has no %sparameter that could take the items; see 'pyprepctl "
				"kinds %s'",
				map->kind, map->range ? "integer " : "", map->kind);
	return status;
}

/* ---- the command line ---- */

static int
read_words(const struct words *words, struct map *map)
{
	if (words->count < 2)
		return ctl_fail(
			EXIT_USAGE, "usage",
			"map takes a kind and its items: map square 0..1000, or map KIND - for "
			"lines of standard input");
	const char *items = words->word[1];
	map->kind = words->word[0];
	map->range = strcmp(items, "-") != 0;
	if (map->range && number_range(items, &map->low, &map->high) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"the items are LO..HI (HI not included, above LO) or -, not '%s'",
				items);
	bool exec = strcmp(map->kind, "exec") == 0;
	if (exec && words->rest_count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"exec takes its command after --; each item becomes its last word: "
				"map exec - -- gzip");
	if (!exec && words->rest_given)
		return ctl_fail(EXIT_USAGE, "usage",
				"only exec takes a command after --; %s takes name=value",
				map->kind);
	for (int i = 2; i < words->count; i++)
		if (!strchr(words->word[i], '=') || words->word[i][0] == '=')
			return ctl_fail(EXIT_USAGE, "usage",
					"'%s' is not name=value; see 'pyprepctl kinds %s'",
					words->word[i], map->kind);
	map->params = words->word + 2;
	map->param_count = words->count - 2;
	map->argv = exec ? words->rest : NULL;
	map->argv_count = words->rest_count;
	map->pool = arg.pool;
	map->timeout_ns = arg.timeout_ns;
	return 0;
}

static int
open_output(struct map *map)
{
	if (!arg.output) {
		/* lines in, lines out */
		map->out = map->range || ctl.json ? NULL : stdout;
		return 0;
	}
	map->out = strcmp(arg.output, "-") == 0 ? stdout : fopen(arg.output, "we");
	if (!map->out)
		return ctl_fail(EXIT_USAGE, "usage", "cannot write %s: %s", arg.output,
				strerror(errno));
	return 0;
}

static int
close_output(struct map *map, int status)
{
	if (!map->out || map->out == stdout)
		return status;
	bool failed = ferror(map->out) != 0;
	if (fclose(map->out) != 0 || failed)
		return ctl_fail(EXIT_OURS, "internal", "cannot write %s: %s", arg.output,
				strerror(errno));
	return status;
}

static int
map_with(struct pyprep *p, struct map *map)
{
	struct form form = { 0 };

	int status = ask_array(p, map, &form);
	if (status != 0)
		return status;
	if (form.array && map->range && !arg.each && !arg.param &&
	    (form.pieces || map->param_count == 0)) {
		if (arg.policy.retries > 0)
			return ctl_fail(EXIT_USAGE, "usage",
					"%s runs this range as one array job, which is not tried "
					"again: add --each, and each item is a job with --retries",
					map->kind);
		return map_array(p, map);
	}
	status = find_param(p, map);
	return status != 0 ? status : map_each(p, map);
}

static int
map_run(const struct words *words)
{
	struct policy_spec policy = { 0 };
	struct map map = { 0 };
	struct pyprep *p = NULL;

	int status = read_words(words, &map);
	if (status == 0)
		status = policy_options_read(&arg.policy, &policy);
	if (policy.given)
		map.policy = &policy.policy;
	if (status == 0)
		status = ctl_connect(&p);
	if (status == 0)
		status = open_output(&map);
	if (status == 0)
		status = close_output(&map, map_with(p, &map));
	pyprep_close(p);
	policy_spec_free(&policy);
	return status;
}

extern const struct command command_map;
const struct command command_map = {
	.name = "map",
	.args = "[OPTIONS] KIND LO..HI|- [NAME=VALUE ...] [-- CMD ARGS ...]",
	.summary = "run one kind over many items",
	.examples = "  pyprepctl map square 0..1000000\n"
		    "  pyprepctl map fib 0..30 -o results.txt method=memo\n"
		    "  ls *.txt | pyprepctl map lines -\n"
		    "  ls *.txt | pyprepctl map exec - -- gzip -k\n",
	.more = "HI is not included.  Kinds that allow it run LO..HI as one array job; otherwise "
		"each\n"
		"item is a job.  Items from standard input give one line each, in the same order;\n"
		"one that failed leaves its line empty.  Exit status: 1 when some items failed.\n",
	.options = options,
	.complete = COMPLETE_KIND,
	.run = map_run,
};
