/* array_names.c - pyprepctl array: the verbs about names. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/array.h"
#include "client/ctl/ipc.h"
#include "client/ctl/nearest.h"
#include "client/ctl/number.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "shm/owner.h"

/* ---- what went wrong ---- */

struct offers {
	struct nearest nearest;
	char best[NAMED_MAX + 1]; /* nearest.h keeps pointers; a stat is gone after its call */
};

static int
offer(void *context, const struct array_stat *stat)
{
	struct offers *offers = context;
	const char *before = offers->nearest.best;

	nearest_offer(&offers->nearest, stat->name);
	if (offers->nearest.best != before) {
		memcpy(offers->best, stat->name, sizeof offers->best);
		offers->nearest.best = offers->best;
	}
	return 0;
}

static int
fail_unknown(const char *name)
{
	struct offers offers;

	nearest_begin(&offers.nearest, name);
	(void)array_each(offer, &offers);
	const char *best = nearest_best(&offers.nearest);
	if (best && strcmp(best, name) != 0)
		return ctl_fail(EXIT_NO_SUCH, "no_such_array",
				"there is no array '%s'; did you mean '%s'?", name, best);
	return ctl_fail(EXIT_NO_SUCH, "no_such_array",
			"there is no array '%s'; 'pyprepctl array ls' lists all", name);
}

static int
fail_stale(const char *name)
{
	struct array_stat stat;

	if (array_stat(name, &stat) < 0)
		return fail_unknown(name);
	if (stat.state == ARRAY_REPLACED)
		return ctl_fail(EXIT_SOME_FAILED, "array_replaced",
				"/dev/shm/%s is another file than array '%s' was made of; remove "
				"that one and 'pyprepctl array restore %s', or 'array rm %s'",
				name, name, name, name);
	if (stat.restorable)
		return ctl_fail(EXIT_SOME_FAILED, "array_name_gone",
				"somebody removed the name of array '%s', its memory is there: "
				"'pyprepctl array restore %s' gives the name back, 'array rm %s' "
				"ends it",
				name, name, name);
	return ctl_fail(EXIT_SOME_FAILED, "array_name_gone",
			"/dev/shm/%s was removed by the program that made it; 'pyprepctl array rm "
			"%s' forgets it",
			name, name);
}

int
array_fail(const char *name, int r)
{
	switch (r) {
	case -ENOENT:
		return fail_unknown(name);
	case -ESTALE:
		return fail_stale(name);
	case -EINVAL:
		return ctl_fail(EXIT_USAGE, "usage",
				"'%s' cannot be a name: 1 to %d letters, digits and . _ - , not "
				"beginning with . or - or " NAMED_PREFIX,
				name, NAMED_MAX);
	case -EEXIST:
		return ctl_fail(EXIT_SOME_FAILED, "exists",
				"'%s' is taken: by an array ('pyprepctl array ls'), or another "
				"program's /dev/shm/%s ('array adopt')",
				name, name);
	case -ENOSPC:
		return ctl_fail(EXIT_TRY_LATER, "no_space",
				"/dev/shm has no room for array '%s'; 'df -h /dev/shm' tells how "
				"much there is, 'pyprepctl array collect' frees what nobody uses",
				name);
	case -EFBIG:
		return ctl_fail(EXIT_USAGE, "usage", "that shape is more memory than there can be");
	case -EACCES:
	case -EPERM:
		return ctl_fail(EXIT_NOT_ALLOWED, "not_allowed",
				"you may not do that with array '%s': it is another user's "
				"('pyprepctl array stat %s')",
				name, name);
	case -EPROTO:
		return ctl_fail(EXIT_OURS, "internal",
				"/dev/shm/pyprep.array.%s makes no sense; remove it by hand", name);
	case -EBUSY:
		return ctl_fail(EXIT_TRY_LATER, "busy",
				"a stopped process holds the lock of array '%s'; let it go on, or "
				"end it",
				name);
	default:
		return ctl_fail(EXIT_OURS, "internal", "array '%s': %s", name, strerror(-r));
	}
}

int
array_find(const char *name, struct array_stat *ret)
{
	int r = array_stat(name, ret);

	if (r < 0)
		return array_fail(name, r);
	if (ret->state == ARRAY_CUT_OFF || ret->state == ARRAY_LEFT)
		return array_fail(name, -ENOENT);
	return ret->state == ARRAY_WHOLE ? 0 : array_fail(name, -ESTALE);
}

