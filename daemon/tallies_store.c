/*
 * tallies_store.c - tallies on their way to the store and back.
 *
 * An order carries a cell's bytes as they were; what is counted meanwhile makes the cell dirty
 * again.  One that fails makes it dirty, too, and it is tried again later: a full disk costs
 * nothing but time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/durable_load.h"
#include "daemon/log.h"
#include "daemon/tallies_cell.h"

#define WRITE_AFTER_S 2

/* ---- to the store ---- */

void
tallies_write_soon(struct broker *b)
{
	struct timeval later = { .tv_sec = WRITE_AFTER_S };

	if (b->tallies->write_due)
		return;
	b->tallies->write_due = true;
	evtimer_add(b->tallies->write, &later);
}

/* Days that waited for it to be written. */
static void
read_unread(struct broker *b)
{
	for (unsigned i = 0; i < TALLY_DAYS; i++) {
		struct tally_day *d = b->tallies->days[i];
		if (d != NULL && d->state == TALLY_UNREAD)
			tallies_read_back(b, d);
	}
}

static void
on_put(struct broker *b, struct order *o)
{
	struct tally_day *d = tally_day_of(b->tallies, (uint32_t)o->number[0]);

	if (--b->tallies->under_way == 0)
		read_unread(b);
	if (o->change.result == 0 || d == NULL || d->cells[o->number[1]][o->number[2]] == NULL)
		return;
	d->cells[o->number[1]][o->number[2]]->dirty = true;
	tallies_write_soon(b);
}

/* false: no memory; it stays dirty. */
static bool
put_cell(struct broker *b, const struct tally_day *d, unsigned pool, unsigned kind, bool lazy)
{
	const struct figures *f = &d->cells[pool][kind]->figures;
	const char *pool_name = b->pools[pool].config->name, *kind_name = kinds[kind]->name;
	size_t pool_size = strlen(pool_name) + 1, kind_size = strlen(kind_name) + 1;
	size_t length = figures_write(f, NULL, 0);

	struct order *o = order_new(CHANGE_TALLY, length + pool_size + kind_size);
	if (o == NULL)
		return false;
	figures_write(f, o->bytes, length);
	o->change.tally.day = d->day;
	o->change.tally.figures = (struct bytes){ o->bytes, length };
	o->change.tally.pool = memcpy(o->bytes + length, pool_name, pool_size);
	o->change.tally.kind = memcpy(o->bytes + length + pool_size, kind_name, kind_size);
	o->lazy = lazy;
	o->answered = on_put;
	o->number[0] = d->day;
	o->number[1] = pool;
	o->number[2] = kind;
	b->tallies->under_way++;
	writer_put(b->durable->writer, o);
	return true;
}

static void
put_day(struct broker *b, struct tally_day *d, bool lazy)
{
	if (d->state != TALLY_READ || !durable_ready(b, NULL))
		return;
	for (unsigned pool = 0; pool < b->pool_count; pool++)
		for (unsigned kind = 0; kind < kind_count; kind++)
			if (d->cells[pool][kind] != NULL && d->cells[pool][kind]->dirty &&
			    put_cell(b, d, pool, kind, lazy))
				d->cells[pool][kind]->dirty = false;
}

void
tallies_put_day(struct broker *b, struct tally_day *d)
{
	put_day(b, d, true);
}

static bool
is_dirty(const struct tally_day *d)
{
	for (unsigned pool = 0; pool < POOLS_MAX; pool++)
		for (unsigned kind = 0; kind < KINDS_MAX; kind++)
			if (d->cells[pool][kind] != NULL && d->cells[pool][kind]->dirty)
				return true;
	return false;
}

void
tallies_give_up_day(struct broker *b, struct tally_day *d)
{
	put_day(b, d, false); /* a clock that is set may bring it back at once */
	if (is_dirty(d))
		log_warn("the figures of a whole day could not be stored and are lost; the store "
			 "is %s",
			 writer_state_text(writer_state(b->durable->writer)));
}

