/* table.c - the executors, one row each; see executor.h */
#include <string.h>

#include "daemon/executor.h"

#define CPU     (1u << KIND_CPU)
#define IO      (1u << KIND_IO)
#define COMMAND (1u << KIND_COMMAND)

const struct executor executors[] = {
	{
		.name = "process",
		.help = "a worker runs one job at a time; its death is charged to that job alone",
		.classes = CPU | IO,
		.workers = 0,
		.concurrency = 1,
		.concurrency_max = 1,
		.one_cpu = true,
		.run = process_run,
	},
	{
		.name = "thread",
		.help = "a worker runs a job on each of its threads; its death is charged to all "
			"jobs that had started there",
		.classes = CPU | IO,
		.workers = 1,
		.concurrency = 0,
		.concurrency_max = 256,
		.shares_fate = true,
		.run = thread_run,
	},
	{
		.name = "event",
		.help = "a worker runs I/O jobs by the thousand in one event loop; its death is "
			"charged to all jobs that had started there",
		.classes = IO,
		.workers = 1,
		.concurrency = 1024,
		.concurrency_max = 2000,
		.shares_fate = true,
		.stops_alone = true,
		.run = event_run,
	},
	{
		.name = "command",
		.help = "a worker starts programs, one at a time, and ends the whole tree of one "
			"that must stop",
		.classes = COMMAND,
		.workers = 0,
		.concurrency = 1,
		.concurrency_max = 1,
		.one_cpu = true,
		.stops_alone = true,
		.run = command_run,
	},
};

const unsigned executor_count = sizeof(executors) / sizeof(executors[0]);

const struct executor *
executor_by_name(const char *name)
{
	for (unsigned i = 0; i < executor_count; i++)
		if (strcmp(executors[i].name, name) == 0)
			return &executors[i];
	return NULL;
}
