/* kinds.c - pyprepctl kinds: what can be run, and with which parameters. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/command.h"
#include "client/ctl/nearest.h"
#include "client/ctl/print_json.h"
#include "client/ctl/print_table.h"
#include "client/ctl/reply.h"
#include "client/ctl/report.h"

static const struct option_row options[] = {
	OPTION_ROW_JSON,
	{ "quiet", 'q', OPTION_FLAG, &ctl.quiet, NULL, "only the names", 0, 0 },
	OPTION_ROW_END,
};

static const struct column columns[] = {
	{ "kind", COLUMN_TEXT, 0 },
	{ "class", COLUMN_TEXT, 0 },
	{ "parameters", COLUMN_TEXT, 0 },
	{ "what it does", COLUMN_TEXT, 0 },
};

static const struct column param_columns[] = {
	{ "  parameter", COLUMN_TEXT, 0 }, { "type", COLUMN_TEXT, 0 },
	{ "values", COLUMN_TEXT, 0 },      { "default", COLUMN_TEXT, 0 },
	{ "meaning", COLUMN_TEXT, 0 },
};

struct listing {
	const char *wanted; /* NULL: all */
	bool found;
	char nearest_name[64];
	struct nearest nearest;
	struct table table;
};

/* "n method=naive", the required first word plain, others with their default. */
static void
add_params_cell(struct table *table, const msgpack_object *kind)
{
	const msgpack_object *param;
	char text[200] = "";
	size_t at = 0;

	unsigned count = field_list(kind, "params", &param);
	for (unsigned i = 0; i < count && at < sizeof text; i++) {
		const msgpack_object *fallback = field_get(&param[i], "default");
		bool optional = fallback && fallback->type == MSGPACK_OBJECT_STR;
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s%s%.*s", i ? " " : "",
				       FIELD_TEXT(&param[i], "name"), optional ? "=" : "",
				       FIELD_TEXT(&param[i], "default"));
	}
	table_text(table, COLOUR_NONE, "%s", text);
}

static void
add_values_cell(struct table *table, const msgpack_object *param)
{
	if (field_text_is(param, "type", "int") || field_text_is(param, "type", "number"))
		table_text(table, COLOUR_NONE, "%" PRId64 " .. %" PRId64, field_i64(param, "low"),
			   field_i64(param, "high"));
	else if (field_text_is(param, "type", "flag"))
		table_text(table, COLOUR_NONE, "true, false");
	else
		table_text(table, COLOUR_NONE, "%.*s", FIELD_TEXT(param, "choices"));
}

static void
print_one(const msgpack_object *kind)
{
	const msgpack_object *member;
	struct table table;

	printf("%.*s (%.*s): %.*s\n", FIELD_TEXT(kind, "name"), FIELD_TEXT(kind, "class"),
	       FIELD_TEXT(kind, "help"));
	unsigned count = field_list(kind, "executors", &member);
	printf("runs on executors:");
	for (unsigned i = 0; i < count; i++)
		if (member[i].type == MSGPACK_OBJECT_STR)
			printf(" %.*s", (int)member[i].via.str.size, member[i].via.str.ptr);
	printf("\narray jobs (map LO..HI): %s\n\n", field_bool(kind, "array") ? "yes" : "no");
	count = field_list(kind, "params", &member);
	if (count == 0)
		printf("  no parameters\n");
	table_begin(&table, param_columns, 5, false);
	for (unsigned i = 0; i < count; i++) {
		const msgpack_object *fallback = field_get(&member[i], "default");
		bool optional = fallback && fallback->type == MSGPACK_OBJECT_STR;
		table_text(&table, COLOUR_NONE, "  %.*s", FIELD_TEXT(&member[i], "name"));
		table_text(&table, COLOUR_NONE, "%.*s", FIELD_TEXT(&member[i], "type"));
		add_values_cell(&table, &member[i]);
		if (optional)
			table_text(&table, COLOUR_NONE, "%.*s", FIELD_TEXT(&member[i], "default"));
		else
			table_text(&table, COLOUR_NONE, "(required)");
		table_text(&table, COLOUR_NONE, "%.*s", FIELD_TEXT(&member[i], "help"));
	}
	table_print(&table);
}

static void
offer_name(struct listing *listing, const msgpack_object *kind)
{
	char name[64];
	const char *before = listing->nearest.best;

	snprintf(name, sizeof name, "%.*s", FIELD_TEXT(kind, "name"));
	nearest_offer(&listing->nearest, name);
	if (listing->nearest.best != before) {
		/* the reply is gone after this call: keep the name here */
		memcpy(listing->nearest_name, name, sizeof name);
		listing->nearest.best = listing->nearest_name;
	}
}

static int
got_kind(void *context, const msgpack_object *kind)
{
	struct listing *listing = context;

	if (listing->wanted && !field_text_is(kind, "name", listing->wanted)) {
		offer_name(listing, kind);
		return 0;
	}
	listing->found = true;
	if (ctl.json) {
		json_t *json = json_of_object(kind);
		json_object_set_new(json, "schema", json_string("pyprep.kind/1"));
		json_print_line(json);
	} else if (ctl.quiet) {
		printf("%.*s\n", FIELD_TEXT(kind, "name"));
	} else if (listing->wanted) {
		print_one(kind);
	} else {
		table_text(&listing->table, COLOUR_NONE, "%.*s", FIELD_TEXT(kind, "name"));
		table_text(&listing->table, COLOUR_NONE, "%.*s", FIELD_TEXT(kind, "class"));
		add_params_cell(&listing->table, kind);
		table_text(&listing->table, COLOUR_NONE, "%.*s", FIELD_TEXT(kind, "help"));
	}
	return 0;
}

static int
unknown_kind(const struct listing *listing)
{
	const char *best = nearest_best(&listing->nearest);

	if (best)
		return ctl_fail(EXIT_USAGE, "unknown_kind",
				"there is no kind '%s'; did you mean '%s'?", listing->wanted, best);
	return ctl_fail(EXIT_USAGE, "unknown_kind",
			"there is no kind '%s'; 'pyprepctl kinds' lists all", listing->wanted);
}

static int
kinds_run(const struct words *words)
{
	struct listing listing = { .wanted = words->count > 0 ? words->word[0] : NULL };
	struct request request;

	if (words->count > 1)
		return ctl_fail(EXIT_USAGE, "usage", "kinds takes one name, not %d", words->count);
	nearest_begin(&listing.nearest, listing.wanted ? listing.wanted : "");
	table_begin(&listing.table, columns, 4, false);
	request_begin(&request, "kinds", 0);
	int status = request_once(&request, got_kind, &listing);
	table_print(&listing.table);
	if (status == 0 && !listing.found && listing.wanted)
		return unknown_kind(&listing);
	return status;
}

extern const struct command command_kinds;
const struct command command_kinds = {
	.name = "kinds",
	.args = "[NAME] [--json]",
	.summary = "list the kinds of jobs, or explain one and its parameters",
	.examples = "  pyprepctl kinds\n"
		    "  pyprepctl kinds fib\n",
	.options = options,
	.complete = COMPLETE_KIND,
	.run = kinds_run,
};
