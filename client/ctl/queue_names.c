/* queue_names.c - pyprepctl queue: create, ls, stat, close, join, rm; and what went wrong. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/nearest.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/queue.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

/* ---- what went wrong ---- */

struct offers {
	struct nearest nearest;
	char best[NAMED_FILE_MAX]; /* nearest.h keeps pointers; a name is gone after its call */
};

static int
offer(void *context, const char *file)
{
	struct offers *offers = context;
	const char *before = offers->nearest.best;

	nearest_offer(&offers->nearest, file + strlen(QUEUE_PREFIX));
	if (offers->nearest.best != before) {
		snprintf(offers->best, sizeof offers->best, "%s", offers->nearest.best);
		offers->nearest.best = offers->best;
	}
	return 0;
}

static int
fail_unknown(const char *name)
{
	struct offers offers;

	nearest_begin(&offers.nearest, name);
	(void)named_each(QUEUE_PREFIX, offer, &offers);
	const char *best = nearest_best(&offers.nearest);
	if (best && strcmp(best, name) != 0)
		return ctl_fail(EXIT_NO_SUCH, "no_such_queue",
				"there is no queue '%s'; did you mean '%s'?", name, best);
	return ctl_fail(EXIT_NO_SUCH, "no_such_queue",
			"there is no queue '%s'; 'pyprepctl queue ls' lists all, 'queue create %s' "
			"makes it",
			name, name);
}

int
queue_fail(const char *name, int r)
{
	switch (r) {
	case -ENOENT:
		return fail_unknown(name);
	case -EINVAL:
		return ctl_fail(EXIT_USAGE, "usage",
				"'%s' cannot be a name: 1 to %d letters, digits and . _ - , not "
				"beginning with . or - or " NAMED_PREFIX,
				name, NAMED_MAX);
	case -EEXIST:
		return ctl_fail(EXIT_SOME_FAILED, "exists",
				"'%s' is taken: 'pyprepctl queue stat %s' shows it, 'queue rm %s' "
				"removes it",
				name, name, name);
	case -ENOSPC:
		return ctl_fail(EXIT_TRY_LATER, "no_space",
				"/dev/shm has no room for queue '%s'; give it a smaller --capacity "
				"or --message-max ('df -h /dev/shm')",
				name);
	case -EACCES:
	case -EPERM:
		return ctl_fail(EXIT_NOT_ALLOWED, "not_allowed",
				"you may not use queue '%s': it is another user's", name);
	case -EPROTO:
		return ctl_fail(
			EXIT_SOME_FAILED, "no_queue",
			"/dev/shm/" QUEUE_PREFIX
			"%s is no queue of this version; 'pyprepctl queue rm %s' removes it",
			name, name);
	case -EUSERS:
		return ctl_fail(EXIT_TRY_LATER, "too_many",
				"as many processes as it takes are attached to queue '%s'; "
				"'pyprepctl queue stat %s' names them ('create --members-max')",
				name, name);
	case -EPIPE:
		return ctl_fail(EXIT_SOME_FAILED, "closed", "queue '%s' is closed", name);
	case -ENODATA:
		return ctl_fail(EXIT_SOME_FAILED, "closed", "queue '%s' is closed and drained",
				name);
	default:
		return ctl_fail(EXIT_OURS, "internal", "queue '%s': %s", name, strerror(-r));
	}
}

/* ---- stat, ls ---- */

static uint64_t
age_ns(const struct queue_stat *stat)
{
	uint64_t now = clock_wall();
	return now > stat->created_ns ? now - stat->created_ns : 0;
}

static json_t *
members_json(const struct queue_stat *stat)
{
	json_t *members = json_array();

	for (uint32_t i = 0; i < stat->attached; i++) {
		const struct queue_member *m = &stat->members[i];
		json_array_append_new(
			members, json_pack("{s:i, s:b, s:o, s:o, s:o}", "pid", (int)m->pid, "alive",
					   m->alive, "puts", json_of_u64(m->puts), "gets",
					   json_of_u64(m->gets), "done", json_of_u64(m->done)));
	}
	return members;
}

