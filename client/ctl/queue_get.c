/*
 * queue_get.c - pyprepctl queue get: messages, a line each.
 *
 * A message is done (queue_task_done) when its line has left this process, so killed before
 * that it counts as lost, and whoever joins the queue is told.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/ctl/print_json.h"
#include "client/ctl/queue.h"
#include "client/ctl/report.h"

struct getting {
	const char *name;
	struct queue *q;
	char *message;
	uint64_t count, done;
};

static void
print_message(const struct getting *g, uint32_t length)
{
	if (ctl.json) {
		json_print_line(json_pack("{s:s, s:s, s:i, s:o}", "schema",
					  "pyprep.queue_message/1", "queue", g->name, "bytes",
					  (int)length, "message",
					  json_of_bytes(g->message, length)));
		return;
	}
	fwrite(g->message, 1, length, stdout);
	putchar('\n');
}

/* What was printed leaves, and is done. */
static void
hand_over(struct getting *g)
{
	if (g->done == g->count || fflush(stdout) != 0)
		return;
	for (; g->done < g->count; g->done++)
		(void)queue_task_done(g->q);
}

/* Lines are collected while messages are there at once. */
static int
get_one(struct getting *g, uint32_t *ret_length)
{
	uint32_t max = queue_message_max(g->q);

	int r = queue_get(g->q, g->message, max, ret_length, QUEUE_NO_WAIT);
	if (r == -EAGAIN && !queue_arguments.no_wait) {
		hand_over(g);
		r = queue_get(g->q, g->message, max, ret_length, queue_patience());
	}
	return r;
}

static int
get_fail(const struct getting *g, int r)
{
	if (queue_arguments.all && (r == -ENODATA || r == -EAGAIN))
		return 0;
	if (r == -EAGAIN)
		return ctl_fail(EXIT_TRY_LATER, "empty", "queue '%s' is empty", g->name);
	if (r == -ETIMEDOUT)
		return ctl_fail(EXIT_TIMED_OUT, "timed_out",
				"queue '%s' had no message within the timeout", g->name);
	return queue_fail(g->name, r);
}

static int
get_wanted(struct getting *g)
{
	uint64_t wanted = queue_arguments.count > 0 ? (uint64_t)queue_arguments.count
			  : queue_arguments.all     ? UINT64_MAX
						    : 1;
	uint32_t length;

	while (g->count < wanted && !output_broken()) {
		int r = get_one(g, &length);
		if (r < 0)
			return get_fail(g, r);
		print_message(g, length);
		g->count++;
	}
	return 0;
}

int
queue_verb_get(char **word, int count)
{
	struct getting g = { .name = word[0] };

	(void)count;
	if (queue_arguments.all && queue_arguments.count > 0)
		return ctl_fail(EXIT_USAGE, "usage", "give --count or --all, not both");
	int r = queue_open(g.name, &g.q);
	if (r < 0)
		return queue_fail(g.name, r);
	g.message = ctl_alloc(1, queue_message_max(g.q));
	int status = get_wanted(&g);
	hand_over(&g);
	free(g.message);
	queue_detach(g.q);
	return status;
}
