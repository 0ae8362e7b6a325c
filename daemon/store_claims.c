/* store_claims.c - see store_claims.h */
#include "daemon/store_claims.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store.h"
#include "ipc/cleanup.h"

#define CLAIMS_MAGIC 0x314d49414c435950ull /* "PYCLAIM1" */
#define RANDOM_POOL  256u

/* A fence says where its slot is: the low bits are the slot's number, the others are random. */
#define SLOT_BITS 15u
#define SLOT_MASK ((1ull << SLOT_BITS) - 1)
_Static_assert(STORE_CLAIMS == 1u << SLOT_BITS, "a fence has the number of its slot in it");

/* Two in a cache line, and never across the sectors of a disk. */
struct slot {
	_Atomic uint64_t fence; /* 0: free.  Written last, and cleared first */
	_Atomic uint64_t id;
	_Atomic uint32_t attempt;
	_Atomic uint32_t check; /* of the other three */
	uint64_t reserved;
};
_Static_assert(sizeof(struct slot) == 32, "claims are read by the next daemon");

struct claims_file {
	uint64_t magic;
	uint32_t slots;
	_Atomic uint32_t used;     /* slots below it may be taken; only grows */
	_Atomic uint64_t notes[2]; /* enum claims_note */
	unsigned char reserved[4096 - 32];
	struct slot slot[STORE_CLAIMS];
};
_Static_assert(offsetof(struct claims_file, slot) == 4096, "slots begin on a page");

struct claims {
	struct claims_file *file;
	int fd; /* holds the lock; -1: in memory */
	bool read_only;
	unsigned torn;
	/* Of the thread that takes claims: */
	uint32_t free_count;
	uint32_t random_left;
	uint64_t random[RANDOM_POOL];
	uint16_t
		free_slots[STORE_CLAIMS]; /* a stack: the lowest on top, so few pages are touched */
};

static uint32_t
check_of(uint64_t fence, uint64_t id, uint32_t attempt)
{
	uint64_t h = fence * 0x9e3779b97f4a7c15ull;

	h = (h ^ (h >> 29) ^ id) * 0xbf58476d1ce4e5b9ull;
	h = (h ^ (h >> 31) ^ attempt) * 0x94d049bb133111ebull;
	return (uint32_t)(h >> 32);
}

/* The claim in a slot; false when it is free or torn. */
static bool
read_slot(const struct slot *s, struct claim *ret)
{
	uint64_t fence = atomic_load_explicit(&s->fence, memory_order_acquire);

	if (fence == 0)
		return false;
	uint32_t attempt = atomic_load_explicit(&s->attempt, memory_order_relaxed);
	uint32_t check = atomic_load_explicit(&s->check, memory_order_relaxed);
	*ret = (struct claim){ .fence = fence,
			       .id = atomic_load_explicit(&s->id, memory_order_relaxed),
			       .attempt = (uint16_t)attempt };
	return check == check_of(fence, ret->id, attempt);
}

/* ---- opening ---- */

static void
find_free(struct claims *c)
{
	struct claims_file *f = c->file;
	struct claim claim;

	for (uint32_t i = STORE_CLAIMS; i-- > 0;) {
		struct slot *s = &f->slot[i];
		/* Beyond `used` nothing was ever written: no page of it is touched. */
		if (i < f->used && atomic_load(&s->fence) != 0) {
			if (read_slot(s, &claim) && (claim.fence & SLOT_MASK) == i)
				continue;
			c->torn++;
			atomic_store(&s->fence, 0);
		}
		c->free_slots[c->free_count++] = (uint16_t)i;
	}
}

static int
map_file(struct claims *c, int fd)
{
	int protection = c->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *base = mmap(NULL, sizeof(*c->file), protection, flags, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	c->file = base;
	if (c->read_only)
		return c->file->magic == CLAIMS_MAGIC ? 0 : -EBADMSG;
	if (c->file->magic != CLAIMS_MAGIC || c->file->slots != STORE_CLAIMS ||
	    c->file->used > STORE_CLAIMS) {
		/* New, or its first page was lost with the power: then it says nothing. */
		memset(c->file, 0, sizeof(*c->file));
		c->file->slots = STORE_CLAIMS;
		c->file->magic = CLAIMS_MAGIC;
	}
	find_free(c);
	return 0;
}

static int
open_file(const char *state_dir, bool read_only)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/" CLAIMS_FILE, state_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	int flags = read_only ? O_RDONLY : O_RDWR | O_CREAT;
	scoped_fd fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (!read_only && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (!read_only) {
		/* Real blocks, so that a full disk is an error here and not a SIGBUS later. */
		int r = posix_fallocate(fd, 0, sizeof(struct claims_file));
		if (r != 0)
			return -r;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct claims_file))
		return -ENOENT; /* it is being made */
	return take_fd(&fd);
}