static void
on_write(evutil_socket_t fd, short what, void *context)
{
	struct broker *b = context;
	struct tallies *t = b->tallies;
	bool more = false;

	(void)fd;
	(void)what;
	t->write_due = false;
	read_unread(b);
	for (unsigned i = 0; i < TALLY_DAYS; i++) {
		if (t->days[i] == NULL)
			continue;
		tallies_put_day(b, t->days[i]);
		more |= is_dirty(t->days[i]);
	}
	if (more)
		tallies_write_soon(b);
}

/* ---- and back ---- */

struct kept_tally {
	STAILQ_ENTRY(kept_tally) link;
	char kind[STORE_NAME_MAX + 1], pool[STORE_NAME_MAX + 1];
	size_t length;
	unsigned char figures[];
};

struct reading {
	struct question question;
	uint32_t day;
	int result;
	STAILQ_HEAD(, kept_tally) rows;
};

static int
keep_row(void *context, uint32_t day, const char *kind, const char *pool, const void *figures,
	 size_t length)
{
	struct reading *g = context;

	if (day != g->day || strlen(kind) > STORE_NAME_MAX || strlen(pool) > STORE_NAME_MAX)
		return 0;
	struct kept_tally *k = malloc(sizeof(*k) + length);
	if (k == NULL)
		return -ENOMEM;
	strcpy(k->kind, kind);
	strcpy(k->pool, pool);
	k->length = length;
	if (length > 0)
		memcpy(k->figures, figures, length);
	STAILQ_INSERT_TAIL(&g->rows, k, link);
	return 0;
}

static void
ask_day(const struct store_ops *ops, struct store *s, struct question *q)
{
	struct reading *g = (struct reading *)q;

	g->result = ops->tallies(s, g->day, keep_row, g);
}

/* Add it to what was counted since.  Of a kind or pool that is gone it stays in the store alone. */
static void
take_back(struct broker *b, struct tally_day *d, const struct kept_tally *k)
{
	struct figures stored = { 0 };
	unsigned pool, kind;

	if (!tallies_names(b, k->pool, k->kind, &pool, &kind))
		return;
	struct tally_cell *c = tally_cell_of(d, pool, kind);
	int r = figures_read(&stored, k->figures, k->length);
	if (r == 0 && (c == NULL || !figures_merge(&c->figures, &stored)))
		r = -ENOMEM;
	figures_free(&stored);
	if (r < 0)
		log_warn("the figures of kind %s in pool %s that were stored today are lost (%s); "
			 "counting on from here",
			 k->kind, k->pool,
			 r == -ENOMEM ? "out of memory" : "not as they were written");
}

static void
on_read(struct broker *b, struct question *q)
{
	struct reading *g = (struct reading *)q;
	struct tally_day *d =
		b != NULL && b->tallies != NULL ? tally_day_of(b->tallies, g->day) : NULL;
	struct kept_tally *k;

	if (d != NULL && d->state == TALLY_ASKED)
		d->state = g->result == 0 ? TALLY_READ : TALLY_UNREAD;
	while ((k = STAILQ_FIRST(&g->rows)) != NULL) {
		STAILQ_REMOVE_HEAD(&g->rows, link);
		if (d != NULL && d->state == TALLY_READ)
			take_back(b, d, k);
		free(k);
	}
	if (d != NULL && d->state == TALLY_UNREAD)
		tallies_write_soon(b); /* and read again before that */
	free(g);
}

void
tallies_read_back(struct broker *b, struct tally_day *d)
{
	/* What is under way may be of this day: the reading thread would not see it yet. */
	if (b->tallies->under_way > 0)
		return;
	struct reading *g = calloc(1, sizeof(*g));
	if (g == NULL) {
		tallies_write_soon(b);
		return;
	}
	STAILQ_INIT(&g->rows);
	g->question.ask = ask_day;
	g->question.answered = on_read;
	g->day = d->day;
	d->state = TALLY_ASKED;
	writer_ask(b->durable->writer, &g->question);
}

/* ---- open and close ---- */

int
tallies_open_store(struct broker *b)
{
	b->tallies->write = evtimer_new(b->base, on_write, b);
	return b->tallies->write != NULL ? 0 : -ENOMEM;
}

void
tallies_close_store(struct broker *b)
{
	if (b->tallies->write != NULL)
		event_free(b->tallies->write);
}
