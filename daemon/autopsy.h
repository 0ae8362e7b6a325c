/*
 * autopsy.h - what is known of a worker's death: in words, for the receipts of the jobs that it had
 * started, and as a map for the store (pyprep-store(5), attempt.autopsy).
 */
#ifndef PYPREP_DAEMON_AUTOPSY_H
#define PYPREP_DAEMON_AUTOPSY_H

#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/message.h"

#define AUTOPSY_JOBS 8u /* named; of more, how many */
#define AUTOPSY_TEXT 400u

struct autopsy {
	struct worker_down_body down;
	uint32_t count;              /* jobs that it had started, and not ended ... */
	uint64_t jobs[AUTOPSY_JOBS]; /* ... their ids, the first ones */
};

/* One more that died with it. */
void autopsy_add(struct autopsy *a, uint64_t id);

/* As the job `id` is told: "worker 0 (pid 4711) was killed by signal 11 (Segmentation fault);
 * ...". */
void autopsy_text(const struct autopsy *a, uint64_t id, char *buffer, size_t size);

/* The same as a msgpack map, at the end of `ret`. */
void autopsy_pack(const struct autopsy *a, uint64_t id, msgpack_sbuffer *ret);

#endif
