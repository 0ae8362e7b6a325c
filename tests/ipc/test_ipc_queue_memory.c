/* test_ipc_queue_memory.c - ipc/queue.h: names, looking from outside, memory that is no queue. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/queue.h"

static struct queue *q;
static char name[64];

static void
setup(void)
{
	snprintf(name, sizeof(name), "test.%d", (int)getpid());
}

static void
teardown(void)
{
	q = queue_detach(q);
	(void)queue_unlink(name);
}

TestSuite(queue_memory, .init = setup, .fini = teardown, .timeout = 600);

static int
put_text(const char *text)
{
	return queue_put(q, text, (uint32_t)strlen(text), QUEUE_NO_WAIT);
}

static void
expect_get(const char *wanted)
{
	char text[64] = "";
	uint32_t length = 0;

	cr_expect_eq(queue_get(q, text, sizeof(text) - 1, &length, QUEUE_NO_WAIT), 0);
	cr_expect_eq(length, strlen(wanted));
	cr_expect_eq(memcmp(text, wanted, strlen(wanted)), 0);
}

Test(queue_memory, a_name_leads_to_it_until_it_is_removed)
{
	struct queue_options o = { .capacity = 4, .message_max = 16 };
	struct queue *other;

	cr_assert_eq(queue_create(name, &o, &q), 0);
	cr_expect_eq(queue_create(name, &o, &other), -EEXIST);
	cr_assert_eq(queue_open(name, &other), 0);
	cr_expect_eq(queue_capacity(other), 4);
	cr_expect_eq(queue_message_max(other), 16);
	cr_assert_eq(put_text("by name"), 0);
	cr_assert_eq(queue_unlink(name), 0);
	cr_expect_eq(queue_unlink(name), -ENOENT);
	struct queue *none;
	cr_expect_eq(queue_open(name, &none), -ENOENT);
	struct queue *mine = q;
	q = other;
	expect_get("by name");
	q = queue_detach(other);
	q = mine;
	cr_expect_eq(queue_create("../evil", &o, &none), -EINVAL);
	cr_expect_eq(queue_open("", &none), -EINVAL);
	o.capacity = 0;
	cr_expect_eq(queue_create(name, &o, &none), -EINVAL);
}

Test(queue_memory, its_state_is_seen_through_read_only_memory)
{
	struct queue_options o = { .capacity = 4, .message_max = 16, .mode = 0600 };
	static struct queue_stat s;

	cr_assert_eq(queue_create(name, &o, &q), 0);
	cr_assert_eq(put_text("one"), 0);
	cr_assert_eq(put_text("three"), 0);
	expect_get("one");
	cr_assert_eq(queue_stat_named(name, &s), 0);
	cr_expect_eq(s.capacity, 4);
	cr_expect_eq(s.message_max, 16);
	cr_expect_eq(s.depth, 1);
	cr_expect_eq(s.high_water, 2);
	cr_expect_eq(s.puts, 2);
	cr_expect_eq(s.gets, 1);
	cr_expect_eq(s.bytes_in, 8);
	cr_expect_eq(s.bytes_out, 3);
	cr_expect_eq(s.attached, 1);
	cr_expect_eq(s.creator, getpid());
	cr_expect_eq(s.members[0].gets, 1);
	cr_expect_eq(queue_stat_named("no.such.queue", &s), -ENOENT);
	unsigned char zeroes[256] __attribute__((aligned(128))) = { 0 };
	cr_expect_eq(queue_stat_memory(zeroes, sizeof(zeroes), &s), -EPROTO);
}

Test(queue_memory, memory_that_is_no_whole_queue_is_refused)
{
	struct queue_options o = { .capacity = 4, .message_max = 16 };
	size_t memory_bytes = queue_footprint(&o);
	struct queue *none;

	void *memory =
		mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(memory, MAP_FAILED);
	cr_assert_eq(queue_init(memory, memory_bytes, &o), 0);
	cr_assert_eq(queue_attach(memory, memory_bytes, &q), 0);
	cr_expect_eq(queue_attach(memory, memory_bytes - 1, &none), -EPROTO);
	cr_expect_eq(queue_init((char *)memory + 8, memory_bytes - 8, &o), -EINVAL);
	cr_expect_eq(queue_init(memory, memory_bytes - 1, &o), -EINVAL);
	uint32_t *capacity = (uint32_t *)memory + sizeof(struct named_head) / 4;
	cr_assert_eq(*capacity, 4);
	*capacity = 5; /* more slots than memory */
	cr_expect_eq(queue_attach(memory, memory_bytes, &none), -EPROTO);
	*capacity = 0;
	cr_expect_eq(queue_attach(memory, memory_bytes, &none), -EPROTO);
	*capacity = 4;
	*(uint32_t *)memory = 1;
	cr_expect_eq(queue_attach(memory, memory_bytes, &none), -EPROTO);
}

/* A file that says it is a queue and has no memory behind it: opening would allocate it all. */
Test(queue_memory, a_named_queue_without_its_memory_is_refused_and_stays_without)
{
	static unsigned char head[256 * 1024] __attribute__((aligned(128)));
	struct queue_options small = { .capacity = 16, .message_max = 1000 },
			     large = { .capacity = 1u << 14, .message_max = 1000 };
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), NAMED_DIRECTORY "/" QUEUE_PREFIX "%s", name);
	cr_assert_eq(queue_init(head, sizeof(head), &small), 0);
	/* capacity stands right behind the head */
	memcpy(head + sizeof(struct named_head), &large.capacity, sizeof(large.capacity));
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, head, sizeof(head)), (ssize_t)sizeof(head));
	cr_assert_eq(ftruncate(fd, (off_t)queue_footprint(&large)), 0);
	cr_expect_eq(queue_open(name, &q), -EPROTO);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_leq(st.st_blocks * 512, (long)sizeof(head) + 4096);
	close(fd);
}
