/* test_shm_ring.c - shm/ring.h: order, wrap, full, two processes, hostile producers. */
#include <criterion/criterion.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/ring.h"
#include "tests/process.h"

#define CAPACITY 4096u
#define TYPE     7u

#ifdef __SANITIZE_ADDRESS__
#define STREAM_RECORDS 300000u
#else
#define STREAM_RECORDS 1000000u
#endif

static struct ring_shared *shared;
static struct ring in, out;

static void *
map_shared(size_t size)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return base == MAP_FAILED ? NULL : base;
}

static void
setup(void)
{
	shared = map_shared(ring_footprint(CAPACITY));
	cr_assert_not_null(shared);
	cr_assert_eq(ring_attach_producer(&out, shared, CAPACITY), 0);
	cr_assert_eq(ring_attach_consumer(&in, shared, CAPACITY), 0);
}

static void
teardown(void)
{
	munmap(shared, ring_footprint(CAPACITY));
}

TestSuite(shm_ring, .init = setup, .fini = teardown, .timeout = 600);

static bool
put(struct ring *r, const void *bytes, uint32_t length)
{
	void *place = ring_reserve(r, TYPE, length);
	if (place == NULL)
		return false;
	memcpy(place, bytes, length);
	ring_commit(r, length);
	return true;
}

Test(shm_ring, gives_records_back_in_order)
{
	for (uint32_t i = 0; i < 50; i++)
		cr_assert(put(&out, &i, sizeof(i)));
	for (uint32_t i = 0; i < 50; i++) {
		const struct ring_record *record = ring_peek(&in);
		uint32_t got;
		cr_assert_not_null(record);
		cr_assert_eq(record->type, TYPE);
		cr_assert_eq(record->length, sizeof(i));
		memcpy(&got, record->body, sizeof(got));
		cr_assert_eq(got, i);
		ring_release(&in, record);
	}
	cr_assert_null(ring_peek(&in));
	cr_assert(ring_is_empty(&in));
}

Test(shm_ring, wraps_thousands_of_times_at_every_offset)
{
	unsigned char body[1000], got[1000];
	uint32_t type, length;

	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t size = i * 37 % sizeof(body);
		memset(body, (int)(i & 255), size);
		cr_assert(put(&out, body, size), "record %u of %u bytes found no room", i, size);
		cr_assert_eq(ring_copy(&in, got, sizeof(got), &type, &length), 1);
		cr_assert_eq(length, size);
		cr_assert_eq(memcmp(got, body, size), 0, "record %u came back changed", i);
	}
	cr_assert_eq(ring_used(shared), 0);
}

Test(shm_ring, is_full_at_its_capacity_and_not_before)
{
	const uint32_t body = 48; /* with its header 64 bytes */
	unsigned char bytes[48] = { 0 };
	unsigned n = 0;

	while (put(&out, bytes, body))
		n++;
	cr_assert_eq(n, CAPACITY / 64);
	cr_assert_not(ring_has_room(&out, body));
	cr_assert_eq(ring_used(shared), CAPACITY);

	ring_release(&in, ring_peek(&in));
	cr_assert(ring_has_room(&out, body));
	cr_assert(put(&out, bytes, body));
	cr_assert_not(put(&out, bytes, body));
}

Test(shm_ring, takes_the_longest_body_at_any_position_and_refuses_a_longer_one)
{
	static unsigned char bytes[CAPACITY];
	for (unsigned i = 0; i < CAPACITY / RING_ALIGN; i++) {
		cr_assert(put(&out, bytes, ring_body_max(CAPACITY)), "no room at step %u", i);
		ring_release(&in, ring_peek(&in));
		cr_assert(put(&out, bytes, 0)); /* moves the start by one unit */
		ring_release(&in, ring_peek(&in));
	}
	cr_assert_null(ring_reserve(&out, TYPE, CAPACITY));
	cr_assert_null(ring_reserve(&out, TYPE, UINT32_MAX));
}

