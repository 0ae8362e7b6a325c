/* durable_load.h - what durable.c and durable_load.c share and nobody else sees. */
#ifndef PYPREP_DAEMON_DURABLE_LOAD_H
#define PYPREP_DAEMON_DURABLE_LOAD_H

#include "daemon/durable.h"
#include "daemon/writer.h"

struct durable {
	struct writer *writer;
	struct event *look;                /* while something waits for the store */
	STAILQ_HEAD(, order) again;        /* to be written when the store can be */
	uint64_t under_way;                /* orders put and not answered */
	uint32_t parked_head, parked_tail; /* jobs that wait for the store, by prev and next */
	/* history (durable_history.c) */
	struct event *save;
	bool save_armed;
	uint64_t history_put; /* entries put, counted as history_added() counts */
	uint64_t history_way; /* of them not answered */
	bool history_failed;
	/* loading */
	bool settled;    /* the supervisor has told of every worker */
	bool loaded;     /* all that was open at the start is in the table */
	bool load_waits; /* for room in the table, to go on after load_after_id */
	uint64_t load_after_id;
	uint64_t load_from_ns;               /* when it began */
	/* What the background must not take again, though a row that was read a moment ago calls it
	 * open: jobs from this id on came to this broker, and `taken` were loaded by themselves. */
	uint64_t first_new_id;
	uint64_t *taken;
	size_t taken_count, taken_room;
	uint64_t recovered, stranded;        /* jobs; of kinds or pools that are not there */
	struct shared_context *last_context; /* of the last row: the next one often has the same */
};

void durable_on_history(evutil_socket_t fd, short what, void *context);
/* The claimed jobs at once, the others in the background. */
int durable_load_begin(struct broker *b);
/* Job `id` is open again in the store: into the table. */
void durable_reload(struct broker *b, uint64_t id);
/* It waits for the store no longer: to the gate, or cancelled meanwhile. */
void durable_go_on(struct broker *b, uint32_t index);
/* Out of the list of those that wait for the store. */
void durable_unpark(struct broker *b, uint32_t index);

#endif