int
array_open(const char *name, unsigned flags, struct array **ret)
{
	int r = array_attach(name, flags | ARRAY_LOOK, ret);

	return r < 0 ? array_fail(name, r) : 0;
}

/* ---- JSON ---- */

json_t *
array_value_json(enum array_type type, union array_value value)
{
	char text[64];

	if (array_type_is_real(type) && isfinite(value.f))
		return json_real(value.f);
	if (!array_type_is_real(type))
		return array_type_is_signed(type) ? json_of_i64(value.i) : json_of_u64(value.u);
	array_value_print(type, value, text, sizeof text);
	return json_string(text);
}

json_t *
array_shape_json(const struct array_shape *shape)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < shape->dimensions; i++)
		json_array_append_new(list, json_of_u64(shape->length[i]));
	return list;
}

static uint64_t
age_ns(const struct array_stat *stat)
{
	uint64_t now = clock_wall();

	return now > stat->created_ns ? now - stat->created_ns : 0;
}

static json_t *
stat_json(const struct array_stat *stat)
{
	json_t *holders = json_array();

	for (unsigned i = 0; i < stat->living; i++)
		json_array_append_new(holders, json_integer(owner_pid(stat->holders[i])));
	json_t *object = json_pack(
		"{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:b, s:b, s:b}", "schema",
		"pyprep.array/1", "name", stat->name, "type", array_type_name(stat->type), "numpy",
		array_type_numpy(stat->type), "shape", array_shape_json(&stat->shape), "count",
		json_of_u64(stat->count), "bytes", json_of_u64(stat->bytes), "state",
		array_state_text(stat->state), "weak", stat->weak, "adopted", stat->adopted,
		"restorable", stat->restorable);
	json_object_set_new(object, "creator_pid", json_integer(owner_pid(stat->creator)));
	json_object_set_new(object, "creator_alive", json_boolean(owner_alive(stat->creator)));
	json_object_set_new(object, "age_ns", json_of_u64(age_ns(stat)));
	json_object_set_new(object, "uid", json_integer(stat->uid));
	json_object_set_new(object, "mode", json_integer(stat->mode));
	json_object_set_new(object, "holders", holders);
	json_object_set_new(object, "dead_holders", json_integer(stat->dead));
	return object;
}

/* ---- create, adopt ---- */

static int
read_form(char **word, enum array_type *ret_type, struct array_shape *ret_shape)
{
	struct nearest nearest;

	if (!named_is_valid(word[0]))
		return array_fail(word[0], -EINVAL);
	if (array_type_by_name(word[1], ret_type) < 0) {
		nearest_begin(&nearest, word[1]);
		for (unsigned t = ARRAY_NOTHING + 1; t < ARRAY_TYPE_END; t++)
			nearest_offer(&nearest, array_type_name((enum array_type)t));
		const char *best = nearest_best(&nearest);
		return ctl_fail(EXIT_USAGE, "usage",
				"'%s' is no type; there are i8 i16 i32 i64 u8 u16 u32 u64 f32 "
				"f64%s%s%s",
				word[1], best ? "; did you mean '" : "", best ? best : "",
				best ? "'?" : "");
	}
	if (array_shape_parse(word[2], ret_shape) < 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"'%s' is no shape; write 1 to %d lengths, as 1000 or 1000,1000",
				word[2], ARRAY_DIMENSIONS_MAX);
	return 0;
}

static int
read_mode(mode_t *ret)
{
	char *end;

	*ret = 0;
	if (!array_options.mode)
		return 0;
	unsigned long mode = strtoul(array_options.mode, &end, 8);
	if (end == array_options.mode || *end != '\0' || mode == 0 || mode > 0777)
		return ctl_fail(EXIT_USAGE, "usage",
				"the mode is an octal number as 0660, not '%s'",
				array_options.mode);
	*ret = (mode_t)mode;
	return 0;
}

/* Say what was made, from outside, as `array stat` would. */
static int
say_made(const char *name, const char *how)
{
	struct array_stat stat;
	char shape[ARRAY_SHAPE_TEXT];

	int r = array_stat(name, &stat);
	if (r < 0)
		return array_fail(name, r);
	array_shape_print(&stat.shape, shape, sizeof shape);
	if (ctl.json)
		json_print_line(stat_json(&stat));
	else if (!ctl.quiet)
		printf("%s array %s: %s, shape %s, size %s%s\n", how, name,
		       array_type_name(stat.type), shape, unit_bytes(stat.bytes).text,
		       stat.weak ? ", weak" : "");
	return 0;
}