Test(shm_ring, commits_less_than_was_reserved)
{
	unsigned char got[512];
	uint32_t type, length;

	for (unsigned i = 0; i < 500; i++) { /* also where a filler stands before it */
		char *place = ring_reserve(&out, TYPE, 400);
		cr_assert_not_null(place);
		memcpy(place, "abc", 3);
		ring_commit(&out, 3);
		cr_assert(put(&out, "next", 4));
		cr_assert_eq(ring_copy(&in, got, sizeof(got), &type, &length), 1);
		cr_assert(length == 3 && memcmp(got, "abc", 3) == 0);
		cr_assert_eq(ring_copy(&in, got, sizeof(got), &type, &length), 1);
		cr_assert(length == 4 && memcmp(got, "next", 4) == 0);
	}
}

Test(shm_ring, publishes_nothing_before_commit)
{
	cr_assert_not_null(ring_reserve(&out, TYPE, 100));
	cr_assert_null(ring_peek(&in));
	cr_assert(put(&out, "x", 1)); /* reserving again drops the first */
	const struct ring_record *record = ring_peek(&in);
	cr_assert_eq(record->length, 1);
	ring_release(&in, record);
	cr_assert_null(ring_peek(&in));
}

Test(shm_ring, leaves_a_record_that_is_too_long_for_the_copy)
{
	unsigned char got[8];
	uint32_t type, length;
	cr_assert(put(&out, "0123456789", 10));
	cr_assert_eq(ring_copy(&in, got, sizeof(got), &type, &length), -EMSGSIZE);
	cr_assert_not_null(ring_peek(&in));
}

Test(shm_ring, refuses_capacities_and_positions_that_cannot_be)
{
	struct ring r;
	cr_assert_eq(ring_attach_producer(&r, shared, 0), -EINVAL);
	cr_assert_eq(ring_attach_producer(&r, shared, RING_SIZE_MIN / 2), -EINVAL);
	cr_assert_eq(ring_attach_producer(&r, shared, CAPACITY + 16), -EINVAL);
	static const struct {
		uint64_t head, tail;
	} wrong[] = { { 0, CAPACITY + 16 }, { 16, 0 }, { 8, 16 }, { 0, 8 }, { UINT64_MAX, 0 } };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		shared->head = wrong[i].head;
		shared->tail = wrong[i].tail;
		cr_assert_eq(ring_attach_consumer(&r, shared, CAPACITY), -EPROTO, "row %zu", i);
		cr_assert_eq(ring_attach_producer(&r, shared, CAPACITY), -EPROTO, "row %zu", i);
	}
}

/* ---- two processes ---- */

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Body of record `i`: both sides can make it. */
static uint32_t
make_body(uint32_t i, uint64_t *random, unsigned char *body)
{
	uint64_t r = next_random(random);
	uint32_t size = r % 64 == 0 ? (uint32_t)(r >> 8) % ring_body_max(CAPACITY)
				    : (uint32_t)(r >> 8) % 96;
	for (uint32_t k = 0; k < size; k++)
		body[k] = (unsigned char)(i + k * 31);
	return size;
}

static void __attribute__((noreturn)) produce(uint32_t count)
{
	unsigned char body[CAPACITY];
	uint64_t random = 88172645463325252ull;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t size = make_body(i, &random, body);
		while (!put(&out, body, size))
			sched_yield();
	}
	_exit(0);
}

