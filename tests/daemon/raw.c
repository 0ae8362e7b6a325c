/* raw.c - see raw.h */
#include "tests/daemon/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/segment.h"

int
raw_connect(const struct test_daemon *d)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/pyprepd.sock", d->runtime);
	if (n >= (int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int
raw_frame(struct raw *r, unsigned ms)
{
	uint64_t deadline = test_now_ms() + ms;
	const char *why = "";

	for (;;) {
		int result = frame_recv(r->fd, &r->in, &why);
		if (result == 0 && r->in.type == MSG_BELL)
			continue;
		uint64_t now = test_now_ms();
		if (result != -EAGAIN || now >= deadline)
			return result;
		poll(&(struct pollfd){ .fd = r->fd, .events = POLLIN }, 1, (int)(deadline - now));
	}
}

struct raw *
raw_open(const struct test_daemon *d)
{
	struct hello_body hello = { .version = PROTOCOL_VERSION, .flags = HELLO_LANE };
	struct raw *r = calloc(1, sizeof(*r));

	r->fd = raw_connect(d);
	if (r->fd < 0 || frame_send(r->fd, MSG_HELLO, &hello, NULL, 0, NULL, 0) < 0 ||
	    raw_frame(r, 20000) < 0 || r->in.type != MSG_WELCOME || r->in.fd_count != 1) {
		raw_close(r);
		return NULL;
	}
	struct welcome_body welcome;
	memcpy(&welcome, r->in.body, sizeof(welcome));
	struct stat st;
	r->size = lane_footprint(welcome.lane_bytes);
	r->charged = fstat(r->in.fds[0], &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
	if (segment_map(r->in.fds[0], r->size, &r->base) < 0 ||
	    lane_attach(&r->lane, r->base, welcome.lane_bytes, LANE_CLIENT) < 0)
		abort();
	frame_close_fds(&r->in);
	return r;
}

void
raw_close(struct raw *r)
{
	if (r == NULL)
		return;
	if (r->fd >= 0)
		close(r->fd);
	if (r->base != NULL)
		segment_unmap(r->base, r->size);
	free(r);
}

bool
raw_is_dropped(struct raw *r, unsigned ms)
{
	uint64_t deadline = test_now_ms() + ms;
	int result;

	do
		result = raw_frame(r, 50);
	while (result != -EPIPE && test_now_ms() < deadline);
	return result == -EPIPE;
}

static uint16_t
number_at(const msgpack_object *map, const char *key)
{
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
			return (uint16_t)kv->val.via.u64;
	}
	abort();
}

void
raw_resolve(struct raw *r, const char *kind, const char *pool, uint16_t *ret_kind,
	    uint16_t *ret_pool)
{
	const char *words[] = { "verb", "resolve", "kind", kind, "pool", pool };
	struct request_body body = { .number = ++r->number };
	msgpack_sbuffer map;
	msgpack_packer pk;
	msgpack_unpacked answer;
	size_t offset = 0;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 3);
	for (int i = 0; i < 6; i++)
		msgpack_pack_str_with_body(&pk, words[i], strlen(words[i]));
	if (frame_send(r->fd, MSG_REQUEST, &body, map.data, map.size, NULL, 0) < 0 ||
	    raw_frame(r, 20000) < 0 || r->in.type != MSG_REPLY)
		abort();
	msgpack_sbuffer_destroy(&map);
	msgpack_unpacked_init(&answer);
	if (msgpack_unpack_next(&answer, (const char *)r->in.tail, r->in.tail_length, &offset) !=
	    MSGPACK_UNPACK_SUCCESS)
		abort();
	*ret_kind = number_at(&answer.data, "kind");
	*ret_pool = number_at(&answer.data, "pool");
	msgpack_unpacked_destroy(&answer);
}

void
raw_bell(struct raw *r)
{
	struct empty_body empty = { 0 };

	if (wake_needed(&r->lane.shared->broker))
		(void)frame_send(r->fd, MSG_BELL, &empty, NULL, 0, NULL, 0);
}

int
raw_submit(struct raw *r, uint64_t tag, uint16_t kind, uint16_t pool, const void *params,
	   uint32_t length)
{
	return raw_submit_flags(r, tag, kind, pool, 0, 0, params, length);
}

int
raw_submit_flags(struct raw *r, uint64_t tag, uint16_t kind, uint16_t pool, uint16_t flags,
		 int64_t items, const void *tail, uint32_t length)
{
	struct submit_body *body =
		ring_reserve(&r->lane.out, MSG_SUBMIT, (uint32_t)sizeof(*body) + length);

	if (body == NULL)
		return -EAGAIN;
	*body = (struct submit_body){
		.tag = tag, .item_high = items, .kind = kind, .pool = pool, .flags = flags
	};
	memcpy(body + 1, tail, length);
	ring_commit(&r->lane.out, (uint32_t)sizeof(*body) + length);
	raw_bell(r);
	return 0;
}

/* What comes behind a receipt: its result, then its message. */
static void
keep_message(struct raw *r, const unsigned char *tail, const struct receipt *receipt)
{
	size_t length = receipt->outcome.message_length;

	if (length >= sizeof(r->message))
		length = sizeof(r->message) - 1;
	memcpy(r->message, tail + receipt->outcome.result_length, length);
	r->message[length] = '\0';
}

int
raw_receipt(struct raw *r, unsigned ms, struct receipt *ret)
{
	uint64_t deadline = test_now_ms() + ms;
	bool gone = false;

	for (;;) {
		const struct ring_record *record = ring_peek(&r->lane.in);
		if (record != NULL) {
			bool receipt = record->type == MSG_RECEIPT;
			if (receipt) {
				memcpy(ret, record->body, sizeof(*ret));
				keep_message(r, record->body + sizeof(*ret), ret);
			}
			ring_release(&r->lane.in, record);
			raw_bell(r); /* it may wait for room */
			if (receipt)
				return 1;
			continue;
		}
		if (gone)
			return -EPIPE;
		uint64_t now = test_now_ms();
		if (now >= deadline)
			return 0;
		wake_arm(&r->lane.shared->client);
		if (ring_is_empty(&r->lane.in))
			poll(&(struct pollfd){ .fd = r->fd, .events = POLLIN }, 1,
			     (int)(deadline - now));
		wake_disarm(&r->lane.shared->client);
		gone = raw_frame(r, 0) == -EPIPE;
	}
}