int
array_verb_create(char **word, const struct words *words)
{
	enum array_type type = ARRAY_NOTHING;
	struct array_shape shape = { 0 };
	struct array *a;
	mode_t mode = 0;

	(void)words;
	int status = read_form(word, &type, &shape);
	if (status == 0)
		status = read_mode(&mode);
	if (status != 0)
		return status;
	unsigned flags = ARRAY_LOOK | (array_options.weak ? ARRAY_WEAK : 0);
	int r = array_create(word[0], type, &shape, flags, mode, &a);
	if (r < 0)
		return array_fail(word[0], r);
	array_close(a);
	return say_made(word[0], "created");
}

int
array_verb_adopt(char **word, const struct words *words)
{
	enum array_type type = ARRAY_NOTHING;
	struct array_shape shape = { 0 };
	struct array *a;

	(void)words;
	int status = read_form(word, &type, &shape);
	if (status != 0)
		return status;
	unsigned flags = ARRAY_LOOK | (array_options.weak ? ARRAY_WEAK : 0);
	int r = array_adopt(word[0], type, &shape, flags, &a);
	if (r == -ENOENT)
		return ctl_fail(EXIT_NO_SUCH, "no_such_segment",
				"there is no /dev/shm/%s; 'pyprepctl array create' makes one",
				word[0]);
	if (r == -ERANGE)
		return ctl_fail(EXIT_USAGE, "usage",
				"/dev/shm/%s has fewer bytes than %s of shape %s takes", word[0],
				array_type_name(type), word[2]);
	if (r < 0)
		return array_fail(word[0], r);
	array_close(a);
	return say_made(word[0], "adopted");
}

/* ---- ls, stat ---- */

static const struct column columns[] = {
	{ "array", COLUMN_TEXT, 0 },  { "type", COLUMN_TEXT, 0 },  { "shape", COLUMN_TEXT, 0 },
	{ "size", COLUMN_BYTES, 0 },  { "state", COLUMN_TEXT, 0 }, { "holders", COLUMN_NUMBER, 0 },
	{ "dead", COLUMN_NUMBER, 0 }, { "weak", COLUMN_TEXT, 0 },  { "age", COLUMN_TIME, 0 },
};

static int
list_one(void *context, const struct array_stat *stat)
{
	struct table *table = context;
	char shape[ARRAY_SHAPE_TEXT];

	if (ctl.json) {
		json_print_line(stat_json(stat));
		return 0;
	}
	if (ctl.quiet) {
		printf("%s\n", stat->name);
		return 0;
	}
	array_shape_print(&stat->shape, shape, sizeof shape);
	table_text(table, COLOUR_NONE, "%s", stat->name);
	table_text(table, COLOUR_NONE, "%s", array_type_name(stat->type));
	table_text(table, COLOUR_NONE, "%s", shape);
	table_bytes(table, stat->bytes);
	table_text(table, stat->state == ARRAY_WHOLE ? COLOUR_NONE : COLOUR_WARN, "%s",
		   array_state_text(stat->state));
	table_number(table, stat->living);
	table_number(table, stat->dead);
	table_text(table, COLOUR_NONE, "%s", stat->weak ? "weak" : "");
	table_time(table, age_ns(stat));
	return 0;
}

int
array_verb_ls(char **word, const struct words *words)
{
	struct table table;

	(void)word, (void)words;
	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	int r = array_each(list_one, &table);
	table_print(&table);
	return r < 0 ? ctl_fail(EXIT_OURS, "internal", "/dev/shm: %s", strerror(-r)) : 0;
}

/* Also those that do not count as holders: Python, workers, forked children. */
static json_t *
mappers(const struct array_stat *stat)
{
	struct proc_list mapped = { 0 };
	json_t *list = json_array();

	proc_memory_all(&mapped);
	for (size_t i = 0; i < mapped.count; i++)
		if (mapped.memory[i].what == PROC_NAMED && mapped.memory[i].inode == stat->inode)
			json_array_append_new(list, json_integer(mapped.memory[i].pid));
	proc_free(&mapped);
	return list;
}

static void
print_pids(const char *what, const json_t *pids, const char *none)
{
	size_t i;
	json_t *pid;
	char role[64];

	printf("  %s:", what);
	if (json_array_size(pids) == 0)
		printf(" %s", none);
	json_array_foreach(pids, i, pid)
	{
		proc_role((pid_t)json_integer_value(pid), role, sizeof role);
		printf("%s %" JSON_INTEGER_FORMAT " (%s)", i > 0 ? "," : "",
		       json_integer_value(pid), role);
	}
	putchar('\n');
}

