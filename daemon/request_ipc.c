/*
 * request_ipc.c - the verb `ipc`: what the broker holds to talk with others, and what passed
 * through it: links, rings, segments, sockets, slabs.
 *
 * This is the registry's word.  `pyprepctl ipc ls` looks in /proc whether it is true; for that
 * each row of memory carries its inode and each socket its descriptor.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/request.h"
#include "ipc/clock.h"
#include "shm/counter.h"
#include "shm/segment.h"

#define NOT_KNOWN UINT64_MAX /* travels as nil */

/* One row; what is left out does not apply. */
struct held {
	const char *kind;
	char name[80];
	const char *owner, *peer; /* roles: "broker", "worker cpu/0", "client 3" */
	uint32_t owner_pid, peer_pid;
	const char *way;
	uint64_t inode, fd;
	uint64_t bytes, used, used_high;
	uint64_t in, out, bytes_in, bytes_out;
	uint64_t depth, depth_high, free, object_bytes;
	uint64_t since_ns; /* when it was made, or this broker took it over */
};

/* Everything not known but the names. */
static struct held
held(const char *kind, uint64_t since_ns)
{
	return (struct held){
		.kind = kind,
		.owner = "broker",
		.owner_pid = (uint32_t)getpid(),
		.way = "",
		.peer = "",
		.inode = NOT_KNOWN,
		.fd = NOT_KNOWN,
		.bytes = NOT_KNOWN,
		.used = NOT_KNOWN,
		.used_high = NOT_KNOWN,
		.in = NOT_KNOWN,
		.out = NOT_KNOWN,
		.bytes_in = NOT_KNOWN,
		.bytes_out = NOT_KNOWN,
		.depth = NOT_KNOWN,
		.depth_high = NOT_KNOWN,
		.free = NOT_KNOWN,
		.object_bytes = NOT_KNOWN,
		.since_ns = since_ns,
	};
}

static void
put_figure(struct reply *a, const char *key, uint64_t value)
{
	if (value != NOT_KNOWN) {
		reply_uint(a, key, value);
		return;
	}
	reply_key(a, key);
	msgpack_pack_nil(&a->pack);
}

static void
put(struct reply *a, const struct held *h)
{
	const struct {
		const char *key;
		uint64_t value;
	} figures[] = {
		{ "inode", h->inode },
		{ "fd", h->fd },
		{ "bytes", h->bytes },
		{ "used", h->used },
		{ "used_high", h->used_high },
		{ "in", h->in },
		{ "out", h->out },
		{ "bytes_in", h->bytes_in },
		{ "bytes_out", h->bytes_out },
		{ "depth", h->depth },
		{ "depth_high", h->depth_high },
		{ "free", h->free },
		{ "object_bytes", h->object_bytes },
		{ "age_ns", clock_now() - h->since_ns },
	};
	const unsigned count = sizeof(figures) / sizeof(figures[0]);

	msgpack_pack_map(&a->pack, 7 + count);
	reply_text(a, "kind", h->kind);
	reply_text(a, "name", h->name);
	reply_text(a, "owner", h->owner);
	reply_uint(a, "owner_pid", h->owner_pid);
	reply_text(a, "peer", h->peer);
	reply_uint(a, "peer_pid", h->peer_pid);
	reply_text(a, "way", h->way);
	for (unsigned i = 0; i < count; i++)
		put_figure(a, figures[i].key, figures[i].value);
}

static void
begin(struct reply *a, unsigned rows)
{
	reply_begin(a, 1);
	reply_key(a, "rows");
	msgpack_pack_array(&a->pack, rows);
}

/* ---- rings ---- */

/* A ring the broker writes, or reads.  Records on the other side are these and those that
 * wait. */
