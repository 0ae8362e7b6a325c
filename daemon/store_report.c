/* store_report.c - what a look at the store found, in words; see store_check.h */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/store_check.h"
#include "daemon/store_sqlite.h"

/* Columns of the tables, as their rows are stored. */
enum { JOB_ID = 1, JOB_STATE = 2, OUTPUT_BYTES = 6 };

void
report_damage(struct store_report *r, const char *format, ...)
{
	va_list arguments;

	if (r->damage++ >= REPORT_LINES)
		return;
	va_start(arguments, format);
	(void)vsnprintf(r->line[r->damage - 1], sizeof(r->line[0]), format, arguments);
	va_end(arguments);
}

void
report_lost(struct store_report *r, uint64_t id)
{
	if (r->lost < REPORT_LINES)
		r->lost_id[r->lost] = id;
	r->lost++;
}

static void
count_good(struct store_report *r, const struct salvage_row *row)
{
	switch (row->table) {
	case TABLE_JOB:
		r->open += row->value[JOB_STATE].integer == 0;
		r->ended += row->value[JOB_STATE].integer != 0;
		break;
	case TABLE_ATTEMPT:
		r->attempts++;
		break;
	case TABLE_OUTPUT:
		r->chunks++;
		r->output_bytes += row->value[OUTPUT_BYTES].length;
		break;
	case TABLE_CONTEXT:
		r->contexts++;
		break;
	case TABLE_TALLY:
		r->tallies++;
		break;
	}
}

int
report_row(void *context, const struct salvage_row *row)
{
	static const char *const names[] = {
		"none that is known", "job", "attempt", "output", "context", "tally"
	};
	struct store_report *r = context;

	if (row->good) {
		count_good(r, row);
		return 0;
	}
	r->bad_rows++;
	/* Those of a damaged page go with it. */
	if (row->page_good && row->table != 0)
		report_damage(r,
			      "a row of table %s, number %" PRId64
			      ", in page %u: it is not as it was written",
			      names[row->table], row->value[JOB_ID].integer, row->page);
	else if (row->page_good)
		report_damage(r, "a row of no known table, in page %u", row->page);
	return 0;
}

/* ---- for people ---- */

static void
print_lost(const struct store_report *r, FILE *f)
{
	uint64_t shown = r->lost < REPORT_LINES ? r->lost : REPORT_LINES;

	fprintf(f, "  lost   ");
	if (r->lost > 0)
		fprintf(f, "%" PRIu64 " jobs that are known of:", r->lost);
	for (uint64_t i = 0; i < shown; i++)
		fprintf(f, " %" PRIu64, r->lost_id[i]);
	if (shown < r->lost)
		fprintf(f, " and %" PRIu64 " more", r->lost - shown);
	fprintf(f, "%s%" PRIu64 " rows that could not be read\n", r->lost > 0 ? "; " : "",
		r->bad_rows);
}

static void
print_for_people(const struct store_report *r, FILE *f)
{
	uint64_t lines = r->damage < REPORT_LINES ? r->damage : REPORT_LINES;

	fprintf(f, "%s/" STORE_FILE ": %s\n", r->state_dir, r->verdict);
	for (uint64_t i = 0; i < lines; i++)
		fprintf(f, "  damage %s\n", r->line[i]);
	if (lines < r->damage)
		fprintf(f, "  damage ... and %" PRIu64 " more\n", r->damage - lines);
	fprintf(f,
		"  rows   %" PRIu64 " open and %" PRIu64 " ended jobs, %" PRIu64
		" attempts, %" PRIu64 " bytes of output, %" PRIu64 " contexts, %" PRIu64
		" tallies\n",
		r->open, r->ended, r->attempts, r->output_bytes, r->contexts, r->tallies);
	fprintf(f,
		"  files  %" PRIu64 " bytes: %u pages, %u damaged, %u missing, %u free; %u in the "
		"log\n",
		r->files.bytes, r->files.pages, r->files.damaged_pages, r->files.missing_pages,
		r->files.free_pages, r->files.frames);
	if (r->torn_bytes > 0)
		fprintf(f,
			"  log    its last %" PRIu64 " bytes are not whole, and were not "
			"acknowledged: the daemon cuts them\n",
			r->torn_bytes);
	if (r->lost_frames > 0)
		fprintf(f,
			"  log    %" PRIu64
			" pages of it were acknowledged, and are not there: the "
			"disk lost them, or somebody cut the log\n",
			r->lost_frames);
	if (r->kept != NULL) {
		print_lost(r, f);
		fprintf(f, "  kept   %s/%s, as it was\n", r->state_dir, r->kept);
	} else if (r->damage > 0) {
		fputs("Nothing was changed.  What can be read is saved by: pyprepctl store "
		      "repair\n",
		      f);
	}
}

/* ---- JSON ---- */

static void
print_text(FILE *f, const char *text)
{
	fputc('"', f);
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(f, "\\%c", *at);
		else if (*at < 0x20)
			fprintf(f, "\\u%04x", *at);
		else
			fputc(*at, f);
	}
	fputc('"', f);
}

static void
print_json(const struct store_report *r, FILE *f)
{
	uint64_t lines = r->damage < REPORT_LINES ? r->damage : REPORT_LINES;
	uint64_t lost = r->lost < REPORT_LINES ? r->lost : REPORT_LINES;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "open", r->open },
		{ "ended", r->ended },
		{ "attempts", r->attempts },
		{ "output_bytes", r->output_bytes },
		{ "contexts", r->contexts },
		{ "tallies", r->tallies },
		{ "bad_rows", r->bad_rows },
		{ "bytes", r->files.bytes },
		{ "pages", r->files.pages },
		{ "pages_damaged", r->files.damaged_pages },
		{ "pages_missing", r->files.missing_pages },
		{ "pages_free", r->files.free_pages },
		{ "log_frames", r->files.frames },
		{ "torn_bytes", r->torn_bytes },
		{ "lost_frames", r->lost_frames },
		{ "findings", r->damage },
	};

	fputs("{\"schema\":\"pyprep.store/1\",\"state_dir\":", f);
	print_text(f, r->state_dir);
	fprintf(f, ",\"verdict\":\"%s\"", r->verdict);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		fprintf(f, ",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
	fputs(",\"damage\":[", f);
	for (uint64_t i = 0; i < lines; i++) {
		if (i > 0)
			fputc(',', f);
		print_text(f, r->line[i]);
	}
	fputc(']', f);
	if (r->kept != NULL) {
		fputs(",\"kept\":", f);
		print_text(f, r->kept);
		fprintf(f, ",\"lost\":%" PRIu64 ",\"lost_ids\":[", r->lost);
		for (uint64_t i = 0; i < lost; i++)
			fprintf(f, "%s%" PRIu64, i > 0 ? "," : "", r->lost_id[i]);
		fputc(']', f);
	}
	fputs("}\n", f);
}

void
report_print(const struct store_report *r, bool json, FILE *f)
{
	if (json)
		print_json(r, f);
	else
		print_for_people(r, f);
}
