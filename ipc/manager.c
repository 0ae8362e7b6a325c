/* manager.c - see manager.h */
#include "ipc/manager.h"

#include <errno.h>
#include <string.h>

#define ALIGNED(size) (((size) + 7u) & ~(size_t)7)

static const struct {
	const char *word;
	int exit_status;
} statuses[] = {
#define X(name, word, exit_status) [name] = { word, exit_status },
	MANAGER_STATUSES(X)
#undef X
};

const char *
manager_status_text(unsigned status)
{
	return status < MANAGER_STATUS_COUNT ? statuses[status].word : "unknown";
}

int
manager_status_exit(unsigned status)
{
	return status < MANAGER_STATUS_COUNT ? statuses[status].exit_status : 125;
}

bool
manager_op_is_numbered(unsigned op)
{
	static const bool is_numbered[] = {
#define X(name, value, numbered) [value] = (numbered),
		MANAGER_OPS(X)
#undef X
	};
	return op < sizeof(is_numbered) / sizeof(is_numbered[0]) && is_numbered[op];
}

/* ---- reading ---- */

int
manager_read(struct manager_reader *r, const void *bytes, size_t size, struct manager_head *ret)
{
	if (size < sizeof(*ret) || size > MANAGER_MESSAGE_MAX)
		return -EPROTO;
	memcpy(ret, bytes, sizeof(*ret));
	if (ret->magic != MANAGER_MAGIC || ret->version != MANAGER_VERSION || ret->token == 0)
		return -EPROTO;
	r->at = (const unsigned char *)bytes + sizeof(*ret);
	r->end = (const unsigned char *)bytes + size;
	r->left = ret->count;
	return 0;
}

/* The fixed part of the next, which begins with its size: 1, 0 at the end, -EPROTO. */
static int
read_fixed(struct manager_reader *r, void *ret, size_t fixed, uint16_t *ret_size)
{
	size_t there = (size_t)(r->end - r->at);

	if (r->left == 0)
		return there == 0 ? 0 : -EPROTO;
	if (there < fixed)
		return -EPROTO;
	memcpy(ret, r->at, fixed);
	memcpy(ret_size, r->at, sizeof(*ret_size));
	if (*ret_size < fixed || *ret_size % 8 != 0 || *ret_size > there)
		return -EPROTO;
	return 1;
}

int
manager_read_ask(struct manager_reader *r, struct manager_ask *ret, char *ret_name)
{
	struct manager_ask ask;
	uint16_t size = 0;
	int n = read_fixed(r, &ask, sizeof(ask), &size);

	if (n <= 0)
		return n;
	if (ask.name_length > MANAGER_NAME_MAX || size != ALIGNED(sizeof(ask) + ask.name_length))
		return -EPROTO;
	memcpy(ret_name, r->at + sizeof(ask), ask.name_length);
	ret_name[ask.name_length] = '\0';
	*ret = ask;
	r->at += size;
	r->left--;
	return 1;
}

int
manager_read_answer(struct manager_reader *r, struct manager_answer *ret,
		    const unsigned char **ret_entries)
{
	struct manager_answer answer;
	uint16_t size = 0;
	int n = read_fixed(r, &answer, sizeof(answer), &size);

	if (n <= 0)
		return n;
	if (answer.entries > MANAGER_ENTRIES_MAX ||
	    size != sizeof(answer) + answer.entries * sizeof(struct manager_entry))
		return -EPROTO;
	*ret_entries = r->at + sizeof(answer);
	*ret = answer;
	r->at += size;
	r->left--;
	return 1;
}

int
manager_check_asks(const void *bytes, size_t size, const char **why)
{
	struct manager_reader reader;
	struct manager_head head;
	struct manager_ask ask;
	char name[MANAGER_NAME_MAX + 1];
	int n = manager_read(&reader, bytes, size, &head);

	if (n < 0) {
		*why = "it does not begin with a head of PYM1, version 1";
		return n;
	}
	while ((n = manager_read_ask(&reader, &ask, name)) == 1)
		;
	if (n < 0)
		*why = "its requests do not hold together";
	return n;
}

/* ---- writing ---- */

void
manager_write(struct manager_writer *w, void *buffer, size_t room, uint64_t token, uint64_t owner)
{
	struct manager_head head = {
		.magic = MANAGER_MAGIC,
		.version = MANAGER_VERSION,
		.token = token,
		.owner = owner,
	};

	*w = (struct manager_writer){ .bytes = buffer, .room = room, .used = sizeof(head) };
	memcpy(buffer, &head, sizeof(head));
}

/* A part was put behind the others: count it. */
static void
written(struct manager_writer *w, size_t size)
{
	uint16_t count = (uint16_t)++w->count;

	w->used += size;
	memcpy(w->bytes + offsetof(struct manager_head, count), &count, sizeof(count));
}

int
manager_write_ask(struct manager_writer *w, const struct manager_ask *ask, const char *name)
{
	struct manager_ask a = *ask;
	size_t length = strnlen(name, MANAGER_NAME_MAX + 1);

	if (length > MANAGER_NAME_MAX)
		return -EINVAL;
	a.name_length = (uint8_t)length;
	a.size = (uint16_t)ALIGNED(sizeof(a) + length);
	if (w->used + a.size > w->room || w->count == UINT16_MAX)
		return -ENOSPC;
	memset(w->bytes + w->used, 0, a.size);
	memcpy(w->bytes + w->used, &a, sizeof(a));
	memcpy(w->bytes + w->used + sizeof(a), name, length);
	written(w, a.size);
	return 0;
}

int
manager_write_answer(struct manager_writer *w, const struct manager_answer *answer,
		     const struct manager_entry *entries)
{
	struct manager_answer a = *answer;
	size_t tail = a.entries * sizeof(*entries);

	if (a.entries > MANAGER_ENTRIES_MAX)
		return -EINVAL;
	a.size = (uint16_t)(sizeof(a) + tail);
	if (w->used + a.size > w->room || w->count == UINT16_MAX)
		return -ENOSPC;
	memcpy(w->bytes + w->used, &a, sizeof(a));
	if (tail > 0)
		memcpy(w->bytes + w->used + sizeof(a), entries, tail);
	written(w, a.size);
	return 0;
}
