/*
 * fuzz_lane.c - a client that writes what it likes: into its shared segment while the broker
 * works on it, and onto its control socket.  The broker is the real one (clients, admit,
 * requests, jobs), without workers: jobs stay queued.
 *
 * The input is a list of steps, an operation byte and its operands each.  After every input a
 * second, honest client submits a job that must be answered: whatever the first one did was its
 * own loss alone.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/broker.h"
#include "daemon/cache.h"
#include "daemon/durable.h"
#include "daemon/gate.h"
#include "daemon/log.h"
#include "daemon/tallies.h"
#include "ipc/clock.h"
#include "shm/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SESSION 512 /* inputs after which the client begins anew, whatever it did */

struct peer { /* our end of one connection */
	int fd;
	void *base;
	struct lane lane; /* the client's view */
	uint32_t index;   /* the broker's number for it */
};

static struct broker *broker;
static struct sockaddr_un address;
static socklen_t address_length;
static struct peer hostile = { .fd = -1 }, honest = { .fd = -1 };
static int supervisor; /* the other end of the broker's control socket */
static unsigned inputs;

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
broker_turn(void)
{
	broker->now_ns = clock_now();
	event_base_loop(broker->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	dispatch_results(broker);
	durable_take(broker);
	clients_poll(broker);
	if (broker->gate_due)
		gate_turn(broker);
	cache_turn(broker);
	dispatch_jobs(broker);
	clients_flush(broker);
}

static void
nothing(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what, (void)context;
}

/* Jobs lie in mapped memory, where nobody who looks for leaks sees what they point to. */
static void
forget_jobs(void)
{
	jobs_done(&broker->jobs);
}

static int
listen_somewhere(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	address.sun_family = AF_UNIX;
	must(bind(fd, (void *)&address, sizeof(sa_family_t)) == 0); /* the kernel finds a name */
	address_length = sizeof(address);
	must(getsockname(fd, (void *)&address, &address_length) == 0);
	must(listen(fd, 16) == 0);
	return fd;
}

static void
start_broker(void)
{
	static struct broker the_broker;
	static struct config config;
	static struct birth birth;
	static struct board board;
	struct store_problem problem;
	const char *why;
	int control[2];

	log_open("fuzz", LOG_LEVEL_ERROR);
	config_default(&config);
	config.store = &store_memory;
	config.store_keep_ns = 1;
	config.max_clients = 8;
	config.max_jobs = 64;
	config.max_job_bytes = 256 * 1024;
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, control) == 0);
	supervisor = control[1];
	birth = (struct birth){ .config = &config, .board = &board, .control = control[0] };
	birth.broker_bell = bell_create();
	birth.listener = listen_somewhere();
	birth.state_dir = "/nonexistent"; /* history in memory */
	broker = &the_broker;
	broker->birth = &birth;
	broker->config = &config;
	broker->board = &board;
	board.next_id = 1;
	broker->base = event_base_new();
	broker->look_again = evtimer_new(broker->base, nothing, NULL);
	deadline_open(broker);
	LIST_INIT(&broker->watchers);
	STAILQ_INIT(&broker->later);
	TAILQ_INIT(&broker->busy);
	broker->pool_count = config.pool_count;
	for (unsigned i = 0; i < config.pool_count; i++) {
		broker->pools[i].config = &config.pools[i];
		broker->pools[i].index = i;
		broker->pools[i].wanted = config.pools[i].workers;
		must(pool_queue_open(&broker->pools[i]) == 0);
		broker->pools[i].alone_head = broker->pools[i].alone_tail = JOB_NONE;
	}
	must(jobs_init(&broker->jobs, config.max_jobs, config.max_job_bytes) == 0);
	must(gate_open(broker) == 0);
	must(cache_open(broker) == 0);
	must(clients_open(broker) == 0);
	history_open(&broker->history, birth.state_dir, &why);
	must(durable_open(broker, &problem) == 0);
	must(tallies_open(broker) == 0);
	must(clients_listen(broker) == 0);
	must(atexit(forget_jobs) == 0);
}

static void
hang_up(struct peer *p)
{
	if (p->fd < 0)
		return;
	close(p->fd);
	segment_unmap(p->base, lane_footprint(LANE_BYTES_MIN));
	p->fd = -1;
	broker_turn();
	broker_turn();
}

static void
dial(struct peer *p)
{
	static struct frame_in in;
	struct hello_body hello = { .version = PROTOCOL_VERSION, .flags = HELLO_LANE };
	const char *why;

	p->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(connect(p->fd, (void *)&address, address_length) == 0);
	must(frame_send(p->fd, MSG_HELLO, &hello, NULL, 0, NULL, 0) == 0);
	broker_turn();
	broker_turn();
	must(frame_recv(p->fd, &in, &why) == 0 && in.type == MSG_WELCOME && in.fd_count == 1);
	const struct welcome_body *welcome = in.body;
	must(welcome->lane_bytes == LANE_BYTES_MIN);
	p->index = welcome->client;
	must(segment_map(in.fds[0], lane_footprint(LANE_BYTES_MIN), &p->base) == 0);
	frame_close_fds(&in);
	must(lane_attach(&p->lane, p->base, LANE_BYTES_MIN, LANE_CLIENT) == 0);
}

/* ---- the hostile client ---- */

struct input {
	const uint8_t *at, *end;
};

static uint64_t
take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		value |= (uint64_t)*in->at++ << 8 * i;
	return value;
}

/* At most `max` bytes from the input; their number. */
static size_t
take_bytes(struct input *in, size_t max, const uint8_t **ret)
{
	size_t left = (size_t)(in->end - in->at);
	size_t n = (size_t)take(in, 1);
	n = n < max ? n : max;
	left = (size_t)(in->end - in->at);
	n = n < left ? n : left;
	*ret = in->at;
	in->at += n;
	return n;
}

