/* schedule_fifo.c - first come, first served: priorities do not count. */
#include "daemon/schedule.h"

const struct strategy strategy_fifo = {
	.name = "fifo",
	.help = "first come, first served",
};
