/*
 * schedule_fair.c - each user gets the same share of the pool's time: a line for each.
 *
 * A user's virtual time is what the pool has worked for that user; the one with the least is next
 * (start-time fair queuing: P. Goyal, H. Vin and H. Cheng, 1996).  What is under way counts as what
 * the user's jobs took so far, until it is known.  Who had nothing to run has saved nothing up:
 * whoever comes back begins at the virtual time of the one that was served last.
 */
#include <stdlib.h>

#include "daemon/ahead.h"
#include "daemon/schedule_line.h"
#include "ipc/clock.h"

#define BUCKETS     64u
#define USERS_FIRST 8u
#define UNKNOWN_NS  NS_PER_MS /* a run of a user of whom none has ended */
#define RUN_LEAST   NS_PER_US /* starting costs something, too */
#define REST        0u        /* in users: those for whom there was no memory, together */

struct user {
	struct pool_line line; /* first: who has the line has the user */
	struct user *next;     /* in its bucket */
	uint32_t uid;
	uint32_t number;    /* in users */
	uint32_t under_way; /* jobs and ranges with workers */
	uint32_t place;     /* in the heap of those that have something queued; or HEAP_NONE */
	uint64_t spent_ns;  /* virtual time, without what is under way */
	uint64_t run_ns;    /* of one job, a running mean; 0: none has ended */
	uint64_t served;    /* which hand-out of all was the last one: orders equals */
};

struct fair {
	struct heap waiting; /* users by virtual time; always has room for all */
	uint64_t now_ns;     /* virtual: of the one that was served last */
	uint64_t served;     /* hand-outs */
	struct user *buckets[BUCKETS];
	struct user **users;
	uint32_t count, capacity;
	struct user rest; /* users[REST] */
};

static uint64_t
run_of(const struct user *u)
{
	return u->run_ns != 0 ? u->run_ns : UNKNOWN_NS;
}

static struct turn
turn_of(const struct user *u)
{
	return (struct turn){ u->spent_ns + u->under_way * run_of(u), u->served };
}

static bool
goes_before(const void *context, uint32_t a, uint32_t b)
{
	const struct fair *f = context;
	return turn_before(turn_of(f->users[a]), turn_of(f->users[b]));
}

static uint32_t *
place_of(const void *context, uint32_t item)
{
	const struct fair *f = context;
	return &f->users[item]->place;
}

static const struct heap_ops by_turn = { goes_before, place_of };

static void
fair_close(void *scheduling)
{
	struct fair *f = scheduling;

	for (uint32_t i = 0; i < f->count; i++) {
		heap_free(&f->users[i]->line.returned);
		if (i != REST)
			free(f->users[i]);
	}
	heap_free(&f->waiting);
	free(f->users);
	free(f);
}

static void *
fair_open(void)
{
	struct fair *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return NULL;
	f->rest.place = HEAP_NONE;
	f->users = calloc(USERS_FIRST, sizeof(struct user *));
	if (f->users == NULL || heap_reserve(&f->waiting, USERS_FIRST) < 0) {
		fair_close(f);
		return NULL;
	}
	f->capacity = USERS_FIRST;
	f->users[REST] = &f->rest;
	f->count = 1;
	return f;
}

/* ---- users ---- */

static struct user **
bucket_of(struct fair *f, uint32_t uid)
{
	return &f->buckets[uid % BUCKETS];
}

static bool
is_idle(const struct user *u)
{
	return u->line.count == 0 && u->under_way == 0;
}

/* Who is idle and owes nothing is like a stranger. */
static void
forget_strangers(struct fair *f)
{
	for (uint32_t i = f->count; i-- > REST + 1;) {
		struct user *u = f->users[i];
		if (!is_idle(u) || u->spent_ns > f->now_ns)
			continue;
		struct user **link = bucket_of(f, u->uid);
		while (*link != u)
			link = &(*link)->next;
		*link = u->next;
		struct user *last = f->users[--f->count];
		f->users[i] = last;
		last->number = i;
		if (last->place != HEAP_NONE)
			f->waiting.at[last->place] = i;
		heap_free(&u->line.returned);
		free(u);
	}
}

static bool
has_room(struct fair *f)
{
	if (f->count < f->capacity)
		return true;
	forget_strangers(f);
	if (2 * f->count <= f->capacity)
		return true;
	uint32_t bigger = 2 * f->capacity;
	struct user **more = realloc(f->users, bigger * sizeof(struct user *));
	if (more != NULL)
		f->users = more;
	if (more != NULL && heap_reserve(&f->waiting, bigger) == 0)
		f->capacity = bigger;
	return f->count < f->capacity;
}