static struct held
ring_row(const struct ring *ring, bool writes, uint64_t since_ns)
{
	struct held h = held("ring", since_ns);
	uint64_t waiting = ring_waiting(ring), used = ring_used(ring->shared);

	h.bytes = ring->capacity;
	h.used = used <= ring->capacity ? used : ring->capacity; /* a client may write anything */
	h.used_high = ring->high <= ring->capacity ? ring->high : ring->capacity;
	if (h.used_high < h.used)
		h.used_high = h.used;
	h.depth = waiting;
	h.in = writes ? ring->records : ring->records + waiting;
	h.out = !writes ? ring->records : ring->records > waiting ? ring->records - waiting : 0;
	h.bytes_in = ring->mine - ring->began + (writes ? 0 : h.used);
	h.bytes_out = ring->mine - ring->began - (writes ? h.used : 0);
	if (writes && ring->mine - ring->began < h.used)
		h.bytes_out = 0; /* it holds what an earlier broker wrote */
	return h;
}

/* Who writes a ring owns it. */
static void
put_ring(struct reply *a, const struct ring *ring, bool writes, const char *name, const char *peer,
	 uint32_t peer_pid, uint64_t since_ns)
{
	struct held h = ring_row(ring, writes, since_ns);

	snprintf(h.name, sizeof(h.name), "%s", name);
	h.peer = peer;
	h.peer_pid = peer_pid;
	if (!writes) {
		h.peer = h.owner;
		h.peer_pid = h.owner_pid;
		h.owner = peer;
		h.owner_pid = peer_pid;
	}
	put(a, &h);
}

/* ---- workers ---- */

static void
look_into(const struct link_end *end, struct held *h)
{
	struct link_look look = { -1,          h->bytes,     h->in,    h->out,
				  h->bytes_in, h->bytes_out, h->depth, h->depth_high };

	if (end->carrier->look == NULL)
		return;
	end->carrier->look(end, &look);
	if (look.fd >= 0) {
		h->fd = (uint64_t)look.fd;
		h->inode = segment_inode(look.fd);
	}
	h->bytes = look.bytes;
	h->in = look.in;
	h->out = look.out;
	h->bytes_in = look.bytes_in;
	h->bytes_out = look.bytes_out;
	h->depth = look.depth;
	h->depth_high = look.depth_high;
}

/* One direction of a link.  A way that is no ring keeps what it holds to itself. */
static void
put_end(struct reply *a, struct crew *w, bool requests, const char *name, const char *role)
{
	struct link_end *end = requests ? &w->link.requests : &w->link.results;
	const struct link_row *way = &link_rows[w->link.shared->way];

	if (end->carrier == NULL) {
		put_ring(a, &end->ring, requests, name, role, w->pid, w->since_ns);
		return;
	}
	struct held h = held(strcmp(way->name, "zmq") == 0 ? "socket" : way->name, w->since_ns);
	snprintf(h.name, sizeof(h.name), "%s", name);
	h.way = way->name;
	h.peer = role;
	h.peer_pid = w->pid;
	h.in = requests ? end->records : NOT_KNOWN;
	h.out = requests ? NOT_KNOWN : end->records;
	h.bytes_in = requests ? end->bytes : NOT_KNOWN;
	h.bytes_out = requests ? NOT_KNOWN : end->bytes;
	if (end->carrier->used != NULL) {
		h.used = end->carrier->used(end);
		h.used_high = end->high > h.used ? end->high : h.used;
	}
	look_into(end, &h);
	put(a, &h);
}

