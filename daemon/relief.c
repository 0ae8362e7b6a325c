/*
 * relief.c - a worker that is spent gets a successor before it goes, and how many workers of a pool
 * can be given jobs.
 *
 * For a while two workers stand in one slot: the one who is to go, and its heir, which stands in
 * another place of the pool's crew.  The old one gets jobs until the heir is ready, then it
 * finishes what it has started.
 */
#include "daemon/broker.h"

static bool
is_ready(const struct crew *w)
{
	return atomic_load_explicit(&w->link.shared->worker_ready, memory_order_acquire) != 0;
}

struct crew *
crew_at(const struct pool *p, unsigned slot)
{
	struct crew *found = NULL;

	for (unsigned i = 0; i < p->crew_count; i++) {
		struct crew *w = p->crew[i];
		if (w == NULL || w->slot != slot)
			continue;
		if (w->up && !w->relieved && !w->heir)
			return w;
		if (found == NULL || (w->up && (!found->up || found->relieved)))
			found = w;
	}
	return found;
}

struct crew *
crew_named(const struct pool *p, unsigned slot, uint32_t generation)
{
	for (unsigned i = 0; i < p->crew_count; i++)
		if (p->crew[i] != NULL && p->crew[i]->up && p->crew[i]->slot == slot &&
		    p->crew[i]->generation == generation)
			return p->crew[i];
	return NULL;
}

int
crew_place(struct pool *p, unsigned slot)
{
	unsigned place = slot;

	/* The slot's own place, unless another stands in it. */
	if (p->crew[place] != NULL && p->crew[place]->up)
		for (place = 0; place < CREW_MAX; place++)
			if (p->crew[place] == NULL || !p->crew[place]->up)
				break;
	if (place == CREW_MAX)
		return -1;
	if (p->crew[place] == NULL && (p->crew[place] = calloc(1, sizeof(struct crew))) == NULL)
		return -1;
	if (place >= p->crew_count)
		p->crew_count = place + 1;
	return (int)place;
}

/* ---- how many can be given jobs ---- */

unsigned
pool_able(const struct pool *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->crew_count; i++) {
		const struct crew *w = p->crew[i];
		n += w != NULL && w->up && !w->retiring && !w->leaving && !w->halted &&
		     !w->alone && is_ready(w);
	}
	return n;
}

void
pool_note_able(struct pool *p)
{
	unsigned able = pool_able(p);

	if (p->able_of != p->wanted) { /* of this size it has not been whole yet */
		if (able < p->wanted)
			return;
		p->able_of = p->able_least = p->wanted;
	}
	if (able < p->able_least)
		p->able_least = able;
}

/* ---- relief ---- */

void
crew_hand_on(struct pool *p, struct crew *w)
{
	struct crew *next = w->relieved ? crew_at(p, w->slot) : NULL;

	if (next == NULL || next == w)
		return;
	next->jobs += w->jobs;
	w->jobs = 0;
}

void
crew_spent(struct broker *b, struct crew *w, uint32_t flags)
{
	struct worker_kill_body recycle = {
		.pool = w->pool,
		.slot = w->slot,
		.generation = w->generation,
	};

	if ((flags & RESULT_HALTED) != 0 && !w->halted) {
		w->halted = true;
		crew_take_back(b, w);
		pool_note_able(&b->pools[w->pool]);
	}
	if (!w->spent && !w->retiring && !w->leaving)
		w->spent = supervisor_tell(b, MSG_RECYCLE, &recycle) == 0;
}

static struct crew *
predecessor_of(const struct pool *p, const struct crew *heir)
{
	for (unsigned i = 0; i < p->crew_count; i++) {
		struct crew *w = p->crew[i];
		if (w != NULL && w != heir && w->up && w->slot == heir->slot && !w->relieved)
			return w;
	}
	return NULL;
}

void
crew_is_heir(struct broker *b, struct crew *w)
{
	w->heir = predecessor_of(&b->pools[w->pool], w) != NULL;
	b->heirs += w->heir;
}

static void
relieve(struct broker *b, struct pool *p, struct crew *heir)
{
	struct crew *old = predecessor_of(p, heir);

	heir->heir = false;
	b->heirs--;
	if (old == NULL)
		return; /* it died meanwhile */
	heir->jobs += old->jobs;
	old->jobs = 0;
	old->relieved = true;
	p->recycled++;
	crew_retire(b, old);
}

void
crews_relieve(struct broker *b)
{
	for (unsigned i = 0; b->heirs > 0 && i < b->pool_count; i++) {
		struct pool *p = &b->pools[i];
		for (unsigned n = 0; n < p->crew_count; n++)
			if (p->crew[n] != NULL && p->crew[n]->heir && is_ready(p->crew[n]))
				relieve(b, p, p->crew[n]);
	}
}
