/*
 * print_receipt.c - one receipt in words.
 *
 * The printed stages sum to the printed total to the last digit: all are cut to the same
 * decimals and what the cuts lost goes to those that lost most (largest remainders).
 */
#include "client/ctl/print_receipt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/print_json.h"
#include "client/ctl/units.h"

#define PARTS_MAX 6

struct part {
	const char *name;
	uint64_t ns;
	uint64_t shown; /* in the scale's smallest step */
};

/* How all times of one receipt are written. */
struct scale {
	uint64_t step_ns; /* the last printed digit */
	unsigned digits;  /* after the point */
	const char *unit;
};

static struct scale
scale_for(uint64_t total_ns)
{
	if (!units_human())
		return (struct scale){ 1, 0, "ns" };
	if (total_ns < 1000000)
		return (struct scale){ 1, 3, "us" };
	if (total_ns < 10000000000)
		return (struct scale){ 1000, 3, "ms" };
	return (struct scale){ 1000000, 3, "s" };
}

static struct unit_text
in_scale(const struct scale *scale, uint64_t shown)
{
	struct unit_text out;

	if (scale->digits == 0)
		snprintf(out.text, sizeof out.text, "%" PRIu64, shown);
	else
		snprintf(out.text, sizeof out.text, "%" PRIu64 ".%03" PRIu64, shown / 1000,
			 shown % 1000);
	return out;
}

/* Set `shown` of each part so that they sum to `total`, when that is what the parts are. */
static void
share_out(const struct scale *scale, struct part *parts, unsigned count, uint64_t total)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		parts[i].shown = parts[i].ns / scale->step_ns;
		sum += parts[i].shown;
	}
	for (unsigned round = 0; round < count && sum < total; round++) {
		unsigned most = 0;
		uint64_t most_lost = 0;
		for (unsigned i = 0; i < count; i++) {
			uint64_t whole = parts[i].shown * scale->step_ns;
			uint64_t lost = parts[i].ns > whole ? parts[i].ns - whole : 0;
			if (lost > most_lost) {
				most = i;
				most_lost = lost;
			}
		}
		if (most_lost == 0)
			return;
		parts[most].shown++;
		sum++;
	}
}

static void
print_run_split(FILE *out, const struct pyprep_receipt *r, const struct scale *scale,
		uint64_t run_shown)
{
	struct part parts[] = {
		{ "on-CPU", r->oncpu_ns, 0 },
		{ "waiting for a CPU", r->runqueue_ns, 0 },
		{ "blocked", r->blocked_ns, 0 },
	};

	/* an array job runs on many workers at once: their sum is not its run time */
	bool one_worker = r->oncpu_ns + r->runqueue_ns + r->blocked_ns == r->run_ns;
	share_out(scale, parts, 3, one_worker ? run_shown : 0);
	fputs(one_worker ? " (" : " (all workers together: ", out);
	for (unsigned i = 0; i < 3; i++)
		fprintf(out, "%s%s %s", i == 0 ? "" : " + ", parts[i].name,
			in_scale(scale, parts[i].shown).text);
	fputc(')', out);
}

static void
print_stages(FILE *out, const struct pyprep_receipt *r)
{
	struct scale scale = scale_for(r->total_ns);
	struct part parts[PARTS_MAX];
	unsigned count = 0, run = 0;

	parts[count++] = (struct part){ "submit", r->submit_ns, 0 };
	if (r->store_ns > 0)
		parts[count++] = (struct part){ "store", r->store_ns, 0 };
	parts[count++] = (struct part){ "queue", r->queue_ns, 0 };
	parts[count++] = (struct part){ "dispatch", r->dispatch_ns, 0 };
	run = count;
	parts[count++] = (struct part){ "run", r->run_ns, 0 };
	parts[count++] = (struct part){ "return", r->return_ns, 0 };

	uint64_t sum = 0;
	for (unsigned i = 0; i < count; i++)
		sum += parts[i].ns;
	share_out(&scale, parts, count, (sum + scale.step_ns / 2) / scale.step_ns);
	uint64_t total = (r->total_ns + scale.step_ns / 2) / scale.step_ns;
	fprintf(out, "  total %s %s", in_scale(&scale, total).text, scale.unit);
	for (unsigned i = 0; i < count; i++) {
		fprintf(out, " %c %s %s", i == 0 ? '=' : '+', parts[i].name,
			in_scale(&scale, parts[i].shown).text);
		if (i == run && strcmp(r->method, "none") != 0)
			print_run_split(out, r, &scale, parts[i].shown);
	}
	fprintf(out, "; residual %" PRId64 " ns\n", r->residual_ns);
}

