/* noop.c - a job that does nothing: what is left is the cost of getting there and back. */
#include "daemon/kind.h"

static void
noop_run(struct call *call)
{
	(void)call;
}

const struct kind kind_noop = {
	.name = "noop",
	.class = KIND_CPU,
	.help = "do nothing: measures the way of a job",
	.run = noop_run,
};
