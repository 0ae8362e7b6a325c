/* exec.c - the kind that runs another program; the command executor does the work. */
#include "daemon/kind.h"

const struct kind kind_exec = {
	.name = "exec",
	.class = KIND_COMMAND,
	.help = "run a command, without a shell; keeps its output and its exit status",
	.params = {
		{ .name = "argv",
		  .type = PARAM_LIST,
		  .low = 1,
		  .high = 8192,
		  .help = "the command and its arguments" },
		{ .type = PARAM_END },
	},
};