static void
print_usage(FILE *out, const struct pyprep_receipt *r)
{
	if (strcmp(r->method, "none") == 0)
		return;
	if (strcmp(r->method, "light") == 0) {
		fputs("  so short that only its run time was taken\n", out);
		return;
	}
	fprintf(out, "  user %s, system %s", unit_time(r->user_ns).text,
		unit_time(r->system_ns).text);
	if (r->peak_memory_bytes > 0)
		fprintf(out, ", peak memory %s", unit_bytes(r->peak_memory_bytes).text);
	if (r->memory_limit && strcmp(r->memory_limit, "none") != 0)
		fprintf(out, " (limited by %s)",
			strcmp(r->memory_limit, "cgroup") == 0 ? "its cgroup" : "process");
	fprintf(out, ", context switches %u voluntary %u involuntary", r->switches_voluntary,
		r->switches_involuntary);
	fprintf(out, ", faults %u minor %u major\n", r->faults_minor, r->faults_major);
}

/* Replace what could steer a terminal. */
static void
make_harmless(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
}

void
result_text(const struct pyprep_receipt *r, char *buffer, size_t size)
{
	json_t *json = json_of_result(r);

	buffer[0] = '\0';
	if (json_is_string(json)) {
		snprintf(buffer, size, "%s", json_string_value(json));
	} else if (!json_is_null(json)) {
		char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
		snprintf(buffer, size, "%s", text ? text : "");
		free(text);
	}
	json_decref(json);
	make_harmless(buffer);
}

void
result_print(FILE *out, const struct pyprep_receipt *r)
{
	json_t *json = json_of_result(r);

	if (json_is_string(json)) {
		fwrite(json_string_value(json), 1, json_string_length(json), out);
		fputc('\n', out);
	} else if (!json_is_null(json)) {
		json_dumpf(json, out, JSON_COMPACT | JSON_ENCODE_ANY);
		fputc('\n', out);
	}
	json_decref(json);
}

void
failure_text(const struct pyprep_receipt *r, char *buffer, size_t size)
{
	char cause[64];

	const char *text = cause_text(r, cause, sizeof cause);
	const char *message = r->error_message ? r->error_message : "";
	bool own_words = strcmp(r->cause, "error") == 0 || strcmp(r->cause, "refused") == 0 ||
			 strcmp(r->cause, "oom") == 0;

	if (own_words)
		text = r->error_code;
	if (!message[0])
		snprintf(buffer, size, "%s", text ? text : "");
	else if (own_words)
		snprintf(buffer, size, "%s: %s", text, message);
	else /* the message of an exit, a signal or a death says what the cause does */
		snprintf(buffer, size, "%s%s", message,
			 r->bystander ? " (by another job's deed)" : "");
	make_harmless(buffer);
}

