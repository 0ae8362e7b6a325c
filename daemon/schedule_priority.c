/* schedule_priority.c - highest priority first; waiting counts, too (schedule.h). */
#include "daemon/schedule.h"

const struct strategy strategy_priority = {
	.name = "priority",
	.help = "highest priority first, first come first served within one; waiting raises it",
	.levels = true,
};