static struct user *
user_find(struct fair *f, uint32_t uid)
{
	struct user *u = *bucket_of(f, uid);

	while (u != NULL && u->uid != uid)
		u = u->next;
	if (u == NULL && !is_idle(&f->rest))
		return &f->rest;
	return u;
}

static struct user *
user_get(struct fair *f, uint32_t uid)
{
	struct user *u = user_find(f, uid);

	if (u != NULL)
		return u;
	if (!has_room(f) || (u = calloc(1, sizeof(*u))) == NULL)
		return &f->rest;
	u->uid = uid;
	u->place = HEAP_NONE;
	u->number = f->count;
	u->next = *bucket_of(f, uid);
	*bucket_of(f, uid) = u;
	f->users[f->count++] = u;
	return u;
}

/* Its virtual time has changed. */
static void
user_moves(struct fair *f, struct user *u)
{
	if (u->place != HEAP_NONE)
		heap_moved(&f->waiting, &by_turn, f, u->number);
}

/* ---- the strategy ---- */

static struct pool_line *
fair_line_of(struct pool *p, const struct job *job)
{
	return &user_get(p->scheduling, job->uid)->line;
}

static struct pool_line *
fair_line_at(struct pool *p, unsigned n)
{
	struct fair *f = p->scheduling;
	return n < f->count ? &f->users[n]->line : NULL;
}

static void
fair_filled(struct pool *p, struct pool_line *l)
{
	struct fair *f = p->scheduling;
	struct user *u = (struct user *)l;

	if (u->under_way == 0 && u->spent_ns < f->now_ns)
		u->spent_ns = f->now_ns;
	heap_push(&f->waiting, &by_turn, f, u->number);
}

static void
fair_emptied(struct pool *p, struct pool_line *l)
{
	struct fair *f = p->scheduling;
	struct user *u = (struct user *)l;

	heap_remove(&f->waiting, &by_turn, f, u->number);
}

static struct pool_line *
fair_choose(const struct broker *b, struct pool *p)
{
	struct fair *f = p->scheduling;
	uint32_t first = heap_first(&f->waiting);

	(void)b;
	return first != HEAP_NONE ? &f->users[first]->line : NULL;
}

/* By the time that this user's jobs up to this one will have taken, others get as much. */
static void
fair_ahead(const struct broker *b, struct pool *p, const struct job *job, struct ahead *a)
{
	struct fair *f = p->scheduling;
	const struct user *me = user_find(f, job->uid);
	uint64_t mine_ns = me != NULL ? turn_of(me).first : f->now_ns;
	uint64_t until_ns = mine_ns + a->jobs * (me != NULL ? run_of(me) : UNKNOWN_NS);

	for (uint32_t i = 0; i < f->count; i++) {
		const struct user *u = f->users[i];
		uint64_t from_ns = turn_of(u).first;
		if (u == me || u->line.count == 0 || from_ns > until_ns)
			continue;
		uint64_t jobs = (until_ns - from_ns) / run_of(u) + 1;
		ahead_some(b, &u->line, jobs < u->line.count ? jobs : u->line.count, a);
		a->exact = false; /* it is what they took so far that says so */
	}
}

static void
fair_handed(struct pool *p, const struct job *job)
{
	struct fair *f = p->scheduling;
	struct user *u = user_get(f, job->uid);
	uint64_t turn_ns = turn_of(u).first;

	if (turn_ns > f->now_ns)
		f->now_ns = turn_ns;
	u->under_way++;
	u->served = ++f->served;
	user_moves(f, u);
}

static void
fair_ran(struct pool *p, const struct job *job, uint64_t run_ns)
{
	struct fair *f = p->scheduling;
	struct user *u = user_find(f, job->uid);

	if (u == NULL)
		return;
	if (run_ns < RUN_LEAST)
		run_ns = RUN_LEAST;
	u->run_ns = u->run_ns == 0 ? run_ns : (u->run_ns * 7 + run_ns) / 8;
	u->spent_ns += run_ns;
	user_moves(f, u);
}

static void
fair_settled(struct pool *p, const struct job *job)
{
	struct fair *f = p->scheduling;
	struct user *u = user_find(f, job->uid);

	if (u == NULL || u->under_way == 0)
		return;
	u->under_way--;
	user_moves(f, u);
}

const struct strategy strategy_fair = {
	.name = "fair",
	.help = "each user gets the same share of the pool's time",
	.levels = true,
	.open = fair_open,
	.close = fair_close,
	.line_of = fair_line_of,
	.choose = fair_choose,
	.filled = fair_filled,
	.emptied = fair_emptied,
	.line_at = fair_line_at,
	.ahead = fair_ahead,
	.handed = fair_handed,
	.ran = fair_ran,
	.settled = fair_settled,
};
