/* status.c - pyprepctl status: the daemon, its pools and its workers. */
#include "client/ctl/status.h"

#include <inttypes.h>

#include "client/ctl/command.h"
#include "client/ctl/print_json.h"
#include "client/ctl/report.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

static const struct column worker_columns[] = {
	{ "worker", COLUMN_TEXT, 0 }, { "pid", COLUMN_NUMBER, 0 },
	{ "state", COLUMN_TEXT, 0 },  { "running", COLUMN_NUMBER, 0 },
	{ "jobs", COLUMN_NUMBER, 0 }, { "restarts", COLUMN_NUMBER, 0 },
};

static const struct column limit_columns[] = {
	{ "limit of", COLUMN_TEXT, 0 }, { "at most", COLUMN_NUMBER, 0 }, { "in", COLUMN_TIME, 0 },
	{ "used", COLUMN_NUMBER, 0 },   { "waiting", COLUMN_NUMBER, 0 },
};

/* The first reply is the daemon, each further one a pool. */
struct view {
	bool daemon_seen;
	struct table pools, workers, limits;
	json_t *json; /* --json: the object under construction */
};

static void
print_store(const msgpack_object *store)
{
	printf("store    %.*s, %.*s", FIELD_TEXT(store, "engine"), FIELD_TEXT(store, "state"));
	if (field_text_length(store, "error") > 0)
		printf(" (%.*s: detached jobs are refused and wait)", FIELD_TEXT(store, "error"));
	printf(": %s detached jobs open, %s jobs ended, %s",
	       unit_count(field_u64(store, "open")).text,
	       unit_count(field_u64(store, "ended")).text,
	       unit_bytes(field_u64(store, "bytes")).text);
	if (field_u64(store, "commits") > 0)
		printf("; a commit takes %s",
		       unit_time_human(field_u64(store, "commit_p50_ns")).text);
	printf("%s\n", field_bool(store, "loaded") ? "" : "; loading");
}

/* Once there was somebody who asked for it. */
static void
print_cache(const msgpack_object *cache)
{
	uint64_t entries = field_u64(cache, "entries");

	if (field_u64(cache, "hits") + field_u64(cache, "misses") == 0)
		return;
	printf("cache    %s of %s results, ", unit_count(entries).text,
	       unit_count(field_u64(cache, "max_entries")).text);
	printf("%s of %s: ", unit_bytes(field_u64(cache, "bytes")).text,
	       unit_bytes(field_u64(cache, "max_bytes")).text);
	static const char *const counts[] = { "hits",	 "misses",    "waiting",
					      "expired", "evicted", "too_large" };
	static const char *const words[] = { "hits",	"misses",  "waiting",
					     "expired", "evicted", "too large" };
	for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++)
		printf("%s%s %s", i == 0 ? "" : ", ", unit_count(field_u64(cache, counts[i])).text,
		       words[i]);
	if (entries > 0)
		printf("; the next expires in %s",
		       unit_time_human(field_u64(cache, "next_expiry_ns")).text);
	putchar('\n');
}

static void
print_daemon(const msgpack_object *map)
{
	const msgpack_object *jobs = field_get(map, "jobs"), *table = field_get(map, "table");

	printf("pyprepd %.*s, %.*s for %s (supervisor pid %" PRIu64 ", broker pid %" PRIu64 ")\n",
	       FIELD_TEXT(map, "version"), FIELD_TEXT(map, "state"),
	       unit_time_human(field_u64(map, "uptime_ns")).text, field_u64(map, "supervisor_pid"),
	       field_u64(map, "broker_pid"));
	printf("manager  %.*s", FIELD_TEXT(map, "manager_state"));
	if (field_u64(map, "manager_pid") != 0)
		printf(" (pid %" PRIu64 ")", field_u64(map, "manager_pid"));
	if (field_u64(map, "manager_restarts") > 0)
		printf(", restarts %s", unit_count(field_u64(map, "manager_restarts")).text);
	printf("\nclients  %s\n", unit_count(field_u64(map, "clients")).text);
	printf("jobs     ");
	static const char *const states[] = { "queued",    "running",   "succeeded", "failed",
					      "cancelled", "timed_out", "refused" };
	for (unsigned i = 0; i < sizeof states / sizeof states[0]; i++)
		printf("%s%s %s", i == 0 ? "" : ", ", unit_count(field_u64(jobs, states[i])).text,
		       states[i]);
	printf("\nroom     %s of %s jobs, ", unit_count(field_u64(table, "jobs")).text,
	       unit_count(field_u64(table, "max_jobs")).text);
	printf("%s of %s\n", unit_bytes(field_u64(table, "bytes")).text,
	       unit_bytes(field_u64(table, "max_bytes")).text);
	print_store(field_get(map, "store"));
	print_cache(field_get(map, "cache"));
}