static void
reply_crew(struct broker *b, const struct request *r, struct crew *w)
{
	const char *pool = b->pools[w->pool].config->name;
	char role[64], name[80];
	struct reply a;

	snprintf(role, sizeof(role), "worker %s/%u", pool, w->slot);
	begin(&a, 4);

	struct held link = held("link", w->since_ns);
	snprintf(link.name, sizeof(link.name), "%s/%u", pool, w->slot);
	link.peer = role;
	link.peer_pid = w->pid;
	link.way = link_rows[w->link.shared->way].name;
	link.in = w->sent;
	link.out = w->sent - w->outstanding;
	link.depth = w->outstanding;
	link.depth_high = w->outstanding_high;
	link.free = w->link.free_count;
	put(&a, &link);

	struct held memory = held("memfd", w->since_ns);
	snprintf(memory.name, sizeof(memory.name), "link %s/%u", pool, w->slot);
	memory.owner = "supervisor";
	memory.owner_pid = (uint32_t)getppid();
	memory.inode = w->link_inode;
	memory.bytes = segment_round(link_footprint(w->link.shared->way));
	put(&a, &memory);

	snprintf(name, sizeof(name), "%s/%u requests", pool, w->slot);
	put_end(&a, w, true, name, role);
	snprintf(name, sizeof(name), "%s/%u results", pool, w->slot);
	put_end(&a, w, false, name, role);
	reply_send(b, r, &a, REPLY_MORE);
}

/* ---- clients ---- */

static void
put_socket(struct reply *a, const struct client *c, const char *role)
{
	struct held h = held("socket", c->since_ns);

	snprintf(h.name, sizeof(h.name), "%s control", role);
	h.peer = role;
	h.peer_pid = (uint32_t)c->who.pid;
	if (c->fd >= 0) { /* else it is libzmq's */
		h.fd = (uint64_t)c->fd;
		h.inode = segment_inode(c->fd);
	}
	h.in = c->frames_in;
	h.out = c->frames_out;
	h.used = c->backlog_bytes;
	put(a, &h);
}

static void
put_lane(struct reply *a, const struct client *c, const char *role)
{
	uint32_t pid = (uint32_t)c->who.pid;
	struct held memory = held("memfd", c->since_ns);
	char name[80];

	snprintf(memory.name, sizeof(memory.name), "lane %s", role);
	memory.peer = role;
	memory.peer_pid = pid;
	memory.inode = c->lane_inode;
	memory.bytes = segment_round(lane_footprint(c->lane.capacity));
	if (c->lane_ops == &lane_shm) /* else the rings are the broker's own */
		put(a, &memory);
	snprintf(name, sizeof(name), "%s submits (%s)", role, c->lane_ops->name);
	put_ring(a, &c->lane.in, false, name, role, pid, c->since_ns);
	snprintf(name, sizeof(name), "%s returns (%s)", role, c->lane_ops->name);
	put_ring(a, &c->lane.out, true, name, role, pid, c->since_ns);
}

static void
reply_client(struct broker *b, const struct request *r, const struct client *c)
{
	bool lane = c->lane.shared != NULL;
	char role[32];
	struct reply a;

	snprintf(role, sizeof(role), "client %u", c->index);
	begin(&a, 1u + (lane ? 2u : 0) + (c->lane_ops == &lane_shm));
	put_socket(&a, c, role);
	if (lane)
		put_lane(&a, c, role);
	reply_send(b, r, &a, REPLY_MORE);
}

/* ---- what there is once ---- */

static void
put_descriptor(struct reply *a, struct broker *b, const char *name, int fd, const char *peer,
	       uint32_t peer_pid)
{
	struct held h = held("socket", b->started_ns);

	snprintf(h.name, sizeof(h.name), "%s", name);
	h.peer = peer;
	h.peer_pid = peer_pid;
	h.fd = (uint64_t)fd;
	h.inode = segment_inode(fd);
	put(a, &h);
}

static void
put_supervisors(struct reply *a, struct broker *b, const char *name, uint64_t inode, uint64_t bytes)
{
	struct held h = held("memfd", b->started_ns);

	snprintf(h.name, sizeof(h.name), "%s", name);
	h.owner = "supervisor";
	h.owner_pid = (uint32_t)getppid();
	h.inode = inode;
	h.bytes = bytes;
	put(a, &h);
}

