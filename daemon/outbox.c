/*
 * outbox.c - messages from the supervisor to the broker.
 *
 * The supervisor never waits for the broker (it may be stopped, or about to be
 * replaced): what its socket does not take is kept, in order, and sent when it does.  So is what
 * is told while orphans are held.
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

static void
keep(struct supervisor *s, unsigned type, const void *body, size_t length, const int *fds,
     int fd_count)
{
	struct letter *l = calloc(1, sizeof(*l));

	if (l == NULL || length > sizeof(l->body)) {
		log_error("out of memory for a message to the broker; it will be replaced");
		free(l);
		kill(s->broker_pid, SIGKILL);
		return;
	}
	l->type = type;
	l->length = length;
	memcpy(l->body, body, length);
	for (int i = 0; i < fd_count; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (copy >= 0)
			l->fds[l->fd_count++] = copy;
	}
	STAILQ_INSERT_TAIL(&s->outbox, l, link);
	event_add(s->broker_writable, NULL);
}

void
tell_broker(struct supervisor *s, unsigned type, const void *body, size_t length, const int *fds,
	    int fd_count)
{
	if (s->broker_pid == 0 || s->broker_control < 0)
		return;
	int r = -EAGAIN;
	if ((STAILQ_EMPTY(&s->outbox) && !s->orphans_held) || type == MSG_BEAT)
		r = frame_send(s->broker_control, type, body, NULL, 0, fds, fd_count);
	if (r == -EAGAIN)
		keep(s, type, body, length, fds, fd_count);
	/* -EPIPE: it is dying; its death is handled when it is reaped. */
}

void
outbox_flush(struct supervisor *s)
{
	struct letter *l;

	while (!s->orphans_held && (l = STAILQ_FIRST(&s->outbox)) != NULL) {
		int r = frame_send(s->broker_control, l->type, l->body, NULL, 0, l->fds,
				   l->fd_count);
		if (r == -EAGAIN) {
			event_add(s->broker_writable, NULL);
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
