/* ledger.c - see ledger.h */
#include "daemon/ledger.h"

#include <stdio.h>
#include <string.h>

#define LEDGER_MAGIC 0x314b41454c505950ull /* "PYPLEAK1" */
#define OTHERS       "(others)"
#define SEVERAL      "(several)"

struct ledger_book {
	uint64_t magic;
	uint32_t bytes; /* of this struct */
	uint32_t reserved;
	uint64_t added; /* jobs ever */
	struct ledger_sum sums[LEDGER_KINDS];
	struct ledger_job jobs[LEDGER_JOBS];
};

int
ledger_open(struct ledger *l, const char *state_dir, const char **why)
{
	int r = state_file_open(&l->file, state_dir, "leaks", sizeof(struct ledger_book), why);

	l->book = l->file.base;
	if (l->book != NULL && (l->book->magic != LEDGER_MAGIC ||
				l->book->bytes != (uint32_t)sizeof(struct ledger_book))) {
		memset(l->book, 0, sizeof(*l->book));
		l->book->bytes = (uint32_t)sizeof(struct ledger_book);
		l->book->magic = LEDGER_MAGIC;
	}
	return r;
}

void
ledger_close(struct ledger *l)
{
	state_file_close(&l->file);
	l->book = NULL;
}

/* Its place, made when there is none yet; the last one is everybody's who finds none. */
static struct ledger_sum *
sum_of(struct ledger *l, const char *kind)
{
	struct ledger_sum *s = l->book->sums;

	for (unsigned i = 0; i < LEDGER_KINDS - 1; i++, s++) {
		if (strncmp(s->kind, kind, LEDGER_NAME) == 0)
			return s;
		if (s->kind[0] == '\0') {
			snprintf(s->kind, sizeof(s->kind), "%s", kind);
			return s;
		}
	}
	snprintf(s->kind, sizeof(s->kind), OTHERS);
	return s;
}

void
ledger_add(struct ledger *l, const char *kind, uint64_t id, uint32_t uid,
	   const struct left_body *left, uint64_t wall_ns)
{
	if (l->book == NULL)
		return;
	const char *name = kind != NULL ? kind : SEVERAL;
	struct ledger_sum *s = sum_of(l, name);
	s->jobs++;
	s->descriptors += left->descriptors;
	s->segments += left->segments;
	s->processes += left->processes;
	s->files += left->files;
	s->bytes += left->bytes;
	s->last_wall_ns = wall_ns;
	struct ledger_job *j = &l->book->jobs[l->book->added % LEDGER_JOBS];
	*j = (struct ledger_job){
		.id = id,
		.uid = uid,
		.flags = left->flags,
		.descriptors = left->descriptors,
		.segments = left->segments,
		.processes = left->processes,
		.files = left->files,
		.bytes = left->bytes,
		.wall_ns = wall_ns,
	};
	snprintf(j->kind, sizeof(j->kind), "%s", name);
	l->book->added++; /* last: killed before it, the place is written again */
}

void
ledger_grew(struct ledger *l, const char *kind, int64_t bytes)
{
	if (l->book == NULL)
		return;
	struct ledger_sum *s = sum_of(l, kind);
	s->measured++;
	s->growth += bytes;
}

const struct ledger_sum *
ledger_sum(const struct ledger *l, unsigned n)
{
	if (l->book == NULL || n >= LEDGER_KINDS)
		return NULL;
	return l->book->sums[n].kind[0] != '\0' ? &l->book->sums[n] : NULL;
}

const struct ledger_job *
ledger_newest(const struct ledger *l, uint64_t back)
{
	if (l->book == NULL || back >= l->book->added || back >= LEDGER_JOBS)
		return NULL;
	return &l->book->jobs[(l->book->added - 1 - back) % LEDGER_JOBS];
}
