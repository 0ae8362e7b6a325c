/*
 * schedule_sjf.c - the shortest first: a line for each kind, which all take about as long as the
 * pool has measured.
 *
 * A kind that was never measured counts as the shortest, so that it soon is.  An array job counts
 * as one of its ranges, after which the worker is free again.
 *
 * So that the long ones come to run: a job lets pass only those shorter ones that come within
 * PATIENCE times the difference of their run times.  A ratio of waiting to run time would not do
 * it: while short jobs come faster than they are done, theirs grows faster, and the long one waits
 * for ever.
 */
#include <stdlib.h>

#include "daemon/ahead.h"
#include "daemon/schedule_line.h"
#include "ipc/clock.h"

#define PATIENCE 10u
#define RANGE_NS NS_PER_MS /* as array.c sizes them */
#define ARRAYS   KINDS_MAX /* their line */
#define LINES    (KINDS_MAX + 1u)

struct sjf {
	uint64_t filled[2]; /* bit per line */
	struct pool_line lines[LINES];
};

static void *
sjf_open(void)
{
	return calloc(1, sizeof(struct sjf));
}

static void
sjf_close(void *scheduling)
{
	struct sjf *s = scheduling;

	for (unsigned i = 0; i < LINES; i++)
		heap_free(&s->lines[i].returned);
	free(s);
}

static struct pool_line *
sjf_line_of(struct pool *p, const struct job *job)
{
	struct sjf *s = p->scheduling;
	return &s->lines[job->array != NULL ? ARRAYS : job->kind];
}

static struct pool_line *
sjf_line_at(struct pool *p, unsigned n)
{
	struct sjf *s = p->scheduling;
	return n < LINES ? &s->lines[n] : NULL;
}

static void
sjf_filled(struct pool *p, struct pool_line *l)
{
	struct sjf *s = p->scheduling;
	unsigned n = (unsigned)(l - s->lines);
	s->filled[n / 64] |= 1ull << n % 64;
}

static void
sjf_emptied(struct pool *p, struct pool_line *l)
{
	struct sjf *s = p->scheduling;
	unsigned n = (unsigned)(l - s->lines);
	s->filled[n / 64] &= ~(1ull << n % 64);
}

/* The sooner, the smaller. */
static struct turn
turn_of(const struct broker *b, const struct pool *p, const struct pool_line *l, unsigned n)
{
	uint64_t run_ns = n == ARRAYS ? RANGE_NS : p->estimate_ns[n];
	uint64_t queued_ns = job_at(&b->jobs, line_first(b, p, l))->queued_ns;

	if (p->ageing_ns == 0)
		return (struct turn){ run_ns, queued_ns };
	return (struct turn){ queued_ns + PATIENCE * run_ns, run_ns };
}

static struct pool_line *
sjf_choose(const struct broker *b, struct pool *p)
{
	struct sjf *s = p->scheduling;
	struct turn best = { 0 };
	struct pool_line *l = NULL;

	for (unsigned word = 0; word < 2; word++) {
		for (uint64_t left = s->filled[word]; left != 0; left &= left - 1) {
			unsigned n = word * 64 + (unsigned)__builtin_ctzll(left);
			struct turn turn = turn_of(b, p, &s->lines[n], n);
			if (l == NULL || turn_before(turn, best)) {
				best = turn;
				l = &s->lines[n];
			}
		}
	}
	return l;
}

/* Before which time must a job of line n have come to go before this one? */
static uint64_t
before_in(const struct pool *p, unsigned n, const struct job *job)
{
	uint64_t run_ns = n == ARRAYS ? RANGE_NS : p->estimate_ns[n];
	uint64_t mine_ns = job->array != NULL ? RANGE_NS : p->estimate_ns[job->kind];

	if (p->ageing_ns == 0)
		return run_ns < mine_ns ? UINT64_MAX : run_ns == mine_ns ? job->queued_ns : 0;
	if (run_ns < mine_ns)
		return job->queued_ns + PATIENCE * (mine_ns - run_ns) + 1;
	uint64_t worth_ns = PATIENCE * (run_ns - mine_ns);
	return worth_ns < job->queued_ns ? job->queued_ns - worth_ns : 0;
}

static void
sjf_ahead(const struct broker *b, struct pool *p, const struct job *job, struct ahead *a)
{
	struct sjf *s = p->scheduling;

	for (unsigned n = 0; n < LINES; n++)
		if (&s->lines[n] != sjf_line_of(p, job) && s->lines[n].count > 0)
			ahead_older(b, p, &s->lines[n], before_in(p, n, job), job, a);
}

const struct strategy strategy_sjf = {
	.name = "sjf",
	.help = "the kind that was measured to be shortest first; waiting counts, too",
	.levels = true,
	.open = sjf_open,
	.close = sjf_close,
	.line_of = sjf_line_of,
	.choose = sjf_choose,
	.filled = sjf_filled,
	.emptied = sjf_emptied,
	.line_at = sjf_line_at,
	.ahead = sjf_ahead,
};