static json_t *
stat_json(const char *name, const struct queue_stat *stat)
{
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "capacity", stat->capacity },
		{ "message_max", stat->message_max },
		{ "members_max", stat->members_max },
		{ "memory_bytes", stat->bytes },
		{ "depth", stat->depth },
		{ "high_water", stat->high_water },
		{ "puts", stat->puts },
		{ "gets", stat->gets },
		{ "unfinished", stat->unfinished },
		{ "lost", stat->lost },
		{ "bytes_in", stat->bytes_in },
		{ "bytes_out", stat->bytes_out },
		{ "waits_for_room", stat->waits_for_room },
		{ "waits_for_messages", stat->waits_for_messages },
		{ "skipped", stat->skipped },
		{ "returned", stat->returned },
		{ "creator_pid", (uint64_t)stat->creator },
		{ "created_ns", stat->created_ns },
	};
	json_t *object = json_pack("{s:s, s:s, s:b}", "schema", "pyprep.queue/1", "name", name,
				   "closed", stat->closed);

	for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		json_object_set_new(object, numbers[i].key, json_of_u64(numbers[i].value));
	json_object_set_new(object, "members", members_json(stat));
	return object;
}

static const struct column member_columns[] = {
	{ "pid", COLUMN_NUMBER, 0 },  { "state", COLUMN_TEXT, 0 },  { "puts", COLUMN_NUMBER, 0 },
	{ "gets", COLUMN_NUMBER, 0 }, { "done", COLUMN_NUMBER, 0 },
};

static void
print_members(const struct queue_stat *stat)
{
	struct table table;

	table_begin(&table, member_columns, sizeof member_columns / sizeof member_columns[0],
		    false);
	for (uint32_t i = 0; i < stat->attached; i++) {
		const struct queue_member *m = &stat->members[i];
		table_number(&table, m->pid);
		table_text(&table, m->alive ? COLOUR_NONE : COLOUR_BAD, "%s",
			   m->alive ? "alive" : "dead");
		table_number(&table, (int64_t)m->puts);
		table_number(&table, (int64_t)m->gets);
		table_number(&table, (int64_t)m->done);
	}
	table_print(&table);
}

static void
print_stat(const char *name, const struct queue_stat *stat)
{
	printf("queue %s: %s of %u messages of up to %s, %s%s\n", name,
	       unit_count(stat->depth).text, stat->capacity, unit_bytes(stat->message_max).text,
	       unit_bytes(stat->bytes).text, stat->closed ? ", closed" : "");
	printf("  made by pid %d, %s ago; deepest so far: %s\n", (int)stat->creator,
	       unit_time(age_ns(stat)).text, unit_count(stat->high_water).text);
	printf("  put %s, %s; got %s, %s\n", unit_count(stat->puts).text,
	       unit_bytes(stat->bytes_in).text, unit_count(stat->gets).text,
	       unit_bytes(stat->bytes_out).text);
	printf("  unfinished %s, lost with their consumers %s\n", unit_count(stat->unfinished).text,
	       unit_count(stat->lost).text);
	printf("  waited for room %s times, for messages %s times\n",
	       unit_count(stat->waits_for_room).text, unit_count(stat->waits_for_messages).text);
	printf("  of the dead: %s slots skipped, %s messages given back\n",
	       unit_count(stat->skipped).text, unit_count(stat->returned).text);
	print_members(stat);
}

int
queue_verb_stat(char **word, int count)
{
	static struct queue_stat stat;

	(void)count;
	int r = queue_stat_named(word[0], &stat);
	if (r < 0)
		return queue_fail(word[0], r);
	if (ctl.json)
		json_print_line(stat_json(word[0], &stat));
	else
		print_stat(word[0], &stat);
	return 0;
}

static const struct column columns[] = {
	{ "queue", COLUMN_TEXT, 0 },      { "depth", COLUMN_NUMBER, 0 },
	{ "capacity", COLUMN_NUMBER, 0 }, { "deepest", COLUMN_NUMBER, 0 },
	{ "message", COLUMN_BYTES, 0 },   { "puts", COLUMN_NUMBER, 0 },
	{ "gets", COLUMN_NUMBER, 0 },     { "members", COLUMN_NUMBER, 0 },
	{ "state", COLUMN_TEXT, 0 },      { "age", COLUMN_TIME, 0 },
};

