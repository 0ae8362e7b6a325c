/* tallies_cell.h - what tallies.c and tallies_store.c share and nobody else sees. */
#ifndef PYPREP_DAEMON_TALLIES_CELL_H
#define PYPREP_DAEMON_TALLIES_CELL_H

#include <event2/event.h>

#include "daemon/broker.h"
#include "daemon/tallies.h"

struct tally_cell {
	struct figures figures;
	uint64_t since_ns; /* `allowed` was brought up to date */
	uint32_t allowed;  /* jobs to be measured each, as of then */
	uint32_t place;    /* of the next one in its row of TALLY_SAMPLE */
	uint32_t chosen;   /* the one of that row that is measured */
	bool dirty;        /* the store has less than this */
};

/* What the store has of a day is read back before anything of it is written. */
enum tally_state { TALLY_UNREAD, TALLY_ASKED, TALLY_READ };

struct tally_day {
	uint32_t day; /* since 1970-01-01, UTC */
	enum tally_state state;
	struct tally_cell *cells[POOLS_MAX][KINDS_MAX];
};

struct tallies {
	struct tally_day *days[TALLY_DAYS]; /* the one that was counted last first */
	uint64_t today_ns;                  /* when days[0] began, CLOCK_REALTIME */
	uint32_t random;
	struct tally_cell *last;       /* of days[0]: where the last job was counted ... */
	uint16_t last_pool, last_kind; /* ... and the next one likely is */
	uint64_t under_way;            /* orders put and not answered */
	struct event *write;           /* when what is dirty is written */
	bool write_due;                /* it is armed */
};

void tallies_free(struct broker *b); /* as tallies_close(), with nothing put */
struct tally_day *tally_day_of(struct tallies *t, uint32_t day); /* NULL: not in memory */
struct tally_cell *tally_cell_of(struct tally_day *d, unsigned pool, unsigned kind);
bool tallies_names(const struct broker *b, const char *pool, const char *kind, unsigned *ret_pool,
		   unsigned *ret_kind);

/* tallies_store.c */
int tallies_open_store(struct broker *b);
void tallies_close_store(struct broker *b);
void tallies_write_soon(struct broker *b);
void tallies_put_day(struct broker *b, struct tally_day *d); /* what is dirty, if it may be */
/* It leaves memory: what is dirty is put, or lost, and that is said. */
void tallies_give_up_day(struct broker *b, struct tally_day *d);
void tallies_read_back(struct broker *b, struct tally_day *d);

#endif
