/* figures.c - see figures.h */
#include "ipc/figures.h"

#include <errno.h>
#include <stddef.h>

#define X(name, word, unit) [name] = word,
const char *const figure_words[FIGURE_COUNT] = { FIGURES(X) };
#undef X
#define X(name, word, unit) [name] = unit,
const char *const figure_units[FIGURE_COUNT] = { FIGURES(X) };
#undef X

/* ---- one job ---- */

/* What the run used, where it was measured: pyprep-timings(7) has what each method tells. */
static void
measure_usage(struct figures *f, const struct outcome *o, uint64_t weight)
{
	const struct usage *u = &o->usage;
	bool full = o->method == USAGE_THREAD || o->method == USAGE_TREE;

	if (o->method == USAGE_NONE)
		return;
	(void)histogram_add(&f->stages[FIGURE_ONCPU], u->oncpu_ns, weight);
	if (full)
		(void)histogram_add(&f->stages[FIGURE_RUNQUEUE], u->runqueue_ns, weight);
	if (full || o->method == USAGE_LOOP)
		(void)histogram_add(&f->stages[FIGURE_BLOCKED], u->blocked_ns, weight);
	if (full && u->peak_memory_bytes > 0)
		(void)histogram_add(&f->stages[FIGURE_MEMORY], u->peak_memory_bytes, weight);
}

void
figures_measure(struct figures *f, const struct receipt *r, uint64_t weight)
{
	struct stages s;

	if (r->outcome.started_ns == 0)
		return;
	receipt_stages(r, r->returned_ns, &s);
	(void)histogram_add(&f->stages[FIGURE_SUBMIT], s.submit_ns, weight);
	if (s.store_ns > 0)
		(void)histogram_add(&f->stages[FIGURE_STORE], s.store_ns, weight);
	(void)histogram_add(&f->stages[FIGURE_QUEUE], s.queue_ns, weight);
	(void)histogram_add(&f->stages[FIGURE_DISPATCH], s.dispatch_ns, weight);
	(void)histogram_add(&f->stages[FIGURE_RUN], s.run_ns, weight);
	(void)histogram_add(&f->stages[FIGURE_RETURN], s.return_ns, weight);
	(void)histogram_add(&f->stages[FIGURE_TOTAL], s.total_ns, weight);
	measure_usage(f, &r->outcome, weight);
}

/* ---- many ---- */

bool
figures_merge(struct figures *to, const struct figures *from)
{
	bool all = true;

	to->jobs += from->jobs;
	to->started += from->started;
	to->attempts += from->attempts;
	to->items += from->items;
	to->run_ns += from->run_ns;
	to->cpu_ns += from->cpu_ns;
	to->user_ns += from->user_ns;
	to->system_ns += from->system_ns;
	for (unsigned state = 0; state < JOB_STATE_COUNT; state++)
		for (unsigned cause = 0; cause < JOB_CAUSE_COUNT; cause++)
			to->outcomes[state][cause] += from->outcomes[state][cause];
	for (unsigned i = 0; i < FIGURE_COUNT; i++)
		all &= histogram_merge(&to->stages[i], &from->stages[i]);
	return all;
}

void
figures_free(struct figures *f)
{
	for (unsigned i = 0; i < FIGURE_COUNT; i++)
		histogram_free(&f->stages[i]);
	*f = (struct figures){ 0 };
}

uint64_t
figures_state(const struct figures *f, enum job_state state)
{
	uint64_t sum = 0;

	for (unsigned cause = 0; cause < JOB_CAUSE_COUNT; cause++)
		sum += f->outcomes[state][cause];
	return sum;
}

/* ---- as bytes ---- */

/* The counts, in the order of the bytes; more of them is another version. */
#define AT(field) offsetof(struct figures, field)
static const size_t counts[] = { AT(jobs),   AT(started), AT(attempts), AT(items),
				 AT(run_ns), AT(cpu_ns),  AT(user_ns),  AT(system_ns) };
#undef AT
#define COUNTS (sizeof(counts) / sizeof(counts[0]))

static void
write_outcomes(const struct figures *f, struct varint_out *out)
{
	uint64_t kinds = 0;

	for (unsigned state = 0; state < JOB_STATE_COUNT; state++)
		for (unsigned cause = 0; cause < JOB_CAUSE_COUNT; cause++)
			kinds += f->outcomes[state][cause] != 0;
	varint_put(out, kinds);
	for (unsigned state = 0; state < JOB_STATE_COUNT; state++)
		for (unsigned cause = 0; cause < JOB_CAUSE_COUNT; cause++) {
			if (f->outcomes[state][cause] == 0)
				continue;
			varint_put(out, state);
			varint_put(out, cause);
			varint_put(out, f->outcomes[state][cause]);
		}
}

static void
write_counts(const struct figures *f, struct varint_out *out)
{
	varint_put(out, FIGURES_VERSION);
	for (unsigned i = 0; i < COUNTS; i++)
		varint_put(out, *(const uint64_t *)((const char *)f + counts[i]));
	write_outcomes(f, out);
}

static void
write_histogram(const struct figures *f, unsigned which, struct varint_out *out)
{
	struct varint_out length = { 0 };

	if (f->stages[which].n == 0)
		return;
	histogram_write(&f->stages[which], &length);
	varint_put(out, which);
	varint_put(out, length.length);
	histogram_write(&f->stages[which], out);
}

size_t
figures_write(const struct figures *f, void *to, size_t room)
{
	struct varint_out out = { .at = to, .room = room };

	write_counts(f, &out);
	for (unsigned i = 0; i < FIGURE_COUNT; i++)
		write_histogram(f, i, &out);
	return out.length;
}

size_t
figures_write_part(const struct figures *f, unsigned part, void *to, size_t room)
{
	static const struct figures none;
	struct varint_out out = { .at = to, .room = room };

	write_counts(part < FIGURE_COUNT ? &none : f, &out);
	if (part < FIGURE_COUNT)
		write_histogram(f, part, &out);
	return out.length;
}

static int
read_outcomes(struct figures *f, struct varint_in *in)
{
	uint64_t kinds = varint_get(in);

	while (kinds-- > 0 && !in->failed) {
		uint64_t state = varint_get(in), cause = varint_get(in), count = varint_get(in);
		if (in->failed || state >= JOB_STATE_COUNT || cause >= JOB_CAUSE_COUNT)
			return -EPROTO;
		f->outcomes[state][cause] += count;
	}
	return in->failed ? -EPROTO : 0;
}

static int
read_histogram(struct figures *f, struct varint_in *in)
{
	uint64_t which = varint_get(in), length = varint_get(in);

	if (in->failed || length > (size_t)(in->end - in->at))
		return -EPROTO;
	struct varint_in part = { .at = in->at, .end = in->at + length };
	in->at += length;
	if (which >= FIGURE_COUNT)
		return 0; /* of a later version */
	int r = histogram_read(&f->stages[which], &part);
	return r < 0 ? r : part.at != part.end ? -EPROTO : 0;
}

int
figures_read(struct figures *f, const void *from, size_t length)
{
	struct varint_in in = { .at = from, .end = (const unsigned char *)from + length };
	int r = 0;

	if (varint_get(&in) != FIGURES_VERSION)
		return -EPROTO;
	for (unsigned i = 0; i < COUNTS; i++)
		*(uint64_t *)((char *)f + counts[i]) += varint_get(&in);
	r = read_outcomes(f, &in);
	while (r == 0 && in.at < in.end)
		r = read_histogram(f, &in);
	return r;
}