static void
scribble(struct input *in)
{
	/* Near the rings' heads, where it hurts, or anywhere. */
	size_t size = lane_footprint(LANE_BYTES_MIN);
	uint64_t where = take(in, 3);
	size_t offset = where & 1 ? where % size : (where >> 1) % 2048;
	const uint8_t *bytes;
	size_t n = take_bytes(in, size - offset, &bytes);
	memcpy((char *)hostile.base + offset, bytes, n);
}

static void
put_record(struct input *in, unsigned type)
{
	struct submit_body body = {
		.tag = take(in, 1),
		.kind = (uint16_t)take(in, 1),
		.pool = (uint16_t)take(in, 1),
		.priority = (int16_t)(int8_t)take(in, 1),
		.flags = (uint16_t)take(in, 1),
		.timeout_ns = take(in, 1) << 30,
	};
	if (body.flags & 0x80) {
		body.item_low = (int64_t)take(in, 8);
		body.item_high = (int64_t)take(in, 8);
	}
	const uint8_t *tail;
	size_t n = take_bytes(in, 255, &tail);
	unsigned char *place = ring_reserve(&hostile.lane.out, type, sizeof(body) + (uint32_t)n);
	if (place == NULL)
		return;
	memcpy(place, &body, sizeof(body));
	memcpy(place + sizeof(body), tail, n);
	ring_commit(&hostile.lane.out, sizeof(body) + (uint32_t)n);
}

/* A record whose header is the input's, published. */
static void
put_header(struct input *in)
{
	uint32_t header[4] = { (uint32_t)take(in, 3), (uint32_t)take(in, 1), (uint32_t)take(in, 3),
			       0 };
	uint64_t at = hostile.lane.out.mine & (LANE_BYTES_MIN - 1);
	memcpy(hostile.lane.out.shared->data + at, header, sizeof(header));
	hostile.lane.out.shared->tail = hostile.lane.out.mine + take(in, 3);
}

static void
send_frame(struct input *in, bool honest_header)
{
	const uint8_t *bytes;
	if (!honest_header) {
		size_t n = take_bytes(in, 255, &bytes);
		(void)send(hostile.fd, bytes, n, MSG_NOSIGNAL);
		return;
	}
	unsigned type = (unsigned)take(in, 1) % 64;
	static const unsigned char body[512];
	if (message_name(type) == NULL)
		type = MSG_REQUEST;
	size_t n = take_bytes(in, 255, &bytes);
	(void)frame_send(hostile.fd, type, body, bytes, n, NULL, 0);
}

static void
step(struct input *in)
{
	switch (take(in, 1) % 12) {
	case 0:
	case 1:
		scribble(in);
		break;
	case 2:
		hostile.lane.out.shared->tail = take(in, 8);
		break;
	case 3: /* the return ring: pretend to have read */
		hostile.lane.in.shared->head = take(in, 8);
		break;
	case 4:
	case 5:
	case 6:
		put_record(in, MSG_SUBMIT);
		break;
	case 7:
		put_record(in, (unsigned)take(in, 1));
		break;
	case 8:
		put_header(in);
		break;
	case 9:
		send_frame(in, true);
		break;
	case 10:
		send_frame(in, false);
		break;
	case 11:
		broker_turn();
		break;
	}
	/* What activates a lane, as an honest client would after writing. */
	struct empty_body empty = { 0 };
	(void)frame_send(hostile.fd, MSG_BELL, &empty, NULL, 0, NULL, 0);
}

/* ---- the honest one ---- */

static void
honest_job(uint64_t tag)
{
	struct submit_body body = { .tag = tag, .kind = UINT16_MAX };
	struct empty_body empty = { 0 };
	struct receipt receipt;
	struct submit_body *place = ring_reserve(&honest.lane.out, MSG_SUBMIT, sizeof(body));
	must(place != NULL);
	*place = body;
	ring_commit(&honest.lane.out, sizeof(body));
	if (wake_needed(&honest.lane.shared->broker))
		must(frame_send(honest.fd, MSG_BELL, &empty, NULL, 0, NULL, 0) == 0);
	broker_turn();
	const struct ring_record *record = ring_peek(&honest.lane.in);
	must(record != NULL && record->type == MSG_RECEIPT && record->length >= sizeof(receipt));
	memcpy(&receipt, record->body, sizeof(receipt));
	must(receipt.tag == tag && receipt.outcome.state == JOB_REFUSED);
	ring_release(&honest.lane.in, record);
}

static void
drain_socket(int fd)
{
	static char bytes[FRAME_MAX];
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* Detached jobs outlive who submitted them, and nobody runs them here. */
static void
end_detached(void)
{
	for (uint32_t i = 0; (i = jobs_next(&broker->jobs, i)) != JOB_NONE; i++)
		job_stop(broker, i, CAUSE_CANCELLED);
	for (int i = 0; i < 100 && broker->jobs.count > 0; i++) {
		broker_turn();
		usleep(100);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (broker == NULL) {
		start_broker();
		dial(&honest);
	}
	if (inputs++ % SESSION == 0) {
		hang_up(&hostile);
		end_detached();
	}
	if (hostile.fd < 0)
		dial(&hostile);

	struct input in = { data, data + size };
	while (in.at < in.end)
		step(&in);
	broker_turn();
	broker_turn();
	drain_socket(supervisor);
	drain_socket(hostile.fd);
	honest_job(inputs);
	drain_socket(honest.fd);
	if (broker->clients[hostile.index] == NULL || broker->draining)
		hang_up(&hostile);
	broker->draining = broker->end = false;
	must(broker->jobs.count <= broker->config->max_jobs);
	return 0;
}