static void
print_stat(const struct array_stat *stat, const json_t *object)
{
	char shape[ARRAY_SHAPE_TEXT];

	array_shape_print(&stat->shape, shape, sizeof shape);
	printf("%s: %s, shape %s, %s elements, size %s; %s\n", stat->name,
	       array_type_name(stat->type), shape, unit_count(stat->count).text,
	       unit_bytes(stat->bytes).text, array_state_text(stat->state));
	printf("  %s, %s; made %s ago by pid %d (%s)\n", stat->adopted ? "adopted" : "created",
	       stat->weak ? "weak: goes with its last holder" : "stays until it is removed",
	       unit_time_human(age_ns(stat)).text, (int)owner_pid(stat->creator),
	       owner_alive(stat->creator) ? "alive" : "gone");
	printf("  mode %04o, uid %u\n", (unsigned)stat->mode, (unsigned)stat->uid);
	print_pids("holders", json_object_get(object, "holders"), "none");
	if (stat->dead > 0)
		printf("  holders that died: %u\n", stat->dead);
	print_pids("mapped by", json_object_get(object, "mapped_by"), "nobody we may look at");
	printf("  Python: numpy.ndarray((%s%s), \"%s\", SharedMemory(name=\"%s\").buf)\n", shape,
	       stat->shape.dimensions == 1 ? "," : "", array_type_numpy(stat->type), stat->name);
	if (stat->restorable)
		printf("  its name was removed, its memory is there: pyprepctl array restore %s\n",
		       stat->name);
}

int
array_verb_stat(char **word, const struct words *words)
{
	struct array_stat stat;

	(void)words;
	int r = array_stat(word[0], &stat);
	if (r < 0)
		return array_fail(word[0], r);
	json_t *object = stat_json(&stat);
	json_object_set_new(object, "mapped_by", mappers(&stat));
	if (ctl.json) {
		json_print_line(object);
		return 0;
	}
	if (ctl.quiet)
		printf("%s\n", array_state_text(stat.state));
	else
		print_stat(&stat, object);
	json_decref(object);
	return 0;
}

/* ---- rm, restore, collect, hold ---- */

int
array_verb_rm(char **word, const struct words *words)
{
	(void)words;
	int r = array_unlink(word[0]);
	if (r < 0)
		return array_fail(word[0], r);
	if (!ctl.quiet && !ctl.json)
		printf("removed array %s\n", word[0]);
	return 0;
}

int
array_verb_restore(char **word, const struct words *words)
{
	(void)words;
	int r = array_restore(word[0]);
	if (r == -EALREADY)
		return ctl_fail(EXIT_SOME_FAILED, "exists", "array '%s' has its name", word[0]);
	if (r == -ENODATA || r == -EEXIST)
		return fail_stale(word[0]);
	if (r < 0)
		return array_fail(word[0], r);
	return say_made(word[0], "restored");
}

int
array_verb_collect(char **word, const struct words *words)
{
	struct array_collected done;

	(void)word, (void)words;
	int r = array_collect(&done);
	if (r < 0)
		return ctl_fail(EXIT_OURS, "internal", "/dev/shm: %s", strerror(-r));
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:i, s:o, s:i, s:i}", "schema",
					  "pyprep.collected/1", "arrays", (int)done.arrays, "bytes",
					  json_of_u64(done.bytes), "dead_holders",
					  (int)done.holders, "kept", (int)done.kept));
	else if (!ctl.quiet)
		printf("removed %u arrays (size %s) and %u dead holders; %u kept: another user's, "
		       "or "
		       "busy\n",
		       done.arrays, unit_bytes(done.bytes).text, done.holders, done.kept);
	return 0;
}

/* The command is a child: its status is ours, and when we are killed it goes on, not held. */
int
array_verb_hold(char **word, const struct words *words)
{
	extern char **environ;
	struct array *a;
	pid_t child;
	int status;

	if (words->rest_count == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"write: pyprepctl array hold NAME -- CMD ARGS");
	int r = array_attach(word[0], 0, &a);
	if (r < 0)
		return array_fail(word[0], r);
	r = posix_spawnp(&child, words->rest[0], NULL, NULL, words->rest, environ);
	if (r != 0) {
		array_close(a);
		return ctl_fail(r == ENOENT ? 127 : 126, "internal", "cannot run %s: %s",
				words->rest[0], strerror(r));
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	array_close(a);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNALLED + WTERMSIG(status);
}