static void
put_slab(struct reply *a, struct broker *b, const char *name, uint64_t in_use, uint64_t places,
	 uint64_t object_bytes, uint64_t bytes)
{
	struct held h = held("slab", b->started_ns);

	snprintf(h.name, sizeof(h.name), "%s", name);
	h.depth = in_use;
	h.free = places - in_use;
	h.object_bytes = object_bytes;
	h.bytes = bytes;
	put(a, &h);
}

static unsigned
count_spares(const struct broker *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BOARD_SPARES; i++)
		n += atomic_load(&b->board->spare_links[i]) != 0;
	return n;
}

static void
reply_singles(struct broker *b, const struct request *r)
{
	uint64_t spares[BOARD_SPARES];
	unsigned n = 0, expected = count_spares(b);
	struct reply a;

	for (unsigned i = 0; i < BOARD_SPARES && n < expected; i++) {
		uint64_t inode = atomic_load(&b->board->spare_links[i]);
		if (inode != 0)
			spares[n++] = inode;
	}
	bool store = b->manager.store_inode != 0; /* no manager was started yet */
	begin(&a, 7 + store + n);
	put_descriptor(&a, b, "listener", b->birth->listener, "", 0);
	put_descriptor(&a, b, "broker control", b->birth->control, "supervisor",
		       (uint32_t)getppid());
	put_supervisors(&a, b, "board", atomic_load(&b->board->inode),
			segment_round(sizeof(struct board)));
	put_supervisors(&a, b, "counters", segment_inode(b->birth->counters_memfd),
			segment_round(sizeof(struct counter_table)));
	if (store)
		put_supervisors(&a, b, "manager's store", b->manager.store_inode,
				b->manager.store_bytes);
	for (unsigned i = 0; i < n; i++)
		put_supervisors(&a, b, i == 0 ? "link spare 0" : "link spare 1", spares[i],
				segment_round(link_footprint(LINK_RING)));
	put_slab(&a, b, "jobs", b->jobs.count, jobs_places(&b->jobs), sizeof(struct job),
		 jobs_bytes(&b->jobs));
	put_slab(&a, b, "history", history_count(&b->history), HISTORY_PLACES,
		 sizeof(struct history_entry), HISTORY_PLACES * sizeof(struct history_entry));
	put_slab(&a, b, "clients", b->client_count, b->config->max_clients, sizeof(struct client),
		 b->client_count * sizeof(struct client) +
			 b->config->max_clients * sizeof(struct client *));
	reply_send(b, r, &a, REPLY_MORE);
}

/* Last of all: who is who. */
static void
reply_daemon(struct broker *b, const struct request *r, uint64_t hidden)
{
	struct reply a;

	reply_begin(&a, 5);
	reply_uint(&a, "supervisor_pid", (uint64_t)getppid());
	reply_uint(&a, "broker_pid", (uint64_t)getpid());
	reply_uint(&a, "spare_pid", atomic_load(&b->board->spare_pid));
	reply_text(&a, "state_dir", b->birth->state_dir);
	reply_uint(&a, "hidden", hidden);
	reply_send(b, r, &a, 0);
}

void
verb_ipc(struct broker *b, const struct request *r)
{
	uint64_t hidden = 0;

	reply_singles(b, r);
	for (unsigned i = 0; i < b->pool_count; i++)
		for (unsigned slot = 0; slot < b->pools[i].crew_count; slot++)
			if (b->pools[i].crew[slot] != NULL && b->pools[i].crew[slot]->up)
				reply_crew(b, r, b->pools[i].crew[slot]);
	for (uint32_t i = 0; i < b->config->max_clients; i++) {
		const struct client *c = b->clients[i];
		if (c == NULL)
			continue;
		/* Who talks to the daemon is the business of operators, and of who it is. */
		if (r->client->access >= ACCESS_OPERATE || c->who.uid == r->client->who.uid)
			reply_client(b, r, c);
		else
			hidden++;
	}
	reply_daemon(b, r, hidden);
}
