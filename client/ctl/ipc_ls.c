/* ipc_ls.c - pyprepctl ipc ls: a table for each kind, or one JSON object a row. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/ipc.h"
#include "client/ctl/nearest.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"

/* ---- columns ---- */

enum field {
	F_NAME,
	F_WAY,
	F_OWNER,
	F_ATTACHED,
	F_BYTES,
	F_USED,
	F_USED_HIGH,
	F_IN,
	F_OUT,
	F_BYTES_IN,
	F_BYTES_OUT,
	F_DEPTH,
	F_DEPTH_HIGH,
	F_FREE,
	F_OBJECT,
	F_VALUE,
	F_AGE,
	F_PATH,
	F_STATE,
	FIELDS
};

static const struct column titles[FIELDS] = {
	[F_NAME] = { "name", COLUMN_TEXT, 0 },
	[F_WAY] = { "way", COLUMN_TEXT, 0 },
	[F_OWNER] = { "owner", COLUMN_TEXT, 0 },
	[F_ATTACHED] = { "attached", COLUMN_TEXT, 0 },
	[F_BYTES] = { "size", COLUMN_BYTES, 0 },
	[F_USED] = { "used", COLUMN_BYTES, 0 },
	[F_USED_HIGH] = { "high", COLUMN_BYTES, 0 },
	[F_IN] = { "in", COLUMN_NUMBER, 0 },
	[F_OUT] = { "out", COLUMN_NUMBER, 0 },
	[F_BYTES_IN] = { "in", COLUMN_BYTES, 0 },
	[F_BYTES_OUT] = { "out", COLUMN_BYTES, 0 },
	[F_DEPTH] = { "depth", COLUMN_NUMBER, 0 },
	[F_DEPTH_HIGH] = { "deepest", COLUMN_NUMBER, 0 },
	[F_FREE] = { "free", COLUMN_NUMBER, 0 },
	[F_OBJECT] = { "each", COLUMN_BYTES, 0 },
	[F_VALUE] = { "value", COLUMN_NUMBER, 0 },
	[F_AGE] = { "age", COLUMN_TIME, 0 },
	[F_PATH] = { "path", COLUMN_TEXT, 0 },
	[F_STATE] = { "state", COLUMN_TEXT, 0 },
};

#define BIT(f) (1u << (f))
#define ALWAYS (BIT(F_NAME) | BIT(F_STATE))

/* What a kind's table shows in 100 columns; --wide shows what there is. */
static const struct {
	const char *kind;
	unsigned fields;
} shown[] = {
	{ "link", BIT(F_WAY) | BIT(F_ATTACHED) | BIT(F_IN) | BIT(F_OUT) | BIT(F_DEPTH) |
			  BIT(F_DEPTH_HIGH) | BIT(F_AGE) },
	{ "ring", BIT(F_ATTACHED) | BIT(F_BYTES) | BIT(F_USED_HIGH) | BIT(F_IN) | BIT(F_OUT) |
			  BIT(F_DEPTH) },
	{ "queue", BIT(F_OWNER) | BIT(F_ATTACHED) | BIT(F_BYTES) | BIT(F_IN) | BIT(F_OUT) |
			   BIT(F_DEPTH) | BIT(F_DEPTH_HIGH) },
	{ "pipe", BIT(F_OWNER) | BIT(F_ATTACHED) | BIT(F_IN) | BIT(F_OUT) | BIT(F_USED) },
	{ "socket", BIT(F_ATTACHED) | BIT(F_IN) | BIT(F_OUT) | BIT(F_USED) | BIT(F_AGE) },
	{ "counter", BIT(F_OWNER) | BIT(F_VALUE) },
	{ "lock", BIT(F_OWNER) | BIT(F_DEPTH) | BIT(F_VALUE) },
	{ "slab", BIT(F_OWNER) | BIT(F_BYTES) | BIT(F_DEPTH) | BIT(F_FREE) | BIT(F_OBJECT) },
};
#define OTHERS (BIT(F_OWNER) | BIT(F_ATTACHED) | BIT(F_BYTES) | BIT(F_AGE))

static uint64_t
figure_of(const struct ipc_row *row, enum field field)
{
	switch (field) {
	case F_BYTES:
		return row->bytes;
	case F_USED:
		return row->used;
	case F_USED_HIGH:
		return row->used_high;
	case F_IN:
		return row->in;
	case F_OUT:
		return row->out;
	case F_BYTES_IN:
		return row->bytes_in;
	case F_BYTES_OUT:
		return row->bytes_out;
	case F_DEPTH:
		return row->depth;
	case F_DEPTH_HIGH:
		return row->depth_high;
	case F_FREE:
		return row->free;
	case F_OBJECT:
		return row->object_bytes;
	case F_AGE:
		return row->age_ns;
	default:
		return IPC_UNKNOWN;
	}
}

