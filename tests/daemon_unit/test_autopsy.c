/* test_autopsy.c - a worker's death, in words and as a map. */
#include <criterion/criterion.h>

#include <signal.h>
#include <string.h>

#include "daemon/autopsy.h"

static const struct worker_down_body segfault = {
	.slot = 3,
	.pid = 4711,
	.status = SIGSEGV,
	.memory_peak = 3u << 19,
	.user_ns = 1000000000,
	.system_ns = 500000000,
	.lived_ns = UINT64_C(62500000000),
	.jobs = 17,
};

static void
expect_text(const struct autopsy *a, uint64_t id, const char *expected)
{
	char text[AUTOPSY_TEXT];

	autopsy_text(a, id, text, sizeof(text));
	cr_expect_str_eq(text, expected);
}

#define SEGFAULT                                                                                  \
	"worker 3 (pid 4711) was killed by signal 11 (Segmentation fault); it had lived 62.5 s, " \
	"begun 17 jobs, taken 1.5 s of CPU and at most 1.5 MiB"

Test(autopsy, names_the_signal_and_what_died_with_the_worker)
{
	struct autopsy a = { .down = segfault };

	autopsy_add(&a, 7);
	expect_text(&a, 7, SEGFAULT);
	autopsy_add(&a, 8);
	expect_text(&a, 7, SEGFAULT "; with it died job 8");
	expect_text(&a, 8, SEGFAULT "; with it died job 7");
	autopsy_add(&a, 9);
	expect_text(&a, 8, SEGFAULT "; with it died jobs 7, 9");
	for (uint64_t id = 10; id < 20; id++)
		autopsy_add(&a, id);
	expect_text(&a, 7, SEGFAULT "; with it died jobs 8, 9, 10, 11, 12, 13, 14 and 5 more");
}

Test(autopsy, tells_an_exit_and_want_of_memory)
{
	struct autopsy a = { .down = { .slot = 1, .pid = 5, .status = 3 << 8 } };

	expect_text(&a, 1, "worker 1 (pid 5) exited with status 3");
	a.down.status = SIGKILL;
	a.down.oom = 1;
	expect_text(
		&a, 1,
		"worker 1 (pid 5) was killed by signal 9 (Killed): its cgroup had no memory left");
}

Test(autopsy, never_writes_beyond_its_buffer)
{
	struct autopsy a = { .down = segfault };
	char text[sizeof(SEGFAULT) + 20];

	for (uint64_t i = 0; i < 12; i++)
		autopsy_add(&a, UINT64_MAX - i);
	for (size_t size = 1; size < sizeof(text); size++) {
		memset(text, 'x', sizeof(text));
		autopsy_text(&a, 1, text, size);
		cr_assert_eq(strlen(text), size - 1);
		cr_assert_eq(text[size], 'x');
	}
}

static const msgpack_object *
value(const msgpack_object *map, const char *name)
{
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.via.str.size == strlen(name) &&
		    memcmp(kv->key.via.str.ptr, name, strlen(name)) == 0)
			return &kv->val;
	}
	cr_assert_fail("no %s", name);
	return NULL;
}

Test(autopsy, is_one_map)
{
	struct autopsy a = { .down = segfault };
	msgpack_sbuffer bytes;
	msgpack_unpacked map;
	size_t end = 0;

	for (uint64_t id = 1; id <= 12; id++)
		autopsy_add(&a, id);
	msgpack_sbuffer_init(&bytes);
	autopsy_pack(&a, 2, &bytes);
	msgpack_unpacked_init(&map);
	cr_assert_eq(msgpack_unpack_next(&map, bytes.data, bytes.size, &end),
		     MSGPACK_UNPACK_SUCCESS);
	cr_expect_eq(end, bytes.size);
	cr_expect_eq(value(&map.data, "signal")->via.u64, SIGSEGV);
	cr_expect_eq(value(&map.data, "memory_peak")->via.u64, 3u << 19);
	cr_expect_eq(value(&map.data, "oom")->type, MSGPACK_OBJECT_BOOLEAN);
	const msgpack_object *beside = value(&map.data, "beside");
	cr_assert_eq(beside->via.array.size, AUTOPSY_JOBS - 1);
	cr_expect_eq(beside->via.array.ptr[0].via.u64, 1);
	cr_expect_eq(beside->via.array.ptr[1].via.u64, 3);
	msgpack_unpacked_destroy(&map);
	msgpack_sbuffer_destroy(&bytes);
}