Test(shm_ring, carries_a_million_records_between_two_processes_unchanged)
{
	unsigned char want[CAPACITY], got[CAPACITY];
	uint64_t random = 88172645463325252ull;
	uint32_t type, length;
	pid_t child = test_fork();
	if (child == 0)
		produce(STREAM_RECORDS);

	for (uint32_t i = 0; i < STREAM_RECORDS; i++) {
		uint32_t size = make_body(i, &random, want);
		int r;
		while ((r = ring_copy(&in, got, sizeof(got), &type, &length)) == 0)
			sched_yield();
		cr_assert_eq(r, 1, "record %u: %d", i, r);
		cr_assert(type == TYPE && length == size, "record %u: length %u, not %u", i, length,
			  size);
		cr_assert_eq(memcmp(want, got, size), 0, "record %u came back changed", i);
	}
	cr_assert_eq(wait_exit(child, 60000), 0);
	cr_assert(ring_is_empty(&in));
}

Test(shm_ring, gives_a_dead_consumers_record_to_its_successor)
{
	for (uint32_t i = 0; i < 3; i++)
		cr_assert(put(&out, &i, sizeof(i)));
	pid_t child = test_fork();
	if (child == 0) {
		ring_release(&in, ring_peek(&in));
		(void)ring_peek(&in); /* the second: seen and not released */
		raise(SIGKILL);
	}
	waitpid(child, NULL, 0);

	struct ring successor;
	cr_assert_eq(ring_attach_consumer(&successor, shared, CAPACITY), 0);
	for (uint32_t i = 1; i < 3; i++) {
		const struct ring_record *record = ring_peek(&successor);
		cr_assert_not_null(record);
		cr_assert_eq(memcmp(record->body, &i, sizeof(i)), 0);
		ring_release(&successor, record);
	}
	cr_assert_null(ring_peek(&successor));
}

Test(shm_ring, keeps_all_or_nothing_of_a_producer_killed_at_any_moment)
{
	unsigned char got[CAPACITY], want[CAPACITY];
	uint64_t random = 88172645463325252ull;
	uint32_t expected = 0;

	for (unsigned round = 0; round < 300; round++) {
		pid_t child = test_fork();
		if (child == 0) {
			struct ring r;
			uint64_t theirs = random;
			if (ring_attach_producer(&r, shared, CAPACITY) < 0)
				_exit(1);
			for (uint32_t i = expected;; i++) {
				uint32_t size = make_body(i, &theirs, want);
				while (!put(&r, want, size))
					sched_yield();
			}
		}
		uint32_t type, length, stop = expected + round % 40;
		bool killed = false;
		for (;;) {
			uint64_t before = random;
			uint32_t size = make_body(expected, &random, want);
			int r = ring_copy(&in, got, sizeof(got), &type, &length);
			if (r == 0 && killed) {
				random = before;
				break;
			}
			if (r == 0) {
				random = before;
				sched_yield();
				continue;
			}
			cr_assert_eq(r, 1, "round %u: %d", round, r);
			cr_assert(length == size && memcmp(got, want, size) == 0,
				  "round %u: record %u is torn", round, expected);
			if (++expected >= stop && !killed) {
				kill_and_wait(child, SIGKILL);
				killed = true;
			}
		}
	}
	cr_assert_gt(expected, 300);
}

/* ---- hostile producers ---- */

struct header { /* as struct ring_record, without its body */
	uint32_t size, type, length, reserved;
};

struct hostile {
	const char *what;
	uint64_t start;     /* where the consumer stands */
	uint64_t published; /* bytes said to be published from there */
	struct header header;
	struct header second; /* at start + header.size, when size is not 0 */
};