static bool
says(const struct ipc_row *row, enum field field)
{
	switch (field) {
	case F_WAY:
		return row->way[0] != '\0';
	case F_OWNER:
		return row->owner_pid != 0;
	case F_ATTACHED:
		return row->attached_count > 0;
	case F_VALUE:
		return row->has_value;
	case F_PATH:
		return row->path[0] != '\0';
	case F_NAME:
	case F_STATE:
		return true;
	default:
		return figure_of(row, field) != IPC_UNKNOWN;
	}
}

/* The columns of one kind's table. */
static unsigned
fields_of(const struct ipc_list *list, const char *kind)
{
	unsigned wanted = OTHERS, any = 0;

	for (unsigned i = 0; i < sizeof shown / sizeof shown[0]; i++)
		if (strcmp(shown[i].kind, kind) == 0)
			wanted = shown[i].fields;
	for (size_t i = 0; i < list->count; i++)
		for (enum field f = 0; f < FIELDS; f++)
			if (list->rows[i].kind == kind && says(&list->rows[i], f))
				any |= BIT(f);
	return ALWAYS | (ipc_options.wide ? any : wanted & any);
}

/* ---- cells ---- */

static void
put_attached(struct table *table, const struct ipc_row *row)
{
	unsigned most = ipc_options.wide ? IPC_ATTACHED : 3, n = row->attached_count;
	char text[IPC_ATTACHED * 12 + 32] = "-";
	int at = 0;

	for (unsigned i = 0; i < n && i < most; i++)
		at += snprintf(text + at, sizeof text - (size_t)at, "%s%d", i > 0 ? "," : "",
			       (int)row->attached[i]);
	if (n > most)
		snprintf(text + at, sizeof text - (size_t)at, " and %u more", n - most);
	table_text(table, COLOUR_NONE, "%s", text);
}

static enum colour
state_colour(enum ipc_state state)
{
	static const enum colour colours[] = {
		[IPC_LIVE] = COLOUR_GOOD,  [IPC_IDLE] = COLOUR_DIM,     [IPC_UNUSED] = COLOUR_DIM,
		[IPC_ORPHAN] = COLOUR_BAD, [IPC_STRANGE] = COLOUR_WARN,
	};
	return colours[state];
}

static void
put_figure(struct table *table, enum column_type type, uint64_t value)
{
	if (value == IPC_UNKNOWN)
		table_text(table, COLOUR_NONE, "-");
	else if (type == COLUMN_BYTES)
		table_bytes(table, value);
	else if (type == COLUMN_TIME)
		table_time(table, value);
	else
		table_number(table, (int64_t)value);
}

static void
put_cell(struct table *table, const struct ipc_row *row, enum field field)
{
	if (field == F_NAME)
		table_text(table, COLOUR_NONE, "%s", row->name);
	else if (field == F_WAY)
		table_text(table, COLOUR_NONE, "%s", row->way);
	else if (field == F_VALUE && row->has_value)
		table_number(table, row->value);
	else if (field == F_PATH)
		table_text(table, COLOUR_NONE, "%s", row->path[0] ? row->path : "-");
	else if (field == F_OWNER && row->owner_pid != 0)
		table_text(table, COLOUR_NONE, "%d %s", (int)row->owner_pid, row->owner);
	else if (field == F_OWNER)
		table_text(table, COLOUR_NONE, "-");
	else if (field == F_ATTACHED)
		put_attached(table, row);
	else if (field == F_STATE && row->reason[0])
		table_text(table, state_colour(row->state), "%s: %s", ipc_state_text(row->state),
			   row->reason);
	else if (field == F_STATE)
		table_text(table, state_colour(row->state), "%s", ipc_state_text(row->state));
	else
		put_figure(table, titles[field].type, figure_of(row, field));
}

static bool
print_kind(const struct ipc_list *list, const char *kind, bool first)
{
	struct column columns[FIELDS];
	unsigned fields = fields_of(list, kind), count = 0;
	struct table table;
	bool any = false;

	for (enum field f = 0; f < FIELDS; f++)
		if (fields & BIT(f))
			columns[count++] = titles[f];
	columns[0].title = kind;
	table_begin(&table, columns, count, false);
	for (size_t i = 0; i < list->count; i++) {
		if (list->rows[i].kind != kind)
			continue;
		any = true;
		for (enum field f = 0; f < FIELDS; f++)
			if (fields & BIT(f))
				put_cell(&table, &list->rows[i], f);
	}
	if (any && !first)
		putchar('\n');
	table_print(&table);
	return any;
}

/* ---- JSON ---- */

static void
set_figure(json_t *json, const char *key, uint64_t value)
{
	json_object_set_new(json, key, value == IPC_UNKNOWN ? json_null() : json_of_u64(value));
}