static enum colour
state_colour(const msgpack_object *map)
{
	char text[32];

	snprintf(text, sizeof text, "%.*s", FIELD_TEXT(map, "state"));
	return colour_of_state(text);
}

void
pools_table_begin(struct table *table)
{
	static const struct column columns[] = {
		{ "pool", COLUMN_TEXT, 0 },      { "executor", COLUMN_TEXT, 0 },
		{ "link", COLUMN_TEXT, 0 },      { "strategy", COLUMN_TEXT, 0 },
		{ "state", COLUMN_TEXT, 0 },     { "workers", COLUMN_NUMBER, 0 },
		{ "at once", COLUMN_NUMBER, 0 }, { "queued", COLUMN_NUMBER, 0 },
		{ "running", COLUMN_NUMBER, 0 }, { "succeeded", COLUMN_NUMBER, 0 },
		{ "failed", COLUMN_NUMBER, 0 },  { "recycled", COLUMN_NUMBER, 0 },
	};
	table_begin(table, columns, sizeof columns / sizeof columns[0], false);
}

void
pools_table_add(struct table *table, const msgpack_object *pool)
{
	const msgpack_object *done = field_get(pool, "done");

	table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(pool, "name"));
	table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(pool, "executor"));
	table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(pool, "link"));
	table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(pool, "strategy"));
	table_text(table, state_colour(pool), "%.*s", FIELD_TEXT(pool, "state"));
	table_number(table, (int64_t)field_u64(pool, "size"));
	table_number(table, (int64_t)field_u64(pool, "concurrency"));
	table_number(table, (int64_t)field_u64(pool, "queued"));
	table_number(table, (int64_t)field_u64(pool, "running"));
	table_number(table, (int64_t)field_u64(done, "succeeded"));
	table_number(table, (int64_t)(field_u64(done, "failed") + field_u64(done, "timed_out")));
	table_number(table, (int64_t)field_u64(pool, "recycled"));
}

static void
add_workers(struct table *table, const msgpack_object *pool)
{
	const msgpack_object *worker;

	unsigned count = field_list(pool, "workers", &worker);
	for (unsigned i = 0; i < count; i++) {
		table_text(table, COLOUR_NONE, "%.*s/%" PRIu64, FIELD_TEXT(pool, "name"),
			   field_u64(&worker[i], "slot"));
		/* a pid is a name, not a count: no thousands' commas */
		table_text(table, COLOUR_NONE, "%" PRIu64, field_u64(&worker[i], "pid"));
		table_text(table, state_colour(&worker[i]), "%.*s",
			   FIELD_TEXT(&worker[i], "state"));
		table_number(table, (int64_t)field_u64(&worker[i], "running"));
		table_number(table, (int64_t)field_u64(&worker[i], "jobs"));
		table_number(table, (int64_t)field_u64(&worker[i], "restarts"));
	}
}

/* Named resources, and the starts of groups within a time. */
static void
add_limits(struct table *table, const msgpack_object *map, const char *list, const char *name)
{
	const msgpack_object *limit;

	unsigned count = field_list(map, list, &limit);
	for (unsigned i = 0; i < count; i++) {
		table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(&limit[i], name));
		table_number(table, (int64_t)field_u64(&limit[i], "limit"));
		if (field_get(&limit[i], "window_ns") != NULL)
			table_time(table, field_u64(&limit[i], "window_ns"));
		else
			table_text(table, COLOUR_NONE, "-");
		table_number(table, (int64_t)field_u64(&limit[i], "used"));
		table_number(table, (int64_t)field_u64(&limit[i], "waiting"));
	}
}

