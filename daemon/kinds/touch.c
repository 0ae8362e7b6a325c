/*
 * touch.c - use a given amount of memory, for a moment: every page is written once, then all
 * goes back to the kernel.  Shows what peak memory in a receipt means.
 */
#include "daemon/kind.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES };

static void
touch_run(struct call *call)
{
	size_t bytes = (size_t)args_int(call->args, BYTES);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (bytes > 0) {
		/* Not malloc(), which may keep what is freed. */
		unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory == MAP_FAILED) {
			call_no_memory(call, "no %zu bytes of memory: %s", bytes, strerror(errno));
			return;
		}
		for (size_t at = 0; at < bytes; at += page)
			*(volatile unsigned char *)&memory[at] = 1;
		munmap(memory, bytes);
	}
	call_result_int(call, (int64_t)bytes);
}

const struct kind kind_touch = {
	.name = "touch",
	.class = KIND_CPU,
	.help = "write every page of so much memory, and give it back",
	.params = {
		[BYTES] = { .name = "bytes", .type = PARAM_INT, .low = 0, .high = 1ll << 40,
			    .fallback = "67108864", .help = "how much memory" },
	},
	.run = touch_run,
};