static int
list_one(void *context, const char *file)
{
	static struct queue_stat stat;
	struct table *table = context;
	const char *name = file + strlen(QUEUE_PREFIX);

	if (queue_stat_named(name, &stat) < 0) /* gone meanwhile, or another user's */
		return 0;
	if (ctl.json) {
		json_print_line(stat_json(name, &stat));
		return 0;
	}
	if (ctl.quiet) {
		puts(name);
		return 0;
	}
	table_text(table, COLOUR_NONE, "%s", name);
	table_number(table, (int64_t)stat.depth);
	table_number(table, stat.capacity);
	table_number(table, (int64_t)stat.high_water);
	table_bytes(table, stat.message_max);
	table_number(table, (int64_t)stat.puts);
	table_number(table, (int64_t)stat.gets);
	table_number(table, stat.attached);
	table_text(table, COLOUR_NONE, "%s", stat.closed ? "closed" : "open");
	table_time(table, age_ns(&stat));
	return 0;
}

int
queue_verb_ls(char **word, int count)
{
	struct table table;

	(void)word;
	(void)count;
	table_begin(&table, columns, sizeof columns / sizeof columns[0], false);
	(void)named_each(QUEUE_PREFIX, list_one, &table);
	table_print(&table);
	return 0;
}

/* ---- create, close, join, rm ---- */

static int
read_mode(mode_t *ret)
{
	char *end;

	*ret = 0;
	if (!queue_arguments.mode)
		return 0;
	unsigned long mode = strtoul(queue_arguments.mode, &end, 8);
	if (end == queue_arguments.mode || *end != '\0' || mode == 0 || mode > 0777)
		return ctl_fail(EXIT_USAGE, "usage",
				"the mode is an octal number as 0660, not '%s'",
				queue_arguments.mode);
	*ret = (mode_t)mode;
	return 0;
}

int
queue_verb_create(char **word, int count)
{
	struct queue_options o = { .capacity = (uint32_t)queue_arguments.capacity,
				   .message_max = (uint32_t)queue_arguments.message_max,
				   .members_max = (uint32_t)queue_arguments.members_max };
	struct queue *q;

	(void)count;
	int status = read_mode(&o.mode);
	if (status != 0)
		return status;
	int r = queue_create(word[0], &o, &q);
	if (r < 0)
		return queue_fail(word[0], r);
	queue_detach(q);
	if (ctl.json)
		return queue_verb_stat(word, 1);
	if (!ctl.quiet)
		printf("created queue %s: %u messages of up to %s, %s of memory\n", word[0],
		       o.capacity, unit_bytes(o.message_max).text,
		       unit_bytes(queue_footprint(&o)).text);
	return 0;
}

int
queue_verb_close(char **word, int count)
{
	struct queue *q;

	(void)count;
	int r = queue_open(word[0], &q);
	if (r < 0)
		return queue_fail(word[0], r);
	r = queue_close(q);
	uint64_t left = queue_size(q);
	queue_detach(q);
	if (r < 0)
		return queue_fail(word[0], r);
	if (ctl.json)
		return queue_verb_stat(word, 1);
	if (!ctl.quiet)
		printf("closed queue %s: %s messages are left in it\n", word[0],
		       unit_count(left).text);
	return 0;
}

static int
say_joined(const char *name, int r, uint64_t lost)
{
	if (r == -EAGAIN || r == -ETIMEDOUT)
		return ctl_fail(r == -EAGAIN ? EXIT_TRY_LATER : EXIT_TIMED_OUT, "unfinished",
				"messages of queue '%s' are not done; 'pyprepctl queue stat %s' "
				"tells how many",
				name, name);
	if (r < 0)
		return queue_fail(name, r);
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s, s:o}", "schema", "pyprep.queue_join/1",
					  "queue", name, "lost", json_of_u64(lost)));
	else if (!ctl.quiet)
		printf("queue %s: all messages are done, %s were lost with who had got them\n",
		       name, unit_count(lost).text);
	return 0;
}

int
queue_verb_join(char **word, int count)
{
	struct queue *q;
	uint64_t lost = 0;

	(void)count;
	int r = queue_open(word[0], &q);
	if (r < 0)
		return queue_fail(word[0], r);
	r = queue_join(q, queue_patience(), &lost);
	queue_detach(q);
	return say_joined(word[0], r, lost);
}

int
queue_verb_rm(char **word, int count)
{
	int status = 0;

	for (int i = 0; i < count; i++) {
		int r = queue_unlink(word[i]);
		if (r < 0)
			status = queue_fail(word[i], r);
		else if (!ctl.quiet && !ctl.json)
			printf("removed queue %s\n", word[i]);
	}
	return status;
}