/* supervisor_pid: N becomes supervisor: {pid: N}. */
static void
nest_pid(json_t *daemon, const char *flat, const char *name)
{
	json_t *pid = json_object_get(daemon, flat);

	json_object_set_new(daemon, name, json_pack("{s:O?}", "pid", pid));
	json_object_del(daemon, flat);
}

/* manager_pid, manager_state and manager_restarts become manager: {pid, state, restarts}. */
static void
nest_manager(json_t *daemon)
{
	static const char *const names[] = { "state", "restarts" };
	char flat[32];

	nest_pid(daemon, "manager_pid", "manager");
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(flat, sizeof flat, "manager_%s", names[i]);
		json_object_set(json_object_get(daemon, "manager"), names[i],
				json_object_get(daemon, flat));
		json_object_del(daemon, flat);
	}
}

static json_t *
json_of_daemon(const msgpack_object *map)
{
	json_t *daemon = json_pack("{s:s}", "schema", "pyprep.status/1");
	json_t *fields = json_of_object(map);

	json_object_update(daemon, fields);
	json_decref(fields);
	nest_pid(daemon, "supervisor_pid", "supervisor");
	nest_pid(daemon, "broker_pid", "broker");
	nest_manager(daemon);
	json_object_set_new(daemon, "pools", json_array());
	return daemon;
}

static int
got_status(void *context, const msgpack_object *map)
{
	struct view *view = context;
	bool first = !view->daemon_seen;

	view->daemon_seen = true;
	if (ctl.json && first) {
		view->json = json_of_daemon(map);
	} else if (ctl.json) {
		json_array_append_new(json_object_get(view->json, "pools"), json_of_object(map));
	} else if (first) {
		print_daemon(map);
		add_limits(&view->limits, map, "resources", "name");
		add_limits(&view->limits, map, "rates", "group");
	} else {
		pools_table_add(&view->pools, map);
		add_workers(&view->workers, map);
	}
	return 0;
}

static int
status_run(const struct words *words)
{
	struct pyprep_problem why = { .exit_status = EXIT_UNREACHABLE };
	struct view view = { 0 };
	struct request request;
	struct pyprep *p;

	if (words->count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "status takes no words, not '%s'",
				words->word[0]);
	if (pyprep_connect_lane(ctl.runtime_dir, ctl.lane, &p, &why) < 0) {
		/* as systemctl and LSB scripts have it: 3 is "not running" */
		if (why.exit_status == EXIT_UNREACHABLE)
			why.exit_status = EXIT_NO_SUCH;
		return ctl_fail_problem(&why);
	}
	pools_table_begin(&view.pools);
	table_begin(&view.workers, worker_columns, sizeof worker_columns / sizeof worker_columns[0],
		    false);
	table_begin(&view.limits, limit_columns, sizeof limit_columns / sizeof limit_columns[0],
		    false);
	request_begin(&request, "status", 0);
	int status = request_send(&request, p, got_status, &view);
	pyprep_close(p);
	if (view.json)
		json_print_line(view.json);
	if (view.pools.count > 0)
		putchar('\n');
	table_print(&view.pools);
	if (view.workers.count > 0)
		putchar('\n');
	table_print(&view.workers);
	if (view.limits.count > 0)
		putchar('\n');
	table_print(&view.limits);
	return status;
}

extern const struct command command_status;
const struct command command_status = {
	.name = "status",
	.args = "[--json]",
	.summary = "show the daemon, its pools, its workers and what is limited",
	.examples = "  pyprepctl status\n"
		    "  pyprepctl status --json | jq '.pools[].workers[].pid'\n",
	.more = "Exit status: 3 when no daemon runs.\n",
	.options = options,
	.run = status_run,
};
