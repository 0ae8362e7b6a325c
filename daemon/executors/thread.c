/*
 * thread.c - the thread executor: jobs on several threads of one worker.
 *
 * One thread at a time leads: it alone holds `take`, waits for requests and reads the
 * requests.  It copies a request out, lets the next thread lead, and runs it.  Results are
 * written one at a time under `publish`.  So each ring has one user at any moment, and
 * nobody hands a job from thread to thread.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config.h"
#include "daemon/executor.h"
#include "daemon/log.h"

struct crew {
	struct worker *w;
	pthread_mutex_t take;    /* link's request side; `stopping` */
	pthread_mutex_t publish; /* link's result side */
	bool stopping;
};

struct hand {
	struct crew *crew;
	pthread_t thread;
	struct run_body *request; /* copied out of the link; room for the longest */
};

/* Lead until there is a job for this thread.  false: the worker stops. */
static bool
take(struct crew *crew, struct run_body *request)
{
	struct link_worker *l = &crew->w->link;
	bool got = false;

	pthread_mutex_lock(&crew->take);
	while (!got && !crew->stopping) {
		const struct ring_record *record = link_next(l);
		if (record == NULL) {
			int r = link_wait_for(l, crew->w->control, run_patience_ms());
			if (r == 0)
				crew->stopping = true;
			if (r == -ETIMEDOUT)
				run_idle();
			continue;
		}
		/* MSG_STOP is not for us: a job here ends with its worker. */
		got = record->type == MSG_RUN;
		if (got)
			memcpy(request, record->body, record->length);
		link_release(l, record);
	}
	pthread_mutex_unlock(&crew->take);
	return got;
}

static void *
work(void *arg)
{
	struct hand *hand = arg;
	struct crew *crew = hand->crew;

	while (take(crew, hand->request))
		if (!run_one(crew->w, hand->request, hand->request + 1, &crew->publish)) {
			worker_wait_for_end(crew->w);
			break;
		}
	run_close();
	return NULL;
}

/* Threads take no signals: the worker's main thread does.  Those that a thread's own fault
 * raises stay open. */
static void
block_signals(sigset_t *before)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGFPE);
	sigdelset(&set, SIGILL);
	sigdelset(&set, SIGABRT);
	sigdelset(&set, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &set, before);
}

static bool
start(struct hand *hand, struct crew *crew)
{
	hand->crew = crew;
	hand->request = malloc(LINK_BODY_MAX);
	if (hand->request == NULL)
		return false;
	return pthread_create(&hand->thread, NULL, work, hand) == 0;
}

int
thread_run(struct worker *w)
{
	struct crew crew = { .w = w,
			     .take = PTHREAD_MUTEX_INITIALIZER,
			     .publish = PTHREAD_MUTEX_INITIALIZER };
	unsigned wanted = w->pool->concurrency;
	unsigned started = 0;
	struct hand *hands = calloc(wanted, sizeof(*hands));
	sigset_t before;

	block_signals(&before);
	while (hands != NULL && started < wanted && start(&hands[started], &crew))
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started < wanted)
		log_warn("only %u of %u threads could start; %s", started, wanted,
			 started > 0 ? "going on with these" : "the worker ends");
	if (started > 0)
		link_worker_ready(&w->link);
	/* After an order to stop each thread finishes its job. */
	for (unsigned i = 0; i < started; i++)
		pthread_join(hands[i].thread, NULL);
	for (unsigned i = 0; hands != NULL && i < wanted; i++)
		free(hands[i].request);
	free(hands);
	return started > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