int
claims_open(struct claims **ret, const char *state_dir, bool read_only)
{
	int fd = state_dir != NULL ? open_file(state_dir, read_only) : -1;

	if (state_dir != NULL && fd < 0)
		return fd;
	struct claims *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		if (fd >= 0)
			close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->read_only = read_only;
	int r = map_file(c, fd);
	if (r < 0)
		claims_close(c);
	else
		*ret = c;
	return r;
}

void
claims_close(struct claims *c)
{
	if (c == NULL)
		return;
	if (c->file != NULL)
		munmap(c->file, sizeof(*c->file));
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

/* ---- taking and dropping ---- */

/* Never 0.  From the kernel in bulk: a system call for each would cost more than the claim. */
static uint64_t
next_random(struct claims *c)
{
	for (;;) {
		if (c->random_left == 0) {
			if (getrandom(c->random, sizeof(c->random), 0) !=
			    (ssize_t)sizeof(c->random))
				continue; /* a signal: RANDOM_POOL * 8 bytes are not always whole */
			c->random_left = RANDOM_POOL;
		}
		uint64_t value = c->random[--c->random_left] & ~SLOT_MASK;
		if (value != 0)
			return value;
	}
}

int
claims_take(struct claims *c, uint64_t id, uint16_t attempt, uint64_t *ret_fence)
{
	if (c->free_count == 0)
		return -EAGAIN;
	uint32_t number = c->free_slots[--c->free_count];
	struct slot *s = &c->file->slot[number];
	uint64_t fence = next_random(c) | number;

	if (number >= atomic_load_explicit(&c->file->used, memory_order_relaxed))
		atomic_store_explicit(&c->file->used, number + 1, memory_order_relaxed);
	atomic_store_explicit(&s->id, id, memory_order_relaxed);
	atomic_store_explicit(&s->attempt, attempt, memory_order_relaxed);
	atomic_store_explicit(&s->check, check_of(fence, id, attempt), memory_order_relaxed);
	/* From this store on it stands. */
	atomic_store_explicit(&s->fence, fence, memory_order_release);
	*ret_fence = fence;
	return 0;
}

void
claims_drop(struct claims *c, uint64_t id, uint64_t fence)
{
	uint32_t number = fence & SLOT_MASK;
	struct slot *s = &c->file->slot[number];

	if (fence == 0 || atomic_load(&s->fence) != fence || atomic_load(&s->id) != id)
		return;
	atomic_store_explicit(&s->fence, 0, memory_order_release);
	c->free_slots[c->free_count++] = (uint16_t)number;
}

bool
claims_stand(const struct claims *c, uint64_t id, uint16_t attempt, uint64_t fence)
{
	struct claim claim;

	return read_slot(&c->file->slot[fence & SLOT_MASK], &claim) && claim.fence == fence &&
	       claim.id == id && claim.attempt == attempt;
}

/* ---- looking ---- */

static int
compare(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->attempt < y->attempt ? -1 : x->attempt > y->attempt;
}

int
claims_list(const struct claims *c, struct claim **ret, size_t *ret_count)
{
	uint32_t used = atomic_load(&c->file->used);
	size_t count = 0, capacity = 0;
	struct claim *list = NULL, claim;

	if (used > STORE_CLAIMS)
		used = STORE_CLAIMS;
	for (uint32_t i = 0; i < used; i++) {
		if (!read_slot(&c->file->slot[i], &claim) || (claim.fence & SLOT_MASK) != i)
			continue;
		if (count == capacity) {
			capacity = capacity == 0 ? 64 : capacity * 2;
			struct claim *more = realloc(list, capacity * sizeof(*list));
			if (more == NULL) {
				free(list);
				return -ENOMEM;
			}
			list = more;
		}
		list[count++] = claim;
	}
	if (count > 0)
		qsort(list, count, sizeof(*list), compare);
	*ret = list;
	*ret_count = count;
	return 0;
}

uint64_t
claims_fence_of(const struct claim *list, size_t count, uint64_t id)
{
	size_t low = 0, high = count;

	while (low < high) { /* the last one of this id: its highest attempt */
		size_t middle = low + (high - low) / 2;
		if (list[middle].id <= id)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && list[low - 1].id == id ? list[low - 1].fence : 0;
}

uint64_t
claims_note(const struct claims *c, enum claims_note which)
{
	return atomic_load_explicit(&c->file->notes[which], memory_order_relaxed);
}

void
claims_set_note(struct claims *c, enum claims_note which, uint64_t value)
{
	atomic_store_explicit(&c->file->notes[which], value, memory_order_relaxed);
}

unsigned
claims_torn(const struct claims *c)
{
	return c->torn;
}