Test(shm_ring, refuses_every_header_that_cannot_be_true)
{
	static const struct hostile rows[] = {
		{ "more published than the ring holds", 0, CAPACITY + 16, { 32, TYPE, 8 } },
		{ "position went backwards", 64, (uint64_t)-32, { 32, TYPE, 8 } },
		{ "published less than a header", 0, 8, { 32, TYPE, 8 } },
		{ "size 0", 0, 64, { 0, TYPE, 0 } },
		{ "size below the header", 0, 64, { 8, TYPE, 0 } },
		{ "size not aligned", 0, 64, { 40, TYPE, 8 } },
		{ "size above what is published", 0, 64, { 80, TYPE, 8 } },
		{ "size above the capacity", 0, 64, { 1u << 30, TYPE, 8 } },
		{ "record across the wrap", CAPACITY - 32, 64, { 64, TYPE, 8 } },
		{ "filler across the wrap", CAPACITY - 32, 64, { 64, RING_TYPE_SKIP, 0 } },
		{ "length above the size", 0, 64, { 32, TYPE, 17 } },
		{ "length of 4 GiB", 0, 64, { 32, TYPE, UINT32_MAX } },
		{ "filler of size 0", 0, 64, { 0, RING_TYPE_SKIP, 0 } },
		{ "two fillers in a row", 0, 64, { 32, RING_TYPE_SKIP }, { 32, RING_TYPE_SKIP } },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char got[CAPACITY];
		uint32_t type, length;
		struct ring r;
		const struct hostile *row = &rows[i];

		shared->head = shared->tail = row->start;
		cr_assert_eq(ring_attach_consumer(&r, shared, CAPACITY), 0);
		memcpy(shared->data + row->start, &row->header, sizeof(row->header));
		if (row->second.size != 0)
			memcpy(shared->data + row->start + row->header.size, &row->second,
			       sizeof(row->second));
		shared->tail = row->start + row->published;
		cr_assert_eq(ring_copy(&r, got, sizeof(got), &type, &length), -EPROTO, "%s",
			     row->what);
	}
}

Test(shm_ring, does_not_believe_a_consumer_that_lies)
{
	unsigned char bytes[48] = { 0 };
	while (put(&out, bytes, sizeof(bytes)))
		;
	shared->head = 1ull << 40; /* ahead of all that was published */
	cr_assert_not(ring_has_room(&out, 16));
	cr_assert_null(ring_reserve(&out, TYPE, 16));
}

Test(shm_ring, counts_its_records_and_remembers_how_full_it_was)
{
	unsigned char bytes[48] = { 0 };
	unsigned n = 0;

	for (int i = 0; i < 3; i++)
		cr_assert(put(&out, bytes, sizeof(bytes)));
	ring_mark(&out);
	cr_expect_eq(out.records, 3);
	cr_expect_eq(out.high, 3 * 64);
	cr_expect_eq(ring_waiting(&out), 3);
	cr_expect_eq(ring_waiting(&in), 3);
	for (const struct ring_record *r; (r = ring_peek(&in)) != NULL; n++)
		ring_release(&in, r);
	cr_expect_eq(n, 3);
	cr_expect_eq(in.records, 3);
	cr_expect_eq(in.high, 3 * 64);
	cr_expect_eq(ring_waiting(&in), 0);
	ring_mark(&out); /* less than before: the mark stays */
	cr_expect_eq(out.high, 3 * 64);
	/* Round and round: fillers are no records, and the mark is never above what there was. */
	for (unsigned i = 0; i < 1000; i++) {
		uint32_t type, length;
		cr_assert(put(&out, bytes, 40 + i % 8));
		ring_mark(&out);
		cr_assert_eq(ring_copy(&in, bytes, sizeof(bytes), &type, &length), 1);
	}
	cr_expect_eq(out.records, 1003);
	cr_expect_eq(in.records, 1003);
	cr_expect_eq(out.high, 3 * 64);
	cr_expect_eq(in.high, 3 * 64);
}

Test(shm_ring, counts_what_waits_without_trusting_it)
{
	unsigned char bytes[48] = { 0 };
	struct ring_record *first = (void *)shared->data;

	cr_assert(put(&out, bytes, sizeof(bytes)));
	cr_assert(put(&out, bytes, sizeof(bytes)));
	for (uint32_t size = 0; size < 200; size += 8) {
		first->size = size;
		cr_expect_leq(ring_waiting(&in), 2);
	}
	shared->tail = UINT64_MAX;
	cr_expect_leq(ring_waiting(&in), CAPACITY / sizeof(struct ring_record));
}
