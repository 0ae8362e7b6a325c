/*
 * link_fixture.h - a link of the way under test (tests/link.h), its broker's side attached
 * here; the worker's side here too when a test asks for it, or in a child.
 */
#ifndef PYPREP_TESTS_IPC_LINK_FIXTURE_H
#define PYPREP_TESTS_IPC_LINK_FIXTURE_H

#include "ipc/link.h"

#define PATIENCE_MS 120000

extern struct link_broker broker;
extern struct link_worker worker;
extern struct board *board;

void fixture_begin(void);
/* The same without the broker: who forks a child does it before attaching, for ZeroMQ has threads,
 * and what they hold at a fork (a sanitizer's locks) stays held in the child. */
void fixture_begin_apart(void);
void fixture_end(void);
void fixture_renew(void); /* another link in place of this one */

/* Attach with copies of the descriptors, as they come by a message.  false: it failed. */
bool attach_broker(struct link_broker *l);
bool attach_worker(struct link_worker *l);

/* May what was published die with its publisher? */
bool link_loses(void);

/* Send job `id`; its ticket's index or -errno. */
int send_job(uint64_t id);
/* The same when there may be no room yet: abandons the test after PATIENCE_MS. */
int send_job_soon(uint64_t id);

/* The next request; abandons the test after PATIENCE_MS. */
const struct ring_record *next_request(struct link_worker *w);

static inline const struct run_body *
run_of(const struct ring_record *record)
{
	return (const void *)record->body;
}

/* Publish a result that carries the job's id. */
void finish(struct link_worker *w, const struct ring_record *record);

/* Read one result, free its ticket; the job's id, 0 when there is none. */
uint64_t take_result(void);
/* Wait for one. */
uint64_t next_result(void);

#endif
