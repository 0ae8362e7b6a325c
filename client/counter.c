/* counter.c - the atomic way to the daemon's counters: its table, mapped here. */
#include "shm/counter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "ipc/clock.h"
#include "shm/segment.h"

#define MAKER_WAIT_NS NS_PER_S

struct pyprep_counters {
	struct counter_table *table;
};

/* ---- attaching ---- */

static int
attach_problem(const struct frame_in *in, const struct attached_body *body,
	       struct pyprep_problem *why)
{
	return problem_set(why, -EPROTO, job_error_text(body->error), job_error_exit(body->error),
			   "%.*s", (int)in->tail_length, (const char *)in->tail);
}

static int
map_table(struct pyprep *p, struct pyprep_counters *c, struct pyprep_problem *why)
{
	struct attached_body body;
	void *base = NULL;

	memcpy(&body, p->in.body, sizeof(body));
	if (body.error != ERR_NONE)
		return attach_problem(&p->in, &body, why);
	if (p->in.fd_count < 1 || body.bytes != sizeof(struct counter_table))
		return version_problem(why, "its table of counters is another");
	int r = segment_map(p->in.fds[0], sizeof(struct counter_table), &base);
	if (r < 0)
		return problem_set(why, r, "internal", 125,
				   "cannot map the daemon's table of counters: %s", strerror(-r));
	c->table = base;
	return counter_table_check(c->table) < 0
		       ? version_problem(why, "its table of counters is another")
		       : 0;
}

int
pyprep_counters_attach(struct pyprep *p, struct pyprep_counters **ret, struct pyprep_problem *why)
{
	struct pyprep_counters *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return problem_memory(why);
	int r = request_attach(p, ATTACH_COUNTERS, why);
	if (r == 0) {
		r = map_table(p, c, why);
		frame_close_fds(&p->in);
	}
	if (r < 0) {
		pyprep_counters_detach(c);
		return r;
	}
	*ret = c;
	return 0;
}

void
pyprep_counters_detach(struct pyprep_counters *c)
{
	if (c == NULL)
		return;
	segment_unmap(c->table, sizeof(*c->table));
	free(c);
}

/* ---- the table ---- */

static int
table_problem(int r, const char *name, struct pyprep_problem *why)
{
	switch (r) {
	case -ENOENT:
		return problem_set(why, r, "no_such_counter", 3,
				   "there is no counter '%s'; 'pyprepctl counter ls' lists all",
				   name);
	case -EINVAL:
		return problem_set(why, r, "bad_request", 2,
				   "'%.80s' is no name: expected 1 to 63 letters, digits and "
				   ". _ - : / , not beginning with a dash",
				   name);
	case -ENOSPC:
		return problem_set(why, r, "no_room", 75,
				   "no room for '%s': there are %u counters; remove some", name,
				   COUNTERS_MAX);
	default:
		return problem_set(why, r, "busy", 75,
				   "cannot make or remove '%s' now: another process is at it and "
				   "does not end; try again",
				   name);
	}
}

int
pyprep_counter_open(struct pyprep_counters *c, const char *name, int make,
		    struct pyprep_counter *ret, struct pyprep_problem *why)
{
	struct counter found;
	int r = -EINVAL;

	if (counter_name_is_valid(name))
		r = make ? counter_open(c->table, name, MAKER_WAIT_NS, &found)
			 : counter_find(c->table, name, &found);
	if (r < 0)
		return table_problem(r, name, why);
	*ret = (struct pyprep_counter){
		.value = (int64_t *)&found.slot->value,
		.generation_now = (const uint32_t *)&found.slot->generation,
		.generation = found.generation,
	};
	return 0;
}

int
pyprep_counter_remove(struct pyprep_counters *c, const char *name, struct pyprep_problem *why)
{
	int r = counter_remove(c->table, name, MAKER_WAIT_NS);

	return r < 0 ? table_problem(r, name, why) : 0;
}

int
pyprep_counter_each(struct pyprep_counters *c, pyprep_counter_fn each, void *context)
{
	char name[COUNTER_NAME_MAX + 1];
	int64_t value;
	int r = 0;

	for (uint32_t i = 0; i < COUNTERS_MAX && r == 0; i++)
		if (counter_at(c->table, i, name, &value) == 0)
			r = each(context, name, value);
	return r;
}