static json_t *
json_of_party(pid_t pid, const char *role)
{
	return pid == 0 ? json_null() : json_pack("{s:i, s:s}", "pid", (int)pid, "role", role);
}

static json_t *
json_of_row(const struct ipc_row *row)
{
	json_t *json = json_pack("{s:s, s:s, s:s}", "schema", "pyprep.ipc/1", "kind", row->kind,
				 "name", row->name);
	json_t *attached = json_array();

	json_object_set_new(json, "owner", json_of_party(row->owner_pid, row->owner));
	json_object_set_new(json, "peer", json_of_party(row->peer_pid, row->peer));
	for (unsigned i = 0; i < row->attached_count && i < IPC_ATTACHED; i++)
		json_array_append_new(attached, json_integer(row->attached[i]));
	json_object_set_new(json, "attached", attached);
	json_object_set_new(json, "attached_count", json_integer(row->attached_count));
	json_object_set_new(json, "way", row->way[0] ? json_string(row->way) : json_null());
	set_figure(json, "inode", row->inode);
	set_figure(json, "bytes", row->bytes);
	set_figure(json, "used", row->used);
	set_figure(json, "used_high", row->used_high);
	set_figure(json, "in", row->in);
	set_figure(json, "out", row->out);
	set_figure(json, "bytes_in", row->bytes_in);
	set_figure(json, "bytes_out", row->bytes_out);
	set_figure(json, "depth", row->depth);
	set_figure(json, "depth_high", row->depth_high);
	set_figure(json, "free", row->free);
	set_figure(json, "object_bytes", row->object_bytes);
	set_figure(json, "age_ns", row->age_ns);
	json_object_set_new(json, "value", row->has_value ? json_of_i64(row->value) : json_null());
	json_object_set_new(json, "path", row->path[0] ? json_string(row->path) : json_null());
	json_object_set_new(json, "state", json_string(ipc_state_text(row->state)));
	json_object_set_new(json, "reason",
			    row->reason[0] ? json_string(row->reason) : json_null());
	return json;
}

/* ---- the whole ---- */

static bool
is_wanted(const char *kind, char **word, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(word[i], kind) == 0)
			return true;
	return count == 0;
}

static int
check_kinds(char **word, int count)
{
	for (int i = 0; i < count; i++) {
		struct nearest nearest;
		if (ipc_kind(word[i], strlen(word[i])))
			continue;
		nearest_begin(&nearest, word[i]);
		for (const char *const *kind = ipc_kinds; *kind; kind++)
			nearest_offer(&nearest, *kind);
		const char *best = nearest_best(&nearest);
		return ctl_fail(EXIT_USAGE, "usage",
				"there is no kind '%s'%s%s%s; see pyprepctl ipc --help", word[i],
				best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
	}
	return 0;
}

static void
print_notes(const struct ipc_list *list)
{
	if (!list->daemon)
		ctl_note("only named objects and files: %s", list->note);
	if (list->hidden > 0)
		ctl_note("%" PRIu64 " clients of other users are not shown; operators see them",
			 list->hidden);
	if (list->unreadable > 0)
		ctl_note("/proc of %u of the daemon's processes is not ours to read: what they "
			 "hold is shown as the daemon says it; be its user, or root",
			 list->unreadable);
}

static void
print_list(const struct ipc_list *list, char **word, int count)
{
	bool first = true;

	for (const char *const *kind = ipc_kinds; *kind; kind++) {
		if (!is_wanted(*kind, word, count))
			continue;
		if (!ctl.json && !ctl.quiet) {
			first &= !print_kind(list, *kind, first);
			continue;
		}
		for (size_t i = 0; i < list->count; i++) {
			if (list->rows[i].kind != *kind)
				continue;
			if (ctl.json)
				json_print_line(json_of_row(&list->rows[i]));
			else
				printf("%s\n", list->rows[i].name);
		}
	}
}

static void
list_once(char **word, int count)
{
	struct ipc_list list;

	ipc_gather(&list);
	print_list(&list, word, count);
	fflush(stdout);
	print_notes(&list);
	ipc_free(&list);
}

int
ipc_ls(char **word, int count)
{
	int status = check_kinds(word, count);

	if (status != 0)
		return status;
	bool redraw = isatty(STDOUT_FILENO) == 1 && !ctl.json;
	for (;;) {
		if (ipc_options.watch_ns > 0 && redraw)
			fputs("\033[H\033[2J", stdout);
		list_once(word, count);
		if (ipc_options.watch_ns == 0 || output_broken())
			return 0;
		struct timespec pause = { .tv_sec = (time_t)(ipc_options.watch_ns / NS_PER_S),
					  .tv_nsec = (long)(ipc_options.watch_ns % NS_PER_S) };
		nanosleep(&pause, NULL);
		if (!ctl.json && !redraw)
			putchar('\n');
	}
}
