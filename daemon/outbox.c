/*
 * outbox.c - messages from the supervisor to the broker.
 *
 * The supervisor never waits for the broker (it may be stopped, or about to be
 * replaced): what its socket does not take is kept, in order, and sent when it does.  So is what
 * is told while orphans are held.  What cannot be kept would be missing for ever: such a broker is
 * replaced, and the next one is told all.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/supervisor.h"

static void
free_letter(struct letter *l)
{
	for (int i = 0; i < l->fd_count; i++)
		close(l->fds[i]);
	free(l);
}

/* A socket tells when it has room; want of memory passes untold. */
static void
go_on_later(struct supervisor *s, int why)
{
	struct timeval pause = { .tv_usec = 10000 };

	if (why != -EAGAIN || event_add(s->broker_writable, NULL) < 0)
		event_add(s->outbox_again, &pause);
}

static void
give_up(struct supervisor *s, struct letter *l, const char *why)
{
	log_error("cannot keep a message to the broker: %s; it is replaced", why);
	if (l != NULL)
		free_letter(l);
	kill(s->broker_pid, SIGKILL);
}

static void
keep(struct supervisor *s, int why, const struct letter *what, const void *body, const void *tail,
     const int *fds)
{
	struct letter *l = calloc(1, sizeof(*l) + what->length + what->tail_length);

	if (l == NULL) {
		give_up(s, l, strerror(ENOMEM));
		return;
	}
	*l = *what;
	l->fd_count = 0;
	memcpy(l->body, body, l->length);
	if (l->tail_length > 0)
		memcpy(l->body + l->length, tail, l->tail_length);
	for (int i = 0; i < what->fd_count; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (copy < 0) {
			give_up(s, l, strerror(errno));
			return;
		}
		l->fds[l->fd_count++] = copy;
	}
	if (why != -EAGAIN && STAILQ_EMPTY(&s->outbox))
		log_warn("cannot send %s to the broker: %s; trying again",
			 message_name(l->type), strerror(-why));
	STAILQ_INSERT_TAIL(&s->outbox, l, link);
	go_on_later(s, why);
}

static void
tell(struct supervisor *s, const struct letter *what, const void *body, const void *tail,
     const int *fds)
{
	if (s->broker_pid == 0 || s->broker_control < 0)
		return;
	int r = -EAGAIN;
	if ((STAILQ_EMPTY(&s->outbox) && !s->orphans_held) || what->type == MSG_BEAT)
		r = frame_send(s->broker_control, what->type, body, tail, what->tail_length, fds,
			       what->fd_count);
	/* -EPIPE: it is dying; its death is handled when it is reaped. */
	if (r < 0 && r != -EPIPE)
		keep(s, r, what, body, tail, fds);
}

void
tell_broker(struct supervisor *s, unsigned type, const void *body, size_t length, const int *fds,
	    int fd_count)
{
	struct letter what = { .type = type, .length = length, .fd_count = fd_count };

	tell(s, &what, body, NULL, fds);
}

void
tell_broker_more(struct supervisor *s, unsigned type, const void *body, size_t length,
		 const void *tail, size_t tail_length)
{
	struct letter what = { .type = type, .length = length, .tail_length = tail_length };

	tell(s, &what, body, tail, NULL);
}

void
outbox_flush(struct supervisor *s)
{
	struct letter *l;

	while (!s->orphans_held && (l = STAILQ_FIRST(&s->outbox)) != NULL) {
		int r = frame_send(s->broker_control, l->type, l->body, l->body + l->length,
				   l->tail_length, l->fds, l->fd_count);
		if (r < 0 && r != -EPIPE) {
			go_on_later(s, r);
			return;
		}
		STAILQ_REMOVE_HEAD(&s->outbox, link);
		free_letter(l);
	}
}

void
outbox_clear(struct supervisor *s)
{
	struct letter *l;

	while ((l = STAILQ_FIRST(&s->outbox)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->outbox, link);
		free_letter(l);
	}
}
