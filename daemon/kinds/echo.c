/* echo.c - give back what came: the price of a payload both ways. */
#include "daemon/kind.h"

enum { BYTES };

#define BYTES_MOST 65400 /* what fits a submit on every lane, and a result */

static void
echo_run(struct call *call)
{
	uint32_t length;

	call_result_text(call, args_text(call->args, BYTES, &length));
}

const struct kind kind_echo = {
	.name = "echo",
	.class = KIND_CPU,
	.help = "give a text back: measures the way of a payload",
	.params = {
		[BYTES] = { .name = "bytes", .type = PARAM_TEXT, .low = 0, .high = BYTES_MOST,
			    .fallback = "", .help = "the text, in bytes" },
	},
	.run = echo_run,
};
