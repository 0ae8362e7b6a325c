/*
 * log_journal.c - lines as entries of systemd's journal, in its native protocol: one datagram to
 * its socket, FIELD=value on each line, or FIELD, a length and bytes where a value has a newline.
 *
 * Not by sd_journal_sendv(), for two reasons.  It sends on a blocking socket: a journal that is
 * stopped or busy lets its queue run full, and would stop the broker with it.  And it keeps that
 * socket in a static variable over forks, while our children close every descriptor they were not
 * given: the number would soon be somebody else's.  So each process has a socket of its own, from
 * its first line on, and what the journal does not take at once is lost and counted (log.c).
 */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log_record.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define ENTRY_MAX      8192u

static struct {
	int fd;
	pid_t pid; /* whose `fd` is; 0: nobody's */
	const char *path;
} journal = { .fd = -1, .path = JOURNAL_SOCKET };

void
log_journal_at(const char *path)
{
	journal.path = path != NULL ? path : JOURNAL_SOCKET;
}

static int
open_socket(pid_t pid)
{
	if (journal.pid == pid)
		return journal.fd;
	/* After a fork the number is no longer ours: not even to close. */
	journal.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	journal.pid = journal.fd >= 0 ? pid : 0;
	return journal.fd;
}

struct entry {
	unsigned char bytes[ENTRY_MAX];
	size_t length;
};

/* NAME=value; in the long form when there is a newline in it. */
static void
add(struct entry *e, const char *name, const char *value)
{
	size_t names = strlen(name), length = strlen(value);
	uint64_t le = htole64(length);
	bool plain = memchr(value, '\n', length) == NULL;

	if (e->length + names + length + sizeof(le) + 2 > ENTRY_MAX)
		return;
	memcpy(e->bytes + e->length, name, names);
	e->length += names;
	e->bytes[e->length++] = plain ? '=' : '\n';
	if (!plain) {
		memcpy(e->bytes + e->length, &le, sizeof(le));
		e->length += sizeof(le);
	}
	memcpy(e->bytes + e->length, value, length);
	e->length += length;
	e->bytes[e->length++] = '\n';
}

static void
add_number(struct entry *e, const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	add(e, name, text);
}

/* "pool" becomes PYPREP_POOL. */
static void
add_ours(struct entry *e, const char *word, const char *value)
{
	char name[32] = "PYPREP_";
	size_t used = strlen(name);

	for (; *word != '\0' && used + 1 < sizeof(name); word++)
		name[used++] = (char)toupper((unsigned char)*word);
	name[used] = '\0';
	add(e, name, value);
}

static void
add_fields(struct entry *e, const struct log_record *r)
{
	struct log_field fields[LOG_FIELDS_MAX];
	unsigned count = log_fields(r, fields);

	for (unsigned i = 0; i < count; i++)
		add_ours(e, fields[i].name, fields[i].text);
}

int
log_to_journal(const struct log_record *r)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct entry e;
	int fd = open_socket(r->pid);

	if (fd < 0)
		return -errno;
	e.length = 0;
	add(&e, "MESSAGE", r->message);
	add_number(&e, "PRIORITY", (int)r->level);
	add(&e, "SYSLOG_IDENTIFIER", "pyprepd");
	add_ours(&e, "role", r->role);
	if (r->event != LOG_PLAIN)
		add(&e, "MESSAGE_ID", log_event_id(r->event));
	add_fields(&e, r);
	if (r->file != NULL) {
		add(&e, "CODE_FILE", r->file);
		add_number(&e, "CODE_LINE", r->line);
		add(&e, "CODE_FUNC", r->function);
	}
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", journal.path);
	ssize_t n = sendto(fd, e.bytes, e.length, MSG_DONTWAIT | MSG_NOSIGNAL,
			   (struct sockaddr *)&to, sizeof(to));
	/* ENOBUFS: the kernel had no room for it, for a moment. */
	return n >= 0 ? 0 : errno == ENOBUFS ? -EAGAIN : -errno;
}