static void
print_heading(FILE *out, const struct pyprep_receipt *r, const char *args)
{
	enum colour colour = colour_of_state(r->state);
	char text[400];

	fprintf(out, "job %" PRIu64 " %s", r->id, r->kind ? r->kind : "?");
	if (args && args[0])
		fprintf(out, " %s", args);
	if (r->slot >= 0)
		fprintf(out, " on %s/%d (pid %d)", r->pool ? r->pool : "?", r->slot, r->worker_pid);
	else if (r->pool)
		fprintf(out, " for pool %s", r->pool);
	fprintf(out, ": %s%s%s", colour_begin(colour), r->state, colour_end(colour));
	if (r->attempt > 1)
		fprintf(out, " at attempt %u", r->attempt);
	if (strcmp(r->state, "succeeded") != 0) {
		failure_text(r, text, sizeof text);
		fprintf(out, "%s%s", text[0] ? ", " : "", text);
	} else if (r->error_message && r->error_message[0]) {
		snprintf(text, sizeof text, "%s", r->error_message);
		make_harmless(text);
		fprintf(out, " (%s)", text);
	}
	if (r->items > 0)
		fprintf(out, ", %s items, %s failed", unit_count(r->items).text,
			unit_count(r->items_failed).text);
	result_text(r, text, sizeof text);
	fprintf(out, "%s%s\n", text[0] ? ", result " : "", text);
}

void
receipt_print(FILE *out, const struct pyprep_receipt *r, const char *args)
{
	print_heading(out, r, args);
	if (r->total_ns > 0)
		print_stages(out, r);
	print_usage(out, r);
}

static const char *
last_lines(const char *bytes, size_t length, unsigned lines)
{
	size_t at = length > 0 && bytes[length - 1] == '\n' ? length - 1 : length;

	while (at > 0) {
		if (bytes[at - 1] == '\n' && --lines == 0)
			break;
		at--;
	}
	return bytes + at;
}

static void
print_stream(FILE *out, const char *name, const char *bytes, size_t length, unsigned lines)
{
	const char *end = bytes + length;

	if (length == 0)
		return;
	if (lines > 0)
		bytes = last_lines(bytes, length, lines);
	while (bytes < end) {
		const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
		size_t here = (size_t)((newline ? newline : end) - bytes);
		fprintf(out, "  %s | ", name);
		fwrite(bytes, 1, here, out);
		fputc('\n', out);
		bytes += here + (newline != NULL);
	}
}

void
capture_print(FILE *out, const struct capture *capture, unsigned lines)
{
	print_stream(out, "stdout", capture->bytes[0], capture->length[0], lines);
	print_stream(out, "stderr", capture->bytes[1], capture->length[1], lines);
}

void
receipts_table_begin(struct table *table, bool streamed)
{
	static const struct column columns[] = {
		{ "id", COLUMN_NUMBER, 7 },    { "state", COLUMN_TEXT, 9 },
		{ "worker", COLUMN_TEXT, 9 },  { "submit", COLUMN_TIME, 7 },
		{ "queue", COLUMN_TIME, 8 },   { "dispatch", COLUMN_TIME, 8 },
		{ "run", COLUMN_TIME, 8 },     { "on-CPU", COLUMN_TIME, 8 },
		{ "return", COLUMN_TIME, 7 },  { "total", COLUMN_TIME, 8 },
		{ "memory", COLUMN_BYTES, 8 }, { "result", COLUMN_TEXT, 0 },
	};
	table_begin(table, columns, sizeof columns / sizeof columns[0], streamed);
}

void
receipts_table_add(struct table *table, const struct pyprep_receipt *r)
{
	char text[200];

	table_text(table, COLOUR_NONE, "%" PRIu64, r->id); /* a name: no commas */
	table_text(table, colour_of_state(r->state), "%s", r->state);
	if (r->slot >= 0)
		table_text(table, COLOUR_NONE, "%s/%d", r->pool, r->slot);
	else
		table_text(table, COLOUR_NONE, "-");
	table_time(table, r->submit_ns);
	table_time(table, r->queue_ns);
	table_time(table, r->dispatch_ns);
	table_time(table, r->run_ns);
	table_time(table, r->oncpu_ns);
	table_time(table, r->return_ns);
	table_time(table, r->total_ns);
	table_bytes(table, r->peak_memory_bytes);
	if (strcmp(r->state, "succeeded") == 0)
		result_text(r, text, sizeof text);
	else
		failure_text(r, text, sizeof text);
	table_text(table, COLOUR_NONE, "%s", text);
}
